"""Find which results of one model on one task are up to date, and why others are missing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.storage.atomic import read_json
from lookback.storage.cell_paths import CellPaths
from lookback.storage.study_paths import StudyPaths
from lookback.storage.tables import read_npz, read_parquet
from lookback.summarise.validity import NOT_THERE, lack

Row = dict[str, Any]


class Hole(NamedTuple):
    """A result that is missing, outdated or not applicable, with the reason."""

    what: str
    reason: str


class Explained(NamedTuple):
    """What one explainer found for one model, as stage `explain` writes it."""

    scores: pd.DataFrame  # one row per seed and score
    arrays: Mapping[str, NDArray[Any]]  # the file of attributions


@dataclass(frozen=True)
class CellResults:
    """The results of one cell, which is one model on one task of the study.

    `expected` holds, for each stage, the digests of the plans that its results must name. A plan is
    a file with the settings and the code version of a stage.
    """

    task: str
    model: str
    paths: CellPaths
    expected: Mapping[str, Any]
    seeds: frozenset[int]

    @property
    def name(self) -> Row:
        """The columns task and model, which come first in every table."""
        return {"task": self.task, "model": self.model}

    @cached_property
    def untrained(self) -> str:
        """Why the model has no trained runs on the task, or an empty string if it has some."""
        tuned = self.expected.get("tune")
        if tuned and self.lack(self.paths.tuning, tuned, "tune"):
            return "its tuning is missing"
        files = (self.paths.metrics, self.paths.history, self.paths.predictions)
        reasons = (self.lack(path, self.expected["train"], "train") for path in files)
        return next((reason for reason in reasons if reason), "")

    @cached_property
    def failed(self) -> dict[int, str]:
        """The seeds whose training diverged, each with the reason.

        The result is empty if the model was not trained on the task.
        """
        metrics = self.paths.metrics
        reasons = read_json(metrics).get("failed", {}) if metrics.exists() else {}
        return {int(seed): reason for seed, reason in reasons.items()}

    def results(self) -> Iterator[tuple[Path, Mapping[str, str]]]:
        """Each result file of the cell, with the digests of the plans that it must name."""
        if "tune" in self.expected:
            yield self.paths.tuning, self.expected["tune"]
        for path in (self.paths.metrics, self.paths.history, self.paths.predictions):
            yield path, self.expected["train"]
        for name, plans in self.expected["probe"].items():
            yield self.paths.probe(name), plans
        for name, plans in self.expected["explain"].items():
            yield self.paths.attributions(name), plans

    def lack(self, path: Path, plans: Mapping[str, str], job: str) -> str:
        """Why the file `path` is missing, damaged or outdated; an empty string if it is up to date.

        The file is written by the job named `job`.
        """
        return lack(path, plans, self.paths.log(job))

    def rows_of_study(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of `frame` for the study's seeds, with the columns task and model in front."""
        rows = frame[frame["seed"].isin(self.seeds)]
        other_columns = [column for column in rows if column not in self.name]
        return rows.assign(**self.name)[[*self.name, *other_columns]]

    def answers(self, metric: str) -> pd.DataFrame:
        """One row per answer on the test split, with the columns seed, sequence and value.

        The column `value` holds the metric of each answer.
        """
        frame = self.rows_of_study(read_parquet(self.paths.predictions))
        target, given = frame.filter(like="target"), frame.filter(like="prediction")
        difference = target.to_numpy(np.float64) - given.to_numpy(np.float64)
        value = (difference == 0) if metric == "accuracy" else difference**2
        return frame[["seed", "sequence"]].assign(value=value.mean(axis=1))

    def measured(self, stage: str, name: str, path: Path) -> tuple[pd.DataFrame | None, list[Hole]]:
        """The table of probe or explainer `name` in the file `path`, and a list of missing results.

        The table is None if the file is missing or outdated, or holds no measurement.
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

    def explained(self, name: str) -> tuple[Explained | None, list[Hole]]:
        """The scores and attributions of explainer `name`, and a list of missing results.

        The first value is None if one of the two files is missing or outdated, or if the explainer
        does not apply.
        """
        scores, holes = self.measured("explain", name, self.paths.scores(name))
        if scores is None:
            return None, holes
        path = self.paths.attributions(name)
        if reason := self.lack(path, self.expected["explain"][name], f"explain-{name}"):
            return None, [Hole(f"explain {name}", reason)]
        return Explained(scores, read_npz(path)), holes

    def absent(self, seeds: Iterable[int]) -> dict[int, str]:
        """The seeds of the study that are not in `seeds`, each with the reason for its absence."""
        return {
            seed: f"diverged: {self.failed[seed]}" if seed in self.failed else NOT_THERE
            for seed in sorted(self.seeds - set(seeds))
        }


def cells_of(document: Mapping[str, Any], paths: StudyPaths) -> Iterator[CellResults]:
    """Yield the results of each task and model in a study's plan, in the order of the study."""
    study = document["study"]
    for task in study["tasks"]:
        for model in study["models"]:
            if expected := document["cells"].get(f"{task}/{model}"):
                cell = paths.cell(task, model)
                yield CellResults(task, model, cell, expected, frozenset(study["seeds"]))
