"""The paths of the files of a whole study: summary, report, and receipts of tracking."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lookback.storage.cell_paths import CellPaths, TaskPaths
from lookback.storage.paths import RESULTS


@dataclass(frozen=True)
class StudyPaths:
    """The folder of a study, and the paths of its files."""

    folder: Path

    @classmethod
    def of(cls, study: str) -> "StudyPaths":
        """The paths of the study whose name is `study`."""
        return cls(RESULTS / study)

    @property
    def index_note(self) -> Path:
        """The file that contains the path of the plan index with which the study was last started.

        The index of a study lists the plans of all its stages.
        """
        return self.folder / ".index"

    @property
    def summary(self) -> Path:
        """The folder of the tables that summarise all tasks and models of the study."""
        return self.folder / "summary"

    @property
    def report(self) -> Path:
        """The report, one HTML page."""
        return self.folder / "report" / "index.html"

    @property
    def draft(self) -> Path:
        """The first version of the report, from which tracking takes the figures."""
        return self.report.with_name(".drawn.html")

    @property
    def figures(self) -> Path:
        """The folder of the report's figures."""
        return self.folder / "report" / "figures"

    @property
    def receipts(self) -> Path:
        """The folder of the files in which stage `track` records what it has written to MLflow."""
        return self.folder / "tracked"

    def receipt(self, name: str) -> Path:
        """The file in which stage `track` records what it has written to one MLflow store."""
        return self.receipts / f"{name}.json"

    def task(self, task: str) -> "TaskPaths":
        """The paths of a task of the study."""
        return TaskPaths(self.folder / task)

    def cell(self, task: str, model: str) -> "CellPaths":
        """The paths of a cell of the study."""
        return CellPaths(self.folder / task / model)


def summary_table(summary: Path, name: str) -> Path:
    """The file of the table `name` in the folder `summary` of a study."""
    return summary / f"{name}.parquet"


def contents_note(output: Path) -> Path:
    """The file that lists the files of an output, and the digests of its plan files.

    `output` is the folder of the summary, the report or its draft. Snakemake knows only `output`
    itself, and not the tables and figures beside it.
    """
    if output.suffix:
        return output.with_name(f".{output.stem.lstrip('.')}.json")
    return output / ".contents.json"


def index_notes() -> Iterator[Path]:
    """The file `index_note` of every study in results/ that has been started."""
    return RESULTS.glob("*/.index")
