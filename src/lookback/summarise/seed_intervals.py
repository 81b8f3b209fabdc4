"""Compute 95 % intervals of means over seeds by the percentile bootstrap, and choose a winner.

The percentile bootstrap is from [efron1993], chapter 13. Each resample draws as many seeds as there
are, with replacement. The interval holds the middle 95 % of the means of the resamples. With three
seeds, 3.7 % of the resamples (1 in 27) consist of the smallest value only, and another 3.7 % of the
largest value only. The 95 % interval leaves out only 2.5 % of the resamples at each end. The
interval of three seeds therefore extends from the smallest to the largest value.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

Better = Literal["higher", "lower"]


class Interval(NamedTuple):
    """A mean and the bounds of its 95 % interval, which are NaN if they are unknown."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value per seed, with its 95 % interval.

    The same values always give the same interval. The bounds are NaN for one seed. The mean and the
    bounds are NaN if there are no values or a value is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        return Interval(math.nan, math.nan, math.nan)
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, math.nan, math.nan)
    bounds = stats.bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    return Interval(mean, float(bounds.low), float(bounds.high))


def winner(intervals: Mapping[str, Interval], better: Better) -> str | None:
    """The name whose whole interval is better than the interval of every other name, or None.

    The result is None if there is only one name. No name wins if any interval is unknown, which is
    the case for a single seed.
    """
    sign = 1.0 if better == "higher" else -1.0
    ends = {name: (sign * it.low, sign * it.high) for name, it in intervals.items()}
    worst = {name: min(pair) for name, pair in ends.items()}
    best = {name: max(pair) for name, pair in ends.items()}
    for name in intervals:
        rivals = [best[other] for other in intervals if other != name]
        if rivals and all(worst[name] > rival for rival in rivals):
            return name
    return None
