"""What goes on around the steps of a training: logging, validation, resume states."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lookback.data.batch import SequenceDataset
from lookback.files import whole
from lookback.training.evaluate import answers_of, scores_of
from lookback.training.journal import Journal
from lookback.training.module import TrainingModule, Update

RESUME_EVERY = 10.0  # seconds between resume states: what a kill costs at most, besides an epoch


class Diverged(RuntimeError):
    """A loss that is no number: the seed is lost, and says where."""


class Log(pl.Callback):
    """Writes the training loss, averaged over `every` steps, and stops a loss that is no number.

    The losses stay on the device in between: nothing waits inside a step. So a bad one is found
    some steps late, and named by its own step.
    """

    def __init__(self, journal: Journal, every: int, resumed: Mapping[str, Any] | None):
        self.journal = journal
        self.every = every
        self.last = Update(**resumed["last"]) if resumed else None  # before those pending
        self.pending: list[Update] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Keep the loss; write the mean now and then."""
        assert isinstance(module, TrainingModule)
        self.pending.append(Update(**outputs))
        if module.step % self.every == 0:
            self._flush(module.step)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write what is left, so that a resumed run starts with nothing pending."""
        assert isinstance(module, TrainingModule)
        if self.pending:
            self._flush(module.step)

    def _flush(self, step: int) -> None:
        losses = torch.stack([update.loss for update in self.pending])
        mean = losses.mean().item()
        if not math.isfinite(mean):
            self._stop(losses.tolist(), step - len(losses) + 1)
        self.last = self.pending[-1]
        self.pending.clear()
        rate = self.last.learning_rate
        self.journal.values("train", step, {"loss": mean, "learning_rate": rate})

    def _stop(self, losses: list[float], first: int) -> None:
        """Name the first loss that is no number; where only their sum is none, the last."""
        bad = next((at for at, it in enumerate(losses) if not math.isfinite(it)), len(losses) - 1)
        self.last = self.pending[bad - 1] if bad else self.last
        raise Diverged(f"the loss became {losses[bad]} at step {first + bad}{self.after()}")

    def after(self) -> str:
        """The last update that is known, as a clause."""
        if self.last is None:
            return ", before any update"
        rate, norm = self.last.learning_rate, float(self.last.gradient_norm)
        return f", after an update of learning rate {rate:.3g} and gradient norm {norm:.3g}"


class Validate(pl.Callback):
    """Scores the validation split after each epoch and keeps the best weights; else the last."""

    def __init__(
        self,
        data: SequenceDataset,
        journal: Journal,
        losses: Log,
        resumed: Mapping[str, Any] | None,
    ):
        self.data = data
        self.journal = journal
        self.losses = losses
        self.best: dict[str, Any] = {"score": math.inf, "step": 0, "network": {}}
        if resumed:
            self.best = resumed["best"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Judge the weights as they are now; of two that tie, the later are kept."""
        assert isinstance(module, TrainingModule)
        facts, score = module.facts, 0.0
        if len(self.data):
            scores = scores_of(answers_of(module.network, self.data), self.data, facts)
            values = {"loss": scores.loss, facts.metric: scores.metric}
            if not math.isfinite(scores.loss):
                said = f"the validation loss became {scores.loss} at step {module.step}"
                raise Diverged(said + self.losses.after())
            self.journal.values("validation", module.step, values)
            if module.recipe["select"] == "best":
                score = -scores.metric if facts.higher_is_better else scores.metric
        if score <= self.best["score"]:
            weights = {name: value.clone() for name, value in module.network.state_dict().items()}
            self.best = {"score": score, "step": module.step, "network": weights}


class Resume(pl.Callback):
    """Leaves a resume state at the end of an epoch, for a run that is killed."""

    def __init__(self, path: Path, seed: int, origin: str, losses: Log, validate: Validate):
        self.path = path
        self.seed = seed
        self.losses = losses
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
        if time.monotonic() - self._saved < RESUME_EVERY or trainer.should_stop:
            return
        assert self.losses.last is not None
        last = self.losses.last._replace(gradient_norm=float(self.losses.last.gradient_norm))
        state = {
            "epoch": module.epoch + 1,
            "step": module.step,
            "network": module.network.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "last": last._asdict(),
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
