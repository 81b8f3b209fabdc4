"""The training of one seed as Lightning sees it."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lookback.data.batch import Batch, SequenceDataset
from lookback.data.task import Facts
from lookback.files import whole
from lookback.models.network import Network
from lookback.training.evaluate import answers_of, scores_of
from lookback.training.journal import Journal
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of, schedule_of

RESUME_EVERY = 10.0  # seconds between resume states: what a kill costs at most, besides an epoch


class Diverged(RuntimeError):
    """A loss that is no number: the seed is lost, and says where."""


class TrainingModule(pl.LightningModule):
    """A network under a recipe, from its first step or from a resume state.

    Lightning's own resuming repeats a batch of an epoch that had ended, so it is not used: a
    resumed run is one of the remaining steps; `epoch` and `step` count from the whole run's start.
    """

    def __init__(
        self,
        network: Network,
        recipe: Mapping[str, Any],
        facts: Facts,
        steps: int,
        resumed: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.facts = facts
        self.steps = steps
        self.resumed = resumed
        if resumed:
            network.load_state_dict(resumed["network"])

    @property
    def epoch(self) -> int:
        """The epoch of the whole run, from 0."""
        return int(self.resumed["epoch"] if self.resumed else 0) + self.trainer.current_epoch

    @property
    def step(self) -> int:
        """Optimiser steps of the whole run so far."""
        return int(self.resumed["step"] if self.resumed else 0) + self.trainer.global_step

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss of one batch."""
        answers = self.network(batch.inputs, batch.lengths, batch.query)
        return answer_loss(answers, batch.query, batch.target, self.facts.kind)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, its learning rate set at each step."""
        optimizer = optimizer_of(self.recipe, self.network.parameters())
        schedule = schedule_of(self.recipe, optimizer, self.steps)
        if self.resumed:
            optimizer.load_state_dict(self.resumed["optimizer"])
            schedule.load_state_dict(self.resumed["schedule"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        """The data lie on the device already."""
        return batch


class Log(pl.Callback):
    """Writes the training loss, averaged over `every` steps, and stops a loss that is no number.

    The losses stay on the device in between: nothing waits inside a step.
    """

    def __init__(self, journal: Journal, every: int):
        self.journal = journal
        self.every = every
        self.losses: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Keep the loss; write the mean now and then."""
        assert isinstance(module, TrainingModule)
        self.losses.append(outputs["loss"])
        if module.step % self.every == 0:
            self._flush(trainer, module.step)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write what is left, so that a resumed run starts with nothing pending."""
        assert isinstance(module, TrainingModule)
        if self.losses:
            self._flush(trainer, module.step)

    def _flush(self, trainer: pl.Trainer, step: int) -> None:
        loss = torch.stack(self.losses).mean().item()
        self.losses.clear()
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} by step {step}, at learning rate {rate:.2g}")
        self.journal.values("train", step, {"loss": loss, "learning_rate": rate})


class Validate(pl.Callback):
    """Scores the validation split after each epoch and keeps the best weights; else the last."""

    def __init__(self, data: SequenceDataset, journal: Journal, best: dict[str, Any] | None):
        self.data = data
        self.journal = journal
        self.best = best or {"score": math.inf, "step": 0, "network": {}}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Judge the weights as they are now; of two that tie, the later are kept."""
        assert isinstance(module, TrainingModule)
        facts, score = module.facts, 0.0
        if len(self.data):
            scores = scores_of(answers_of(module.network, self.data), self.data, facts)
            values = {"loss": scores.loss, facts.metric: scores.metric}
            if not math.isfinite(scores.loss):
                raise Diverged(f"the validation loss became {scores.loss} by step {module.step}")
            self.journal.values("validation", module.step, values)
            if module.recipe["select"] == "best":
                score = -scores.metric if facts.higher_is_better else scores.metric
        if score <= self.best["score"]:
            weights = {name: value.clone() for name, value in module.network.state_dict().items()}
            self.best = {"score": score, "step": module.step, "network": weights}


class Resume(pl.Callback):
    """Leaves a resume state at the end of an epoch, for a run that is killed."""

    def __init__(self, path: Path, seed: int, origin: str, validate: Validate):
        self.path = path
        self.seed = seed
        self.validate = validate
        self.seconds = 0.0  # of training before this process
        self.origins = [origin]
        self._started = self._saved = time.monotonic()

    def go_on_from(self, resumed: Mapping[str, Any]) -> None:
        """Add up the time, and remember on what machines the numbers were made."""
        self.seconds = resumed["seconds"]
        self.origins = list(dict.fromkeys([*resumed["origins"], *self.origins]))

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Dropout's draws depend on seed and epoch alone, so no generator's state is kept."""
        assert isinstance(module, TrainingModule)
        torch.manual_seed(self.seed * 1_000_003 + module.epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save, when the last state is old enough."""
        assert isinstance(module, TrainingModule)
        if time.monotonic() - self._saved < RESUME_EVERY or module.step >= module.steps:
            return
        state = {
            "epoch": module.epoch + 1,
            "step": module.step,
            "network": module.network.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "best": self.validate.best,
            "seconds": self.elapsed(),
            "origins": self.origins,
        }
        # Through Python's file, whose errors name their cause: torch's own writer says «failed».
        with whole(self.path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        self._saved = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training, over all resumes."""
        return self.seconds + time.monotonic() - self._started
