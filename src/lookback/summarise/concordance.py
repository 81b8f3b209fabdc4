"""The concordance of a quantity with the memory horizon, within tasks, for censored horizons.

Two models on the same task are a pair if it is known which has the longer horizon. Two horizons
that are both beyond the longest lag, or both below the shortest, are no pair. The concordance is
the share of pairs in which the model with the longer horizon also has the larger value
[harrell1982]. Equal values count one half. A constant has the concordance 0.5, and a quantity that
orders the models of each task correctly has 1. Models on different tasks are never compared,
because a task changes horizon and quantity at once.

The p-value is from a permutation test that exchanges the values only within tasks. It is two-sided:
the share of exchanges whose concordance is at least as far from 0.5.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.summarise.seed_intervals import Numbers

RESAMPLES = 9999


class Agreement(NamedTuple):
    """The concordance of a quantity with the horizon; NaN if there are no pairs."""

    concordance: float
    p: float
    pairs: int


def longer_pairs(cells: pd.DataFrame) -> NDArray[np.int64]:
    """The pairs of rows (longer, shorter) of one task whose order of horizons is known.

    The columns are horizon, horizon_censored (at least that long) and horizon_below (shorter).
    """
    horizon = cells["horizon"].to_numpy(np.float64)
    censored, below = (cells[name].to_numpy(bool) for name in ("horizon_censored", "horizon_below"))
    least = np.where(below, -math.inf, horizon)
    most = np.where(censored, math.inf, horizon)
    is_longer = least[:, None] > most
    touches = (least[:, None] == most) & (censored[:, None] | below)
    return np.argwhere(is_longer | touches)


def concordant(values: Numbers, pairs: NDArray[np.int64]) -> Numbers:
    """The number of pairs whose values have the order of their horizons, for values (…, cell)."""
    longer, shorter = values[..., pairs[:, 0]], values[..., pairs[:, 1]]
    count: Numbers = (longer > shorter).sum(axis=-1) + 0.5 * (longer == shorter).sum(axis=-1)
    return count


def agreement(cells: pd.DataFrame, quantity: str) -> Agreement:
    """The concordance of `quantity` with the horizon over all pairs within tasks, with its p-value.

    Cells without the quantity or without a horizon are left out.
    """
    generator = np.random.default_rng(0)
    count, found, drawn = 0, 0.0, np.zeros(RESAMPLES)
    for _, rows in known(cells, quantity).groupby("task", observed=True):
        pairs, values = longer_pairs(rows), rows[quantity].to_numpy(np.float64)
        if len(pairs):
            count += len(pairs)
            found += float(concordant(values, pairs))
            exchanged = generator.permuted(np.tile(values, (RESAMPLES, 1)), axis=1)
            drawn += concordant(exchanged, pairs)
    if not count:
        return Agreement(math.nan, math.nan, 0)
    as_far = np.abs(drawn / count - 0.5) >= abs(found / count - 0.5) - 1e-12
    return Agreement(found / count, float(1 + as_far.sum()) / (1 + RESAMPLES), count)


def by_task(cells: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The concordance within each task, with the columns task, concordance and pairs.

    A task without pairs has no row.
    """
    rows = []
    for task, of_task in known(cells, quantity).groupby("task", observed=True):
        pairs = longer_pairs(of_task)
        if len(pairs):
            share = float(concordant(of_task[quantity].to_numpy(np.float64), pairs)) / len(pairs)
            rows.append((str(task), share, len(pairs)))
    return pd.DataFrame(rows, columns=["task", "concordance", "pairs"])


def on_tasks_left_out(cells: pd.DataFrame, quantity: str) -> float:
    """The concordance on each task in the direction that holds on the other tasks, over all pairs.

    A quantity that is larger for longer horizons on some tasks and smaller on others is near or
    below 0.5. The result is NaN if fewer than two tasks have pairs.
    """
    tasks = by_task(cells, quantity)
    if len(tasks) < 2:
        return math.nan
    excess = (tasks["concordance"] - 0.5) * tasks["pairs"]
    direction = np.sign(excess.sum() - excess)
    return float(0.5 + (direction * excess).sum() / tasks["pairs"].sum())


def known(cells: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The cells that have both the quantity and a horizon."""
    return cells[cells[quantity].notna() & cells["horizon"].notna()]
