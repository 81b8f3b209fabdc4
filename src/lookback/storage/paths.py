"""The path of every file in results/. Only this module and workflow/rules/ contain file names.

Paths are relative to the project's folder, because a study runs there.

    results/data/<dataset>/manifest.json …           downloads, shared by all studies
    results/<study>/<task>/task.json                 TaskPaths
    results/<study>/<task>/<model>/…                 CellPaths
    results/<study>/summary, report, tracked         StudyPaths
    results/.runs/<key>/seed=<n>/…                   SeedPaths
    results/.plan  .code  .tracking  .lock           plans, code copies, project name, lock
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The folder with conf/, src/ and workflow/. Jobs must not use it: they import a copy of the code.
PROJECT = Path(__file__).parents[3]

RESULTS = Path("results")
DATA = RESULTS / "data"
PLANS = RESULTS / ".plan"
CODE = RESULTS / ".code"
RUNS = RESULTS / ".runs"
TRACKING = RESULTS / ".tracking"
LOCK = RESULTS / ".lock"
LAYOUT = RESULTS / ".layout.json"
MANIFEST = "manifest.json"  # in the folder of a dataset


def plan_file(stage: str, digest: str, plans: Path = PLANS) -> Path:
    """The plan of a stage, named by the digest of its content."""
    return plans / stage / f"{digest}.yaml"


def dataset_folder(dataset: str) -> Path:
    """The folder of a downloaded dataset."""
    return DATA / dataset


def manifest_file(dataset: str) -> Path:
    """The list of a dataset's verified files. The DAG uses this file instead of the data files."""
    return dataset_folder(dataset) / MANIFEST


@dataclass(frozen=True)
class StudyPaths:
    """The folder of a study."""

    folder: Path

    @classmethod
    def of(cls, study: str) -> "StudyPaths":
        """The paths of the study with this name."""
        return cls(RESULTS / study)

    @property
    def index_note(self) -> Path:
        """The note that holds the path of the index with which the study was last started."""
        return self.folder / ".index"

    @property
    def summary(self) -> Path:
        """The folder of the tables over all cells."""
        return self.folder / "summary"

    @property
    def figures(self) -> Path:
        """The folder of the report's figures."""
        return self.folder / "report" / "figures"

    @property
    def receipts(self) -> Path:
        """The folder of the receipts that tracking writes."""
        return self.folder / "tracked"

    def receipt(self, name: str) -> Path:
        """The receipt of one tracking store: what was written to the store."""
        return self.receipts / f"{name}.json"

    def task(self, task: str) -> "TaskPaths":
        """The paths of a task of the study."""
        return TaskPaths(self.folder / task)

    def cell(self, task: str, model: str) -> "CellPaths":
        """The paths of a cell of the study."""
        return CellPaths(self.folder / task / model)


@dataclass(frozen=True)
class TaskPaths:
    """The folder of a task in a study."""

    folder: Path

    @property
    def facts(self) -> Path:
        """The output of stage `prepare`: shapes, scaling, trivial baseline, digests of the data."""
        return self.folder / "task.json"

    @property
    def log(self) -> Path:
        """The log of stage `prepare`."""
        return self.folder / "log" / "prepare.log"


@dataclass(frozen=True)
class CellPaths:
    """The folder of a cell: one task and one model of a study."""

    folder: Path

    @property
    def task(self) -> TaskPaths:
        """The paths of the cell's task."""
        return TaskPaths(self.folder.parent)

    @property
    def config(self) -> Path:
        """The settings with which the cell was trained."""
        return self.folder / "config.yaml"

    @property
    def tuning(self) -> Path:
        """The trials of stage `tune`, and the values that it chose."""
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
        """The times, memory and device of each seed."""
        return self.folder / "cost.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the trained weights of all seeds."""
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
        """The scores of an explainer: whether its attributions can be believed."""
        return self.attributions(name).with_suffix(".scores.parquet")

    def log(self, job: str) -> Path:
        """The log of a job, e.g. of `train` or `probe-gradient_flow`."""
        return self.folder / "log" / f"{job}.log"

    def wanted_note(self, stage: str) -> Path:
        """The note that holds the digest of the plan with which a stage was last started."""
        return self.folder / f".wanted.{stage}"


@dataclass(frozen=True)
class SeedPaths:
    """The folder of one trained seed, or of one tuning trial, in the run store."""

    folder: Path

    @property
    def journal(self) -> Path:
        """The journal that training writes, one JSON object per line."""
        return self.folder / "journal.jsonl"

    @property
    def resume(self) -> Path:
        """The state from which a killed training continues."""
        return self.folder / "resume.ckpt"

    @property
    def weights(self) -> Path:
        """The weights that are kept: the best on the validation split, or the last."""
        return self.folder / "best.ckpt"

    @property
    def result(self) -> Path:
        """The scores of the seed and its number of parameters."""
        return self.folder / "result.json"

    @property
    def predictions(self) -> Path:
        """The predictions on the test split."""
        return self.folder / "predictions.parquet"

    @property
    def cost(self) -> Path:
        """The times, memory and device of the seed."""
        return self.folder / "cost.json"

    @property
    def done(self) -> Path:
        """The file that marks a finished seed."""
        return self.folder / "done.json"

    @property
    def failed(self) -> Path:
        """The file that marks a seed that diverged. Delete the file to train the seed again."""
        return self.folder / "failed.json"


def lock_file(folder: Path) -> Path:
    """The file that a process locks while it works in `folder`."""
    return folder / ".lock"


def measured_steps_file(runs: Path) -> Path:
    """The file that holds the number of training steps that a budget of seconds allows.

    `runs` is the folder of all seeds of a cell.
    """
    return runs / "steps.json"


def index_notes() -> Iterator[Path]:
    """The index note of every study in results/ that was started."""
    return RESULTS.glob("*/.index")


def cells_on_disk() -> Iterator[CellPaths]:
    """Every folder at the depth of a cell, whether or not it is a cell."""
    return (CellPaths(folder) for folder in RESULTS.glob("*/*/*/"))


def tasks_on_disk() -> Iterator[TaskPaths]:
    """Every folder at the depth of a task, whether or not it is a task."""
    return (TaskPaths(folder) for folder in RESULTS.glob("*/*/"))
