"""What goes on around the steps of a training: logging, validation, resume states."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lookback.data.batch import SequenceDataset
from lookback.errors import Diverged
from lookback.storage.atomic import atomic_write
from lookback.storage.journal import Journal
from lookback.training.evaluate import answers_of, scores_of
from lookback.training.module import TrainingModule, Update

RESUME_EVERY = 10.0  # seconds between resume states: what a kill costs at most, besides an epoch


class Log(pl.Callback):
    """Writes the training loss, averaged over a window of steps; stops one that is no number.

    The losses stay on the device until a window is over: nothing waits inside a step.
    """

    def __init__(self, journal: Journal, resumed: Mapping[str, Any] | None):
        self.journal = journal
        self.last = Update(**resumed["last"]) if resumed else None  # before the next window

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Write the mean of a window. Raises Diverged where it is no number."""
        assert isinstance(module, TrainingModule)
        updates: list[Update] = outputs["updates"]
        losses = torch.stack([update.loss for update in updates])
        mean = losses.mean().item()
        if not math.isfinite(mean):
            # Where only the sum of the losses is no number, the last is named.
            numbers = [math.isfinite(loss) for loss in losses.tolist()]
            bad = numbers.index(False) if False in numbers else len(numbers) - 1
            self.last = updates[bad - 1] if bad else self.last
            step = module.step - len(updates) + 1 + bad
            raise Diverged(f"the loss became {losses[bad].item()} at step {step}{self.after()}")
        self.last = updates[-1]
        rate = self.last.learning_rate
        self.journal.values("train", module.step, {"loss": mean, "learning_rate": rate})

    def after(self) -> str:
        """The last update that is known, as a clause."""
        if self.last is None:
            return ", before any update"
        rate, norm = self.last.learning_rate, float(self.last.gradient_norm)
        return f", after an update of learning rate {rate:.3g} and gradient norm {norm:.3g}"


class Validate(pl.Callback):
    """Scores the validation split after each epoch, keeps weights, and may end the training.

    The weights kept are the best or the last, as the recipe says; without the split, the last.
    """

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
        self.kept: dict[str, Any] = {"step": 0, "network": {}}
        self.best = math.inf  # score, the lower the better
        self.stale = 0  # epochs since the last that was better than all before
        if resumed:
            self.kept, self.best, self.stale = resumed["validate"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Judge the weights as they are now; of two that tie, the later are kept."""
        assert isinstance(module, TrainingModule)
        score = self._score(module) if len(self.data) else math.inf
        if score <= self.best or module.recipe["select"] == "last":
            weights = {name: value.clone() for name, value in module.network.state_dict().items()}
            self.kept = {"step": module.step, "network": weights}
        self.stale = 0 if score < self.best else self.stale + 1
        self.best = min(score, self.best)
        stopping = module.recipe["early_stopping"]
        trainer.should_stop |= stopping is not None and self.stale >= stopping["patience"]

    def _score(self, module: TrainingModule) -> float:
        """The metric on the split, the lower the better. Raises Diverged."""
        scores = scores_of(answers_of(module.network, self.data), self.data, module.facts)
        if not math.isfinite(scores.loss):
            said = f"the validation loss became {scores.loss} at step {module.step}"
            raise Diverged(said + self.losses.after())
        values = {"loss": scores.loss, module.facts.metric: scores.metric}
        self.journal.values("validation", module.step, values)
        return -scores.metric if module.facts.higher_is_better else scores.metric

    def state(self) -> tuple[dict[str, Any], float, int]:
        """What a resumed run goes on from."""
        return self.kept, self.best, self.stale


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
            "validate": self.validate.state(),
            "seconds": self.elapsed(),
            "origins": self.origins,
        }
        # Through Python's file, whose errors name their cause: torch's own writer says «failed».
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        self._saved = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training, over all resumes."""
        return self.seconds + time.monotonic() - self._started
