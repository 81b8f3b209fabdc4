"""The results of a cell on disk: which are valid, which are missing, and why."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lookback.storage.atomic import read_json
from lookback.storage.paths import CellPaths, StudyPaths
from lookback.storage.tables import read_parquet
from lookback.summarise.validity import NOT_THERE, lack

Row = dict[str, Any]


class Hole(NamedTuple):
    """A result that the study expects and that is missing or outdated, with the reason."""

    what: str
    reason: str


@dataclass(frozen=True)
class CellResults:
    """One task and one model of the study; `expected` holds the plans its results must name."""

    task: str
    model: str
    paths: CellPaths
    expected: Mapping[str, Any]
    seeds: frozenset[int]

    @property
    def name(self) -> Row:
        """The first columns of every table."""
        return {"task": self.task, "model": self.model}

    @cached_property
    def untrained(self) -> str:
        """Why the cell has no trained runs; empty if it has."""
        tuned = self.expected.get("tune")
        if tuned and self.lack(self.paths.tuning, tuned, "tune"):
            return "its tuning is missing"
        files = (self.paths.metrics, self.paths.history, self.paths.predictions)
        reasons = (self.lack(path, self.expected["train"], "train") for path in files)
        return next((reason for reason in reasons if reason), "")

    @cached_property
    def failed(self) -> dict[int, str]:
        """The seeds that diverged, each with the reason; empty if the cell was not trained."""
        metrics = self.paths.metrics
        reasons = read_json(metrics).get("failed", {}) if metrics.exists() else {}
        return {int(seed): reason for seed, reason in reasons.items()}

    def lack(self, path: Path, plans: Mapping[str, str], job: str) -> str:
        """Why the cell's file `path`, made by `job`, is not valid; empty if it is."""
        return lack(path, plans, self.paths.log(job))

    def rows_of_study(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the study's seeds, with the columns task and model in front."""
        rows = frame[frame["seed"].isin(self.seeds)]
        other_columns = [column for column in rows if column not in self.name]
        return rows.assign(**self.name)[[*self.name, *other_columns]]

    def answers(self, metric: str) -> pd.DataFrame:
        """One row per answer to the test split: seed, sequence, and its value of the metric."""
        frame = self.rows_of_study(read_parquet(self.paths.predictions))
        target, given = frame.filter(like="target"), frame.filter(like="prediction")
        difference = target.to_numpy(np.float64) - given.to_numpy(np.float64)
        value = (difference == 0) if metric == "accuracy" else difference**2
        return frame[["seed", "sequence"]].assign(value=value.mean(axis=1))

    def measured(self, stage: str, name: str, path: Path) -> tuple[pd.DataFrame | None, list[Hole]]:
        """The table of probe or explainer `name` at `path`, and what is missing of it.

        The table is None if nothing was measured.
        """
        plans = self.expected[stage].get(name)
        if plans is None:
            return None, []
        what = f"{stage} {name}"
        if reason := self.lack(path, plans, f"{stage}-{name}"):
            return None, [Hole(what, "its model is missing" if self.untrained else reason)]
        frame = self.rows_of_study(read_parquet(path))
        holes = [
            Hole(what, f"seed {seed} {why.partition(':')[0]}")
            for seed, why in self.absent(frame["seed"]).items()
        ]
        if "reason" in frame:
            reasons = frame["reason"].dropna().unique()
            holes += [Hole(what, f"does not apply: {reason}") for reason in reasons]
            frame = frame[frame["reason"].isna()].drop(columns="reason")
        return (None if frame.empty else frame), holes

    def absent(self, seeds: Iterable[int]) -> dict[int, str]:
        """The seeds of the study that are not among `seeds`, each with the reason."""
        return {
            seed: f"diverged: {self.failed[seed]}" if seed in self.failed else NOT_THERE
            for seed in sorted(self.seeds - set(seeds))
        }


def cells_of(document: Mapping[str, Any], paths: StudyPaths) -> Iterator[CellResults]:
    """The cells of a study's plan, in the study's order."""
    study = document["study"]
    for task in study["tasks"]:
        for model in study["models"]:
            if expected := document["cells"].get(f"{task}/{model}"):
                cell = paths.cell(task, model)
                yield CellResults(task, model, cell, expected, frozenset(study["seeds"]))
