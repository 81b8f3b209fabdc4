"""The trust horizon: up to which lag a model remembers and an explainer finds the evidence.

Each explained answer has three values. All are computed for the same answers.

memory  the skill of the answer: 1 if it is right, 0 on average for the trivial baseline
sight   the average precision of the evidence (evidence_auprc), for right answers only
trust   the average precision if the answer is right, and 0 if it is wrong

The horizon of a value is the lag at which the value falls to one half, computed like the memory
horizon (quantities/memory_horizon.py): by a logistic fit for each seed, as the median over seeds.
The gap is the memory horizon minus the trust horizon: memory that the explanation does not show.
The half-life of the sight is the lag at which the average precision has fallen to half of its value
at the shortest lag.

The table has a row for each model and explainer if the task is a classification task that knows its
evidence and its lags.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from lookback.summarise.cells import CellResults, Row
from lookback.summarise.logistic_fall import Curve
from lookback.summarise.quantities.base import NOT_MEASURED, Estimate
from lookback.summarise.quantities.memory_horizon import memory_horizon

COLUMNS = {"task": "str", "model": "str", "explainer": "str"}
for _name in ("memory", "sight", "trust", "half_life"):
    COLUMNS |= {_name: "float64", f"{_name}_low": "float64", f"{_name}_high": "float64"}
    COLUMNS |= {f"{_name}_censored": "bool", f"{_name}_below": "bool"}
COLUMNS |= {"gap": "float64", "answers": "int64", "right": "float64", "seeds": "int64"}


def trust_horizons(
    cells: Iterable[CellResults], explainers: Iterable[str], results: pd.DataFrame
) -> Iterator[Row]:
    """Yield the horizons of each explainer of each model, from its up-to-date attributions."""
    baselines = results.set_index(["task", "model"])["baseline"]
    names = list(explainers)
    for cell in cells:
        for explainer in names:
            explained, _ = cell.explained(explainer)
            if explained is None:
                continue
            arrays = explained.arrays
            baseline = baselines[cell.task, cell.model]
            if not {"lag", "is_right"} <= arrays.keys() or np.isnan(baseline):
                continue
            answers = answers_of(arrays, float(baseline))
            answers = answers[answers["seed"].isin(explained.scores["seed"])]
            if len(answers):
                yield cell.name | {"explainer": explainer} | horizons(answers)


def answers_of(arrays: Mapping[str, np.ndarray], baseline: float) -> pd.DataFrame:
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
        row[f"{name}_below"] = estimate.below
    return row


def half_life(rows: pd.DataFrame) -> Estimate:
    """The lag at which `skill` has fallen to half of its value at the shortest lag.

    `rows` has the columns that `memory_horizon` takes. The value of each seed at the shortest lag
    is that of its fitted curve. The interval takes this value as known.
    """
    if rows.empty:
        return NOT_MEASURED
    parts = []
    for _, answers in rows.groupby("seed"):
        x = np.log(answers["lag"].to_numpy(np.float64).clip(min=1))
        skill = answers["skill"].to_numpy(np.float64)
        start = Curve.fitted(x, skill).values(x.min(keepdims=True))[0]
        parts.append(answers.assign(skill=skill / start))
    return memory_horizon(pd.concat(parts))
