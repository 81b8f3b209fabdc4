"""Lightning callbacks that log, validate, and save resume states during training."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lookback.data.batch import SequenceDataset
from lookback.storage.atomic import atomic_write
from lookback.storage.journal import Journal
from lookback.training.divergence import diverged, first_not_finite
from lookback.training.evaluate import answers_of, scores_of
from lookback.training.module import TrainingModule, Update

# Seconds between two resume states; a kill loses at most these seconds and one epoch of training.
RESUME_EVERY = 10.0


class Log(pl.Callback):
    """Logs the mean training loss of each window of steps, and stops if the loss is not finite.

    The losses stay on the device until the window ends, so no step waits for the device.
    """

    def __init__(self, journal: Journal, resumed: Mapping[str, Any] | None):
        self.journal = journal
        # The last update before the next window; None before the first update of the run.
        self.last = Update(**resumed["last"]) if resumed else None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Log the mean loss of the window. Raises Diverged if the mean loss is not finite."""
        assert isinstance(module, TrainingModule)
        updates: list[Update] = outputs["updates"]
        losses = torch.stack([update.loss for update in updates])
        mean = losses.mean().item()
        if not math.isfinite(mean):
            bad = first_not_finite(losses.tolist())
            self.last = updates[bad - 1] if bad else self.last
            step = module.step - len(updates) + 1 + bad
            raise diverged("loss", losses[bad].item(), step, self.last)
        self.last = updates[-1]
        rate = self.last.learning_rate
        self.journal.values("train", module.step, {"loss": mean, "learning_rate": rate})


class Validate(pl.Callback):
    """Scores the validation split after each epoch, selects weights, and may stop the training.

    The recipe's `select` decides whether the best or the last weights are kept. If the validation
    split is empty, the last weights are kept.
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
        self.best = math.inf  # best score so far; lower is better
        self.stale = 0  # epochs since the best score last improved
        if resumed:
            self.kept, self.best, self.stale = resumed["validate"]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Score the current weights; if two epochs have equal scores, keep the later weights."""
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
        """The validation metric, negated if higher is better, so that a lower score is better.

        Raises Diverged if the validation loss is not finite.
        """
        scores = scores_of(answers_of(module.network, self.data), self.data, module.facts)
        if not math.isfinite(scores.loss):
            raise diverged("validation loss", scores.loss, module.step, self.losses.last)
        values = {"loss": scores.loss, module.facts.metric: scores.metric}
        self.journal.values("validation", module.step, values)
        return -scores.metric if module.facts.higher_is_better else scores.metric

    def state(self) -> tuple[dict[str, Any], float, int]:
        """The selected weights, the best score, and the number of epochs without improvement."""
        return self.kept, self.best, self.stale


class Resume(pl.Callback):
    """Saves resume states at the ends of epochs, from which a killed run can continue."""

    def __init__(self, path: Path, seed: int, origin: str, losses: Log, validate: Validate):
        self.path = path
        self.seed = seed
        self.losses = losses
        self.validate = validate
        self.seconds = 0.0  # seconds of training in earlier processes of the same seed
        self.origins = [origin]
        self._started = self._saved = time.monotonic()

    def continue_from(self, resumed: Mapping[str, Any]) -> None:
        """Take over the training time and the list of machines from a resume state."""
        self.seconds = resumed["seconds"]
        self.origins = list(dict.fromkeys([*resumed["origins"], *self.origins]))

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Seed torch's random generator from the run's seed and the epoch number.

        Dropout masks then depend on seed and epoch alone, so a resume state stores no generator.
        """
        assert isinstance(module, TrainingModule)
        torch.manual_seed(self.seed * 1_000_003 + module.epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save a resume state if the last saved state is at least `RESUME_EVERY` seconds old."""
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
        # torch.save gets an open Python file, because torch's own file writer hides error causes.
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        self._saved = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training of this seed, summed over all processes that trained the seed."""
        return self.seconds + time.monotonic() - self._started
