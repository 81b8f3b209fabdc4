"""Read the study's MLflow runs from the files (receipts) that stage `track` wrote.

The report is made twice. Rule `draw` makes the first report, and stage `track` uploads its figures
to MLflow. Rule `report` makes the second report, which links to the MLflow runs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lookback.report.inputs import ReportInputs
from lookback.storage.atomic import read_json
from lookback.storage.paths import plan_file
from lookback.storage.secrets import redacted


@dataclass(frozen=True)
class Receipt:
    """The runs of the study in one tracking store of MLflow."""

    uri: str
    experiment: str
    runs: Mapping[str, str]  # the parent run of each cell

    @classmethod
    def read(cls, path: Path, inputs: ReportInputs) -> "Receipt | None":
        """The receipt in a file, or None if the file is damaged or of other settings."""
        try:
            receipt = read_json(path)
            plan = plan_file("track", receipt["plans"]["track"], inputs.plans)
            if not plan.exists() or read_json(plan)["cells"] != inputs.document["cells"]:
                return None
            runs = {cell: run["parent"] for cell, run in receipt["runs"].items()}
            return cls(redacted(receipt["uri"]), str(receipt["experiment_id"]), runs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

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
        # A browser asks for the user and the password, which the report does not hold.
        server = re.sub("://.*@", "://", self.uri).partition("?")[0].rstrip("/")
        address = f"{server}/#/experiments/{self.experiment}/runs/{run}"
        return Markup('<a href="{}">{}</a>').format(address, run[:8])


def receipts(inputs: ReportInputs) -> list[Receipt]:
    """The receipts that are up to date and not damaged.

    A receipt (a list of MLflow runs) is up to date if its plan has the same settings for all models
    and tasks as the report's plan.
    """
    paths = sorted(inputs.paths.receipts.glob("*.json"))
    return [receipt for path in paths if (receipt := Receipt.read(path, inputs)) is not None]
