"""The trust horizon: up to which lag a model remembers and an explainer finds the evidence.

Each explained answer has three values. All are computed for the same answers.

memory  the skill of the answer: 1 if it is right, 0 on average for the trivial baseline
sight   the average precision of the evidence (evidence_auprc), for right answers only
trust   the average precision if the answer is right, and 0 if it is wrong

The horizon of a value is the largest lag up to which the value stays above one half, computed like
the memory horizon (quantities/memory_horizon.py). The gap is the memory horizon minus the trust
horizon: memory that the explanation does not show. The half-life of the sight is the lag at which
the average precision has fallen to half of its value at the shortest lags.

The table has a row for each model and explainer if the task is a classification task that knows its
evidence and its lags.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from lookback.storage.tables import read_npz
from lookback.summarise.cells import CellResults, Row
from lookback.summarise.hierarchical_bootstrap import percentiles
from lookback.summarise.quantities.base import Estimate
from lookback.summarise.quantities.memory_horizon import crossings, memory_horizon, skill_by_lag

COLUMNS = {"task": "str", "model": "str", "explainer": "str"}
for _name in ("memory", "sight", "trust", "half_life"):
    COLUMNS |= {_name: "float64", f"{_name}_low": "float64", f"{_name}_high": "float64"}
    COLUMNS[f"{_name}_censored"] = "bool"
COLUMNS |= {"gap": "float64", "answers": "int64", "right": "float64", "seeds": "int64"}


def trust_horizons(
    cells: Iterable[CellResults], explainers: Iterable[str], results: pd.DataFrame
) -> Iterator[Row]:
    """Yield the horizons of each explainer of each model, from its up-to-date attributions."""
    baselines = results.set_index(["task", "model"])["baseline"]
    names = list(explainers)
    for cell in cells:
        for explainer in names:
            frame, _ = cell.measured("explain", explainer, cell.paths.scores(explainer))
            if frame is None:
                continue
            arrays = read_npz(cell.paths.attributions(explainer))
            baseline = baselines[cell.task, cell.model]
            if not {"lag", "is_right"} <= arrays.keys() or np.isnan(baseline):
                continue
            answers = answers_of(arrays, float(baseline))
            answers = answers[answers["seed"].isin(frame["seed"])]
            if len(answers):
                yield cell.name | {"explainer": explainer} | horizons(answers)


def answers_of(arrays: dict[str, np.ndarray], baseline: float) -> pd.DataFrame:
    """One row per explained answer with a known lag and score, from the arrays of an explainer.

    Columns: seed, sequence, lag, is_right, memory, sight.
    """
    seeds, count = arrays["is_right"].shape
    is_right = arrays["is_right"].ravel().astype(bool)
    frame = pd.DataFrame(
        {
            "seed": np.repeat(arrays["seeds"], count),
            "sequence": np.tile(np.arange(count), seeds),
            "lag": np.tile(arrays["lag"], seeds),
            "is_right": is_right,
            "memory": (is_right - baseline) / (1 - baseline),
            "sight": arrays["evidence_auprc"].ravel(),
        }
    )
    return frame[(frame["lag"] >= 0) & frame["sight"].notna()]


def horizons(answers: pd.DataFrame) -> Row:
    """The horizons of one explainer of one model, from the table that `answers_of` returns."""
    right = answers[answers["is_right"]]
    trust = answers.assign(skill=answers["sight"].where(answers["is_right"], 0.0))
    estimates = {
        "memory": memory_horizon(answers.assign(skill=answers["memory"])),
        "sight": memory_horizon(right.assign(skill=right["sight"])),
        "trust": memory_horizon(trust),
        "half_life": half_life(right.assign(skill=right["sight"])),
    }
    row: Row = {
        "gap": estimates["memory"].value - estimates["trust"].value,
        "answers": len(answers),
        "right": answers["is_right"].mean(),
        "seeds": answers["seed"].nunique(),
    }
    for name, estimate in estimates.items():
        ends = {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        row |= {name: estimate.value, **ends, f"{name}_censored": estimate.censored}
    return row


def half_life(rows: pd.DataFrame) -> Estimate:
    """The lag at which the mean of `skill` has fallen to half of its value at the shortest lags.

    `rows` has the columns that `memory_horizon` takes.
    """
    if rows.empty:
        return Estimate(math.nan)
    curve = skill_by_lag(rows)
    relative, draws = curve.skill / curve.skill[0], curve.draws / curve.draws[:, :1]
    value = crossings(curve.lag, relative[None], curve.longest)[0]
    low, high = percentiles(crossings(curve.lag, draws, curve.longest))
    if curve.seeds == 1:
        low = high = math.nan
    return Estimate(float(value), low, high, bool((relative > 0.5).all()))
