"""Lightning callbacks that log losses, validate the network, and save states for resuming."""

import copy
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
from lookback.training.evaluate import evaluate
from lookback.training.module import TrainingModule, Update

# The minimum time in seconds between two saves of the state of a training run. A run stopped
# by SIGTERM or Ctrl-C loses the steps since the last validation. A run that is killed by SIGKILL
# loses at most `RESUME_EVERY` seconds more.
RESUME_EVERY = 10.0


class Log(pl.Callback):
    """Logs the mean training loss of each window, a group of consecutive optimiser steps.

    The training stops if the mean loss is infinite or NaN. Losses are copied from the device once
    per window, so that the CPU does not wait for the GPU after every step.
    """

    def __init__(self, journal: Journal, resumed: Mapping[str, Any] | None):
        self.journal = journal
        # Last update of the previous window, or None before the first update of the run.
        self.last = Update(**resumed["last"]) if resumed else None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Log the mean loss of a window. Raises Diverged if the mean loss is infinite or NaN."""
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
    """Scores the validation split every `every` steps, and selects the weights to keep.

    The split is also scored after the last step. The recipe's setting `select` decides whether the
    best or the last weights are kept. If the validation split is empty, the last weights are kept.
    If the recipe sets early stopping, the training stops after `patience` validations without a
    better score.
    """

    def __init__(
        self,
        data: SequenceDataset,
        journal: Journal,
        losses: Log,
        every: int,
        resumed: Mapping[str, Any] | None,
    ):
        self.data = data
        self.every = every
        self.journal = journal
        self.losses = losses
        self.kept: dict[str, Any] = {"step": 0, "network": {}}
        self.best = math.inf  # best validation score so far (the lowest)
        self.stale = 0  # number of validations since the best score improved
        if resumed:
            self.kept, self.best, self.stale = resumed["validate"]

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Score the current weights on the validation split if it is time, and keep the best.

        If two validations have equal scores, the weights of the later one are kept.
        """
        assert isinstance(module, TrainingModule)
        if module.step % self.every and not trainer.should_stop:
            return
        score = self._score(module) if len(self.data) else math.inf
        if score <= self.best or module.recipe["select"] == "last":
            weights = {name: value.clone() for name, value in module.network.state_dict().items()}
            self.kept = {"step": module.step, "network": weights}
        self.stale = 0 if score < self.best else self.stale + 1
        self.best = min(score, self.best)
        stopping = module.recipe["early_stopping"]
        trainer.should_stop |= stopping is not None and self.stale >= stopping["patience"]

    def _score(self, module: TrainingModule) -> float:
        """The validation metric, with its sign chosen so that a lower score is always better.

        Raises Diverged if the validation loss is infinite or NaN.
        """
        scores = evaluate(module.network, self.data, module.facts)
        if not math.isfinite(scores.loss):
            raise diverged("validation loss", scores.loss, module.step, self.losses.last)
        values = {"loss": scores.loss, module.facts.metric: scores.metric}
        self.journal.values("validation", module.step, values)
        return -scores.metric if module.facts.higher_is_better else scores.metric

    def state(self) -> tuple[dict[str, Any], float, int]:
        """The selected weights, the best score, and the validations since the best score."""
        return self.kept, self.best, self.stale


class Resume(pl.Callback):
    """Saves the state of the training after validations, so that a stopped run can continue."""

    def __init__(self, path: Path, origin: str, losses: Log, validate: Validate):
        self.path = path
        self.losses = losses
        self.validate = validate
        self.seconds = 0.0  # training time of this seed in earlier processes, in seconds
        self.origins = [origin]
        self._unsaved: dict[str, Any] | None = None  # the state after the last validation
        self._started = self._saved = time.monotonic()

    def continue_from(self, resumed: Mapping[str, Any]) -> None:
        """Restore the training time and the list of machines from the saved state `resumed`."""
        self.seconds = resumed["seconds"]
        self.origins = list(dict.fromkeys([*resumed["origins"], *self.origins]))

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """After a validation, save the training state, or keep it in memory.

        The state is saved if none was saved in the last `RESUME_EVERY` seconds.
        """
        assert isinstance(module, TrainingModule)
        if module.step % self.validate.every or trainer.should_stop:
            return
        assert self.losses.last is not None
        last = self.losses.last._replace(gradient_norm=float(self.losses.last.gradient_norm))
        # The next step changes the tensors, so the state gets copies.
        self._unsaved = {
            "step": module.step,
            "network": copy.deepcopy(module.network.state_dict()),
            "optimizer": copy.deepcopy(trainer.optimizers[0].state_dict()),
            "last": last._asdict(),
            "validate": self.validate.state(),
            "seconds": self.elapsed(),
            "origins": self.origins,
            "journal_bytes": self.validate.journal.path.stat().st_size,
        }
        if time.monotonic() - self._saved >= RESUME_EVERY:
            self._save()

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save the state after the last validation if SIGTERM or Ctrl-C stops the training."""
        self._save()

    def _save(self) -> None:
        if self._unsaved is None:
            return
        # A training that continues after a power cut needs the journal up to this step.
        self.validate.journal.sync()
        # If torch.save opens the file itself, it hides the cause of a write error: open it here.
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            torch.save(self._unsaved, file)
        self._unsaved, self._saved = None, time.monotonic()

    def elapsed(self) -> float:
        """Training time of this seed in seconds, including the time before the last resume."""
        return self.seconds + time.monotonic() - self._started
