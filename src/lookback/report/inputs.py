"""Read the inputs of the report, which are the plan of the study and the tables of its summary."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lookback.storage.atomic import read_json
from lookback.storage.study_paths import StudyPaths, summary_table
from lookback.storage.tables import read_parquet

MEMORY = (
    "memory_card",
    "theory",
    "theory_map",
    "failing_lag",
    "trust_horizon",
)  # tables that some studies do not have


@dataclass(frozen=True)
class ReportInputs:
    """The plan of a study and the tables of its summary.

    The columns `task` and `model` of all tables are categorical, in the order of the study.
    """

    plans: Path  # the folder of all plans
    digest: str  # of the report's plan
    document: Mapping[str, Any]  # the report's plan
    paths: StudyPaths
    results: pd.DataFrame
    runs: pd.DataFrame
    metrics: pd.DataFrame
    history: pd.DataFrame
    cost: pd.DataFrame
    scores: pd.DataFrame
    controls: pd.DataFrame
    tuning: pd.DataFrame
    missing: pd.DataFrame
    probes: Mapping[str, pd.DataFrame]
    memory: Mapping[str, pd.DataFrame]  # the tables in MEMORY that exist

    @property
    def study(self) -> Mapping[str, Any]:
        """The settings of the study, read from the plan."""
        study: Mapping[str, Any] = self.document["study"]
        return study

    @property
    def sizes(self) -> str:
        """A sentence on whether the models have equal numbers of parameters."""
        match = self.study["matched"]
        if not match:
            return (
                "The models differ in their number of parameters (the study does not match them)."
            )
        return (
            f"The models are matched: each has the hidden size that gives it nearly "
            f"{match['params']:,} parameters, within {match['tolerance']:.1%}."
        )

    def trained(self, task: str) -> pd.DataFrame:
        """The rows of the table `results` for one task, without models that have no mean score."""
        return self.results[(self.results["task"] == task) & self.results["mean"].notna()]

    def without_skill(self, task: str) -> list[str]:
        """The names of the models that did not beat the trivial baseline of a task."""
        rows = self.trained(task)
        return [str(model) for model in rows.loc[~rows["skilled"], "model"]]


def read(plan: Path, summary: Path) -> ReportInputs:
    """Read the inputs of the report from its plan file `plan` and from the folder `summary`."""
    document = read_json(plan)
    study = document["study"]
    tasks = pd.CategoricalDtype(list(study["tasks"]), ordered=True)
    models = pd.CategoricalDtype(list(study["models"]), ordered=True)

    def load(name: str) -> pd.DataFrame:
        frame = read_parquet(summary_table(summary, name))
        kinds = {"task": tasks, "model": models}
        return frame.astype({name: kind for name, kind in kinds.items() if name in frame})

    first = ("results", "runs", "metrics", "history", "cost")
    names = (*first, "scores", "controls", "tuning", "missing")
    return ReportInputs(
        plans=plan.parents[1],
        digest=plan.stem,
        document=document,
        paths=StudyPaths(summary.parent),
        probes={probe: load(f"probe_{probe}") for probe in study["probes"]},
        memory={name: load(name) for name in MEMORY if (summary_table(summary, name)).exists()},
        **{name: load(name) for name in names},
    )
