"""Where the study's runs are in MLflow: read from the receipts that tracking left.

The report that rule `draw` makes is older than tracking, which takes its figures; the one that rule
`report` makes names the runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lookback.report.inputs import ReportInputs
from lookback.storage.atomic import read_json
from lookback.storage.paths import plan_file


@dataclass(frozen=True)
class Receipt:
    """What a tracking server holds of the study."""

    uri: str
    experiment: str
    runs: Mapping[str, str]  # the parent run of each cell

    @property
    def title(self) -> str:
        """The name of its column."""
        return f"MLflow run in {self.uri}"

    def run(self, task: Any, model: Any) -> str:
        """The run of a cell; empty where the server holds none."""
        return self.runs.get(f"{task}/{model}", "")

    def link(self, run: str) -> str:
        """A run as it is shown: its first digits, linked where the server has pages."""
        if not run or not self.uri.startswith("http"):
            return run[:8]
        address = f"{self.uri.rstrip('/')}/#/experiments/{self.experiment}/runs/{run}"
        return Markup('<a href="{}">{}</a>').format(address, run[:8])


def receipts(material: ReportInputs) -> list[Receipt]:
    """The receipts of today: their plan expects the very cells that the report's plan expects."""
    found = []
    for path in sorted(material.paths.receipts.glob("*.json")):
        said = read_json(path)
        plan = plan_file("track", said["plans"]["track"], material.plans)
        if plan.exists() and read_json(plan)["cells"] == material.document["cells"]:
            runs = {cell: run["parent"] for cell, run in said["runs"].items()}
            found.append(Receipt(said["uri"], str(said["experiment_id"]), runs))
    return found
