"""The mean skill of a model in bins of lags, with a 95 % band, for the figure of recall by lag.

The answers are sorted by lag into `BINS` bins, which are evenly spaced in ln lag. A lag of 0 counts
as 1. Adjacent bins are joined until each bin holds at least `ENOUGH` answers. The memory horizon
does not depend on these bins (quantities/memory_horizon.py).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.summarise.crossed_intervals import answer_table, crossed_interval
from lookback.summarise.seed_intervals import Numbers

BINS = 24  # number of bins from the shortest to the longest lag, before any are joined
ENOUGH = 200  # minimum answers per bin, so that an accuracy has a standard error of at most 0.04


class RecallCurve(NamedTuple):
    """The mean skill of the answers in each bin of lags, over seeds and test sequences.

    `lag` holds the centre of each bin, the geometric mean of its lags. `low` and `high` are the
    bounds of the 95 % interval of the skill, which are NaN if there is one seed.
    """

    lag: Numbers
    skill: Numbers
    low: Numbers
    high: Numbers


def skill_by_lag(rows: pd.DataFrame) -> RecallCurve:
    """The skill of one model on one task as a function of the lag.

    `rows` has one row per answer, with the columns seed, sequence, lag (≥ 0) and skill, and at
    least one row.
    """
    lag = rows["lag"].to_numpy(np.float64).clip(min=1)
    group = bins_of(lag)
    centre = np.exp(np.bincount(group, np.log(lag)) / np.bincount(group))
    intervals = []
    for number in range(len(centre)):
        of_bin = rows[group == number]
        table = answer_table(of_bin["skill"], of_bin["seed"], of_bin["sequence"])
        intervals.append(crossed_interval(table, "skill"))
    return RecallCurve(centre, *np.array(intervals).T)


def bins_of(lag: Numbers) -> NDArray[np.int64]:
    """The index of the bin of each answer, where bin 0 holds the shortest lags.

    Every bin holds at least `ENOUGH` answers, unless there is only one bin. Adjacent bins are
    joined in the order of growing lag. If too few answers remain for a last bin, they join the bin
    before it.
    """
    edges = np.geomspace(lag.min(), lag.max(), BINS + 1)[1:-1]
    fine = np.searchsorted(edges, lag, side="right")
    joined, count_in_bin, remaining = np.zeros(BINS, dtype=np.int64), 0, len(lag)
    for place, count in enumerate(np.bincount(fine, minlength=BINS)):
        joined[place] = 0 if place == 0 else joined[place - 1]
        if count_in_bin >= ENOUGH and remaining >= ENOUGH:
            joined[place], count_in_bin = joined[place] + 1, 0
        count_in_bin, remaining = count_in_bin + count, remaining - count
    return joined[fine]
