"""Where each file of `results/` lies; its name stands here and in workflow/rules/ only.

Paths are relative: a study runs in the folder of its project.

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

PROJECT = Path(__file__).parents[3]  # holds conf/, src/ and workflow/; of a code copy: not defined

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
    """The list of a dataset's verified files; it stands for them in the DAG."""
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
        """Names the index with which the study was last started."""
        return self.folder / ".index"

    @property
    def summary(self) -> Path:
        """The folder of the tables over cells."""
        return self.folder / "summary"

    @property
    def figures(self) -> Path:
        """The folder of the report's figures."""
        return self.folder / "report" / "figures"

    @property
    def receipts(self) -> Path:
        """The folder of tracking's receipts."""
        return self.folder / "tracked"

    def receipt(self, name: str) -> Path:
        """The receipt of one tracking store."""
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
        """What stage `prepare` writes: shapes, scaling, baseline, digests of the data."""
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
        """The config as trained."""
        return self.folder / "config.yaml"

    @property
    def tuning(self) -> Path:
        """What stage `tune` tried and chose."""
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
        """The answers to the test split."""
        return self.folder / "predictions.parquet"

    @property
    def cost(self) -> Path:
        """Times, memory and device of each seed."""
        return self.folder / "cost.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the trained weights."""
        return self.folder / "checkpoints"

    def checkpoint(self, seed: int) -> Path:
        """The trained weights of a seed."""
        return self.checkpoints / f"seed={seed}.ckpt"

    def probe(self, name: str) -> Path:
        """What a probe measured."""
        return self.folder / "probe" / f"{name}.parquet"

    def attributions(self, name: str) -> Path:
        """What an explainer attributed."""
        return self.folder / "explain" / f"{name}.npz"

    def scores(self, name: str) -> Path:
        """The scores of an explainer."""
        return self.attributions(name).with_suffix(".scores.parquet")

    def log(self, job: str) -> Path:
        """The log of a job: `train`, `probe-gradient_flow`."""
        return self.folder / "log" / f"{job}.log"

    def wanted_note(self, stage: str) -> Path:
        """Names the plan with which a stage of the cell was last started."""
        return self.folder / f".wanted.{stage}"


@dataclass(frozen=True)
class SeedPaths:
    """The folder that training a seed, or a trial, leaves in the run store."""

    folder: Path

    @property
    def journal(self) -> Path:
        """What training reported, line by line."""
        return self.folder / "journal.jsonl"

    @property
    def resume(self) -> Path:
        """The state from which a killed training continues."""
        return self.folder / "resume.ckpt"

    @property
    def weights(self) -> Path:
        """The weights kept: the best on validation, or the last."""
        return self.folder / "best.ckpt"

    @property
    def result(self) -> Path:
        """Scores and number of parameters."""
        return self.folder / "result.json"

    @property
    def predictions(self) -> Path:
        """The answers to the test split."""
        return self.folder / "predictions.parquet"

    @property
    def cost(self) -> Path:
        """Times, memory and device."""
        return self.folder / "cost.json"

    @property
    def done(self) -> Path:
        """The mark of a finished seed."""
        return self.folder / "done.json"

    @property
    def failed(self) -> Path:
        """The mark of a seed that diverged. Delete it to train the seed again."""
        return self.folder / "failed.json"


def lock_file(folder: Path) -> Path:
    """The file that a process locks while it works in `folder`."""
    return folder / ".lock"


def measured_steps_file(runs: Path) -> Path:
    """How many steps a budget of seconds came to; in the folder of a cell's seeds."""
    return runs / "steps.json"


def index_notes() -> Iterator[Path]:
    """The index note of every study that was started here."""
    return RESULTS.glob("*/.index")


def cells_on_disk() -> Iterator[CellPaths]:
    """Every folder that may be a cell of a study."""
    return (CellPaths(folder) for folder in RESULTS.glob("*/*/*/"))


def tasks_on_disk() -> Iterator[TaskPaths]:
    """Every folder that may be a task of a study."""
    return (TaskPaths(folder) for folder in RESULTS.glob("*/*/"))
