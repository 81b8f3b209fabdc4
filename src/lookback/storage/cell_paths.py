"""The paths of the files of one task, of one model on one task, and of one trained seed.

A study has one cell for each task and model. The stages that train and measure import this module
and do not import study_paths.py. So a new file of the summary or the report retrains no model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lookback.storage.paths import RESULTS


@dataclass(frozen=True)
class TaskPaths:
    """The folder of a task in a study, and the paths of its files."""

    folder: Path

    @property
    def facts(self) -> Path:
        """The file with the shapes, scaling, trivial baseline and data digests of a task."""
        return self.folder / "task.json"

    @property
    def log(self) -> Path:
        """The log of stage `prepare`."""
        return self.folder / "log" / "prepare.log"


@dataclass(frozen=True)
class CellPaths:
    """The folder of a cell, which is the combination of one task and one model in a study."""

    folder: Path

    @property
    def task(self) -> TaskPaths:
        """The paths of the cell's task."""
        return TaskPaths(self.folder.parent)

    @property
    def config(self) -> Path:
        """The file that contains the settings with which the model was trained on the task."""
        return self.folder / "config.yaml"

    @property
    def tuning(self) -> Path:
        """The file with all trials of stage `tune`, and the values that the stage chose."""
        return self.folder / "tune.json"

    @property
    def history(self) -> Path:
        """The learning curves of all seeds."""
        return self.folder / "history.parquet"

    @property
    def metrics(self) -> Path:
        """The scores of each seed."""
        return self.folder / "metrics.json"

    @property
    def predictions(self) -> Path:
        """The predictions on the test split."""
        return self.folder / "predictions.parquet"

    @property
    def cost(self) -> Path:
        """The file with the computing times, the peak memory and the device of each seed."""
        return self.folder / "cost.json"

    @property
    def checkpoints(self) -> Path:
        """The folder that contains the trained weights of all seeds."""
        return self.folder / "checkpoints"

    def checkpoint(self, seed: int) -> Path:
        """The trained weights of a seed."""
        return self.checkpoints / f"seed={seed}.ckpt"

    def probe(self, name: str) -> Path:
        """The measurements of a probe."""
        return self.folder / "probe" / f"{name}.parquet"

    def attributions(self, name: str) -> Path:
        """The attributions of an explainer."""
        return self.folder / "explain" / f"{name}.npz"

    def scores(self, name: str) -> Path:
        """The scores that say whether the attributions of an explainer can be believed."""
        return self.attributions(name).with_suffix(".scores.parquet")

    def log(self, job: str) -> Path:
        """The log of a job, such as `train` or `probe-gradient_flow`."""
        return self.folder / "log" / f"{job}.log"

    def wanted_note(self, stage: str) -> Path:
        """The file that contains the digest of the plan with which `stage` was last started."""
        return self.folder / f".wanted.{stage}"


@dataclass(frozen=True)
class SeedPaths:
    """The folder of the training run of one seed, or of one tuning trial, in results/.runs/."""

    folder: Path

    @property
    def journal(self) -> Path:
        """The journal to which training appends one JSON object per line."""
        return self.folder / "journal.jsonl"

    @property
    def resume(self) -> Path:
        """The file with the state from which an interrupted training run continues."""
        return self.folder / "resume.ckpt"

    @property
    def weights(self) -> Path:
        """The saved weights, either the best on the validation split or those of the last step."""
        return self.folder / "best.ckpt"

    @property
    def result(self) -> Path:
        """The file with the seed's scores and the number of parameters of the network."""
        return self.folder / "result.json"

    @property
    def predictions(self) -> Path:
        """The predictions on the test split."""
        return self.folder / "predictions.parquet"

    @property
    def cost(self) -> Path:
        """The file with the computing times, the peak memory and the device of the seed."""
        return self.folder / "cost.json"

    @property
    def done(self) -> Path:
        """The file that is written after a training run has finished.

        The file lists the other files of the training run with their sizes and digests.
        """
        return self.folder / "done.json"

    @property
    def failed(self) -> Path:
        """The file whose existence means that the training run has diverged.

        If a user deletes this file, training starts again.
        """
        return self.folder / "failed.json"


def measured_steps_file(runs: Path) -> Path:
    """The file that contains the number of training steps that a time budget in seconds allows.

    `runs` is the folder of all seeds of a cell.
    """
    return runs / "steps.json"


def cells_on_disk() -> Iterator[CellPaths]:
    """Every folder results/*/*/*/, including folders that do not belong to a study."""
    return (CellPaths(folder) for folder in RESULTS.glob("*/*/*/"))


def tasks_on_disk() -> Iterator[TaskPaths]:
    """Every folder results/*/*/, including folders that do not belong to a study."""
    return (TaskPaths(folder) for folder in RESULTS.glob("*/*/"))
