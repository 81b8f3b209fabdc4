"""A cell of a study as its results lie on disk: what counts, and what is missing and why."""

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
    """Something that the study expects and that does not count, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class CellResults:
    """One task and one model of the study, and the plans that its results must name."""

    task: str
    model: str
    paths: CellPaths
    expected: Mapping[str, Any]
    seeds: frozenset[int]

    @property
    def name(self) -> Row:
        """The columns that every table starts with."""
        return {"task": self.task, "model": self.model}

    @cached_property
    def untrained(self) -> str:
        """Why the cell has no trained runs; empty where it has."""
        tuned = self.expected.get("tune")
        if tuned and self.lack(self.paths.tuning, tuned, "tune"):
            return "its tuning is missing"
        files = (self.paths.metrics, self.paths.history, self.paths.predictions)
        reasons = (self.lack(path, self.expected["train"], "train") for path in files)
        return next((reason for reason in reasons if reason), "")

    @cached_property
    def failed(self) -> dict[int, str]:
        """The seeds that diverged, each with its last word; none where the cell was not trained."""
        metrics = self.paths.metrics
        said = read_json(metrics).get("failed", {}) if metrics.exists() else {}
        return {int(seed): reason for seed, reason in said.items()}

    def lack(self, path: Path, plans: Mapping[str, str], job: str) -> str:
        """Why the cell's file `path`, made by `job`, does not count; empty if it does."""
        return lack(path, plans, self.paths.log(job))

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the study's seeds, under the cell's name."""
        asked = frame[frame["seed"].isin(self.seeds)]
        rest = [column for column in asked if column not in self.name]
        return asked.assign(**self.name)[[*self.name, *rest]]

    def answers(self, metric: str) -> pd.DataFrame:
        """One row an answer to the test split: seed, sequence, and what it adds to the metric."""
        frame = self.own(read_parquet(self.paths.predictions))
        target, given = frame.filter(like="target"), frame.filter(like="prediction")
        apart = target.to_numpy(np.float64) - given.to_numpy(np.float64)
        value = (apart == 0) if metric == "accuracy" else apart**2
        return frame[["seed", "sequence"]].assign(value=value.mean(axis=1))

    def measured(self, stage: str, name: str, path: Path) -> tuple[pd.DataFrame | None, list[Hole]]:
        """What probe or explainer `name` left at `path`, and what is missing of it."""
        plans = self.expected[stage].get(name)
        if plans is None:
            return None, []
        what = f"{stage} {name}"
        if reason := self.lack(path, plans, f"{stage}-{name}"):
            return None, [Hole(what, "its model is missing" if self.untrained else reason)]
        frame = self.own(read_parquet(path))
        holes = [
            Hole(what, f"seed {seed} {why.partition(':')[0]}")
            for seed, why in self.absent(frame["seed"]).items()
        ]
        if "reason" in frame:
            said = frame["reason"].dropna().unique()
            holes += [Hole(what, f"does not apply: {reason}") for reason in said]
            frame = frame[frame["reason"].isna()].drop(columns="reason")
        return (None if frame.empty else frame), holes

    def absent(self, seeds: Iterable[int]) -> dict[int, str]:
        """The seeds that the study asks for and that are not among `seeds`, and why."""
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
