"""The memory horizon: the largest lag up to which skill stays above one half.

1. Answers are put in bins of their lag, spaced evenly in its logarithm; neighbours are joined until
   each holds enough answers.
2. The skill of a bin is the mean over its answers, all seeds together; its centre is the geometric
   mean of its lags. (A lag of 0 counts as 1: a logarithm wants it so.)
3. From the shortest lag on, the first bin whose skill is not above one half ends the horizon: it is
   where the line between that bin's centre and the one before, in ln lag, crosses one half. It is
   0 where the first bin fails already.
4. Where no bin fails, the horizon is past the longest lag tried: that lag is given, as `censored`.

The interval is that of the hierarchical bootstrap (bootstrap.py) of steps 2 to 4, the bins kept.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.summarise.bootstrap import LEVELS, Numbers, percentiles, resampled

HALF = 0.5
BINS = 24  # from the shortest lag to the longest, before neighbours are joined
ENOUGH = 200  # answers in a bin, over all seeds: the error of a mean of right and wrong is ≤ 0.04


class Horizon(NamedTuple):
    """In steps; a censored one is at least `value`. Bounds are NaN where there is one seed."""

    value: float
    low: float
    high: float
    censored: bool


class Curve(NamedTuple):
    """Skill by lag: one number a bin, and its resamples (resample, bin)."""

    lag: Numbers
    skill: Numbers
    draws: Numbers
    longest: float  # lag tried
    seeds: int

    def band(self) -> tuple[Numbers, Numbers]:
        """The 95 % interval of each bin; NaN where there is one seed."""
        if self.seeds == 1:
            return np.full_like(self.skill, np.nan), np.full_like(self.skill, np.nan)
        low, high = np.percentile(self.draws, LEVELS, axis=0)
        return low, high


def horizon(frame: pd.DataFrame) -> Horizon:
    """The horizon of one cell: columns seed, sequence, lag (≥ 0) and skill, a row an answer.

    All is NaN where there is no answer.
    """
    if frame.empty:
        return Horizon(math.nan, math.nan, math.nan, False)
    curve = skill_by_lag(frame)
    value = crossings(curve.lag, curve.skill[None], curve.longest)[0]
    low, high = percentiles(crossings(curve.lag, curve.draws, curve.longest))
    if curve.seeds == 1:
        low = high = math.nan
    return Horizon(float(value), low, high, bool((curve.skill > HALF).all()))


def skill_by_lag(frame: pd.DataFrame) -> Curve:
    """The curve of one cell, from the rows that `horizon` takes; one answer at least."""
    lag = frame["lag"].to_numpy(np.float64).clip(min=1)
    group = bins_of(lag)
    found, drawn = resampled(frame["skill"], frame["seed"], frame["sequence"], group)
    centre = np.exp(np.bincount(group, np.log(lag)) / np.bincount(group))
    skill = found.sums.sum(axis=0) / found.counts.sum(axis=0)
    counts = drawn.counts.sum(axis=1)
    # A draw may leave a bin of few answers empty: then it says nothing new of it.
    draws = np.where(counts > 0, drawn.sums.sum(axis=1) / counts.clip(min=1), skill)
    return Curve(centre, skill, draws, float(frame["lag"].max()), frame["seed"].nunique())


def bins_of(lag: Numbers) -> NDArray[np.int64]:
    """The bin of each answer, 0 at the shortest lag: none is empty, each but a sole one has enough.

    Bins are joined from the shortest lag on; a rest that is too small joins the last.
    """
    edges = np.geomspace(lag.min(), lag.max(), BINS + 1)[1:-1]
    fine = np.searchsorted(edges, lag, side="right")
    joined, held, left = np.zeros(BINS, dtype=np.int64), 0, len(lag)
    for place, count in enumerate(np.bincount(fine, minlength=BINS)):
        joined[place] = 0 if place == 0 else joined[place - 1]
        if held >= ENOUGH and left >= ENOUGH:
            joined[place], held = joined[place] + 1, 0
        held, left = held + count, left - count
    return joined[fine]


def crossings(lag: Numbers, skill: Numbers, longest: float) -> Numbers:
    """Where each curve (curve, bin) first falls to one half; `longest` where it never does."""
    above = skill > HALF
    first = above.argmin(axis=1)
    row, before = np.arange(len(skill)), (first - 1).clip(min=0)
    upper, lower = skill[row, before], skill[row, first]
    with np.errstate(invalid="ignore", divide="ignore"):  # of those that do not cross here
        share = (upper - HALF) / (upper - lower)
        crossed = lag[before] * (lag[first] / lag[before]) ** share
    found: Numbers = np.select([above.all(axis=1), first == 0], [longest, 0.0], crossed)
    return found
