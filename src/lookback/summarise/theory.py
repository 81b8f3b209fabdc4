"""Test whether the theoretical quantities on the memory card predict the memory horizon.

The first test compares models within each task (concordance.py). It asks of each quantity whether
models with a larger value have a longer horizon on the same task. The p-value is from a permutation
within tasks, with Holm's correction for the number of tested quantities [holm1979]. The number of
parameters and the size of the state are plain rivals of the theory. Two columns replicate the
concordance. On tasks left out, the direction is that of the other tasks. On seeds left out, the
quantity is measured on one half of the seeds and the horizon on the other half.

The second test predicts the horizon on tasks left out from several quantities at once, by a
regression that knows censored horizons (censored_regression.py). One prediction uses all
theoretical quantities, and one only those of the network before training. The quantity `decoding`
is not used, because its read-out is fitted to the task's own answers. A prediction passes if its
concordance within tasks is at least BAR_CONCORDANCE and its median relative error is at most
BAR_ERROR on the horizons that are not censored. A constant has the concordance 0.5 and fails.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.summarise.censored_regression import log_horizon, predict_left_out
from lookback.summarise.concordance import agreement, by_task, on_tasks_left_out
from lookback.summarise.quantities.registry import QUANTITIES

INITIAL = [quantity.name for quantity in QUANTITIES if quantity.role == "initial theory"]
PREDICTORS = [*(it.name for it in QUANTITIES if it.role == "theory"), *INITIAL]
RANKED = [*PREDICTORS, *(it.name for it in QUANTITIES if it.role in ("half behavioural", "rival"))]
PARAMETERS = "parameters"  # a column of the card that is a rival, too
# The rows of the table `theory` for the predictions on left-out tasks.
PREDICTIONS = {"predicted": PREDICTORS, "predicted_initial": INITIAL}
# A prediction passes the test if it meets BAR_CONCORDANCE and BAR_ERROR.
BAR_CONCORDANCE = 0.9
BAR_ERROR = 0.2

THEORY = {"quantity": "str"} | dict.fromkeys(("concordance", "p", "holm"), "float64")
THEORY |= dict.fromkeys(("tasks_left_out", "seeds_left_out"), "float64")
THEORY |= {"pairs": "int64", "cells": "int64", "censored": "int64"}
MAP = {"quantity": "str", "task": "str", "concordance": "float64", "pairs": "int64"}
FAILING = {"task": "str", "model": "str", "horizon": "float64"}
FAILING |= {f"{name}{end}": "float64" for name in PREDICTIONS for end in ("", "_error")}
FAILING |= {"constant": "float64", "constant_error": "float64"}
FAILING |= {"horizon_censored": "bool", "horizon_below": "bool"}

FEWEST = 4  # minimum number of cells (one model on one task) on the other tasks for a prediction

Values = NDArray[np.float64]


def theory(card: pd.DataFrame, lags: pd.DataFrame, halves: list[pd.DataFrame]) -> pd.DataFrame:
    """The concordance with the horizon, for each measured quantity and for the predictions.

    `halves` are memory cards whose quantities are from one half of the seeds and whose horizons are
    from the other half. `lags` is the table of `failing_lags`. There is one row for each quantity
    that was measured for a model with a horizon, and one row for each prediction. `cells` is the
    number of cells with both the quantity and a horizon, and `censored` is how many of these
    horizons are only bounds.
    """
    cells = card[card["horizon"].notna()]
    measured = [name for name in [*RANKED, PARAMETERS] if cells[name].notna().any()]
    rows = [tested(cells, name, halves) for name in measured]
    table = pd.DataFrame(rows, columns=list(THEORY))
    table["holm"] = holm(table["p"].to_numpy(dtype=float))
    # Each horizon is used to predict those of other tasks, so the predictions get no p-value.
    predicted = [tested(lags, name, []) | {"p": math.nan} for name in PREDICTIONS]
    return pd.DataFrame([*table.to_dict("records"), *predicted], columns=list(THEORY)).astype(
        THEORY
    )


def tested(cells: pd.DataFrame, quantity: str, halves: list[pd.DataFrame]) -> dict[str, object]:
    """One row of the table `theory`."""
    found, p, pairs = agreement(cells, quantity)
    replicated = [agreement(half, quantity).concordance for half in halves]
    rows = cells[cells[quantity].notna()]
    bounds = rows["horizon_censored"] | rows["horizon_below"]
    return {
        "quantity": quantity,
        "concordance": found,
        "p": p,
        "tasks_left_out": on_tasks_left_out(cells, quantity),
        "seeds_left_out": float(np.mean(replicated)) if replicated else math.nan,
        "pairs": pairs,
        "cells": len(rows),
        "censored": int(bounds.sum()),
    }


def theory_map(card: pd.DataFrame) -> pd.DataFrame:
    """The concordance of each quantity with the horizon on each task: where it holds and fails."""
    frames = [by_task(card, name).assign(quantity=name) for name in [*RANKED, PARAMETERS]]
    return pd.concat(frames, ignore_index=True)[list(MAP)].astype(MAP)


def holm(p: Values) -> Values:
    """Holm's correction, which multiplies the i-th smallest of m p-values by m − i + 1.

    Corrected p-values are then raised where necessary, so that they increase with the original
    p-values. A p-value that is NaN stays NaN and does not count in m.
    """
    corrected = np.full_like(p, math.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted to the end
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(p[order] * factors).clip(max=1)
    return corrected


def failing_lags(card: pd.DataFrame) -> pd.DataFrame:
    """Each measured horizon, and its predictions by regressions fitted on all tasks but its own.

    The columns are those of FAILING. An error is |predicted − horizon| / horizon, and NaN for a
    censored horizon, whose size is not known. `constant` predicts the horizon without any quantity,
    as the geometric mean over the other tasks. A prediction is NaN if the other tasks have fewer
    than FEWEST cells with a horizon, or if no cell of the other tasks has a quantity.
    """
    cells = card[card["horizon"].notna()].reset_index(drop=True)
    cells = cells.assign(constant=math.nan)
    for task in cells["task"].unique():
        left_out = cells["task"] == task
        if (~left_out).sum() >= FEWEST:
            cells.loc[left_out, "constant"] = math.exp(log_horizon(cells[~left_out]).mean())
    inputs = features(cells)
    for name, quantities in PREDICTIONS.items():
        cells[name] = predict_left_out(inputs[quantities], cells, FEWEST)
    is_exact = ~(cells["horizon_censored"] | cells["horizon_below"])
    for name in (*PREDICTIONS, "constant"):
        error = (cells[name] - cells["horizon"]).abs() / cells["horizon"].clip(lower=1)
        cells[f"{name}_error"] = error.where(is_exact)
    return cells[list(FAILING)].astype(FAILING)


def features(cells: pd.DataFrame) -> pd.DataFrame:
    """The regression inputs ln(1 + quantity), with one column per quantity.

    A Lyapunov exponent λ enters as the time −1/λ, which is ∞ if λ is not negative. An infinite time
    gives an infinite input. A capacity below zero, which is an estimate of zero, counts as zero.
    """
    inputs = cells[PREDICTORS].copy()
    for name in (name for name in PREDICTORS if name.startswith("lyapunov")):
        decays = cells[name] < 0
        inputs[name] = (-1 / cells[name].where(decays)).mask(cells[name] >= 0, math.inf)
    return inputs.clip(lower=0).apply(np.log1p)
