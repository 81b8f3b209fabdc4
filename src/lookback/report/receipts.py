"""Read the study's MLflow runs from the files (receipts) that stage `track` wrote.

The report is made twice. Rule `draw` makes the first report, and stage `track` uploads its figures
to MLflow. Rule `report` makes the second report, which links to the MLflow runs.
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
    """The runs of the study in one tracking store of MLflow."""

    uri: str
    experiment: str
    runs: Mapping[str, str]  # the parent run of each cell

    @property
    def title(self) -> str:
        """The title of the column that holds the MLflow runs."""
        return f"MLflow run in {self.uri}"

    def run(self, task: Any, model: Any) -> str:
        """The run of a model on a task, or an empty string if the store has none."""
        return self.runs.get(f"{task}/{model}", "")

    def link(self, run: str) -> str:
        """The first eight digits of a run's id, as a link if the store is a web server."""
        if not run or not self.uri.startswith("http"):
            return run[:8]
        address = f"{self.uri.rstrip('/')}/#/experiments/{self.experiment}/runs/{run}"
        return Markup('<a href="{}">{}</a>').format(address, run[:8])


def receipts(inputs: ReportInputs) -> list[Receipt]:
    """The receipts that are up to date.

    A receipt (a list of MLflow runs) is up to date if its plan has the same settings for all models
    and tasks as the report's plan.
    """
    current = []
    for path in sorted(inputs.paths.receipts.glob("*.json")):
        receipt = read_json(path)
        plan = plan_file("track", receipt["plans"]["track"], inputs.plans)
        if plan.exists() and read_json(plan)["cells"] == inputs.document["cells"]:
            runs = {cell: run["parent"] for cell, run in receipt["runs"].items()}
            current.append(Receipt(receipt["uri"], str(receipt["experiment_id"]), runs))
    return current
