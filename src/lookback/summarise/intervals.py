"""How sure a mean over seeds is: the percentile bootstrap, and who may be called the winner.

Efron & Tibshirani 1993, "An introduction to the bootstrap", ch. 13. The seeds are drawn anew with
replacement; the interval holds the middle 95 % of the means. With three seeds 1 resample in 27 is
three times the smallest, more than 2.5 %: the interval is then the range of the seeds.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

Better = Literal["higher", "lower"]


class Interval(NamedTuple):
    """A mean, and where the middle 95 % of its resamples lie; NaN bounds where nothing is known."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value a seed and its 95 % interval, the same at every call.

    One seed says nothing of the spread, and a seed without a finite value makes the mean unknown.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        return Interval(math.nan, math.nan, math.nan)
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, math.nan, math.nan)
    found = stats.bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def winner(intervals: Mapping[str, Interval], better: Better) -> str | None:
    """The one whose whole interval lies on the better side of every other's; None where none does.

    A rival whose spread is unknown (one seed) forbids a winner, and so does the lack of a rival.
    """
    sign = 1.0 if better == "higher" else -1.0
    worst = {name: min(sign * each.low, sign * each.high) for name, each in intervals.items()}
    best = {name: max(sign * each.low, sign * each.high) for name, each in intervals.items()}
    for name in intervals:
        rivals = [best[other] for other in intervals if other != name]
        if rivals and all(worst[name] > rival for rival in rivals):
            return name
    return None
