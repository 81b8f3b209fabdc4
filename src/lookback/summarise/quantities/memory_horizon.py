"""The memory horizon of a model on a task, computed from probe `recall_by_lag`.

1. The answers are sorted by lag into `BINS` bins, which are evenly spaced in ln lag. A lag of 0
   counts as 1. Adjacent bins are joined until each bin holds at least `ENOUGH` answers.
2. The skill of a bin is the mean over its answers, over all seeds. The centre of a bin is the
   geometric mean of its lags.
3. The horizon is the lag at which the skill first falls to THRESHOLD. Between two bin centres, the
   skill is interpolated by a straight line in ln lag. The horizon is 0 if the skill of the first
   bin is not above THRESHOLD.
4. If the skill of every bin is above THRESHOLD, the horizon is censored at the longest measured
   lag.

For the 95 % interval, the skills and the horizon are computed again for each resample of the
hierarchical bootstrap (hierarchical_bootstrap.py). All resamples have the same bins.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.summarise.hierarchical_bootstrap import LEVELS, Numbers, percentiles, resampled
from lookback.summarise.quantities.base import NOT_MEASURED, Estimate

THRESHOLD = 0.5  # the skill halfway between the trivial baseline (0) and perfect answers (1)
BINS = 24  # number of bins from the shortest to the longest lag, before any are joined
ENOUGH = 200  # minimum answers per bin, so that an accuracy has a standard error of at most 0.04
DEFINITION = (
    f"the largest lag up to which the skill stays above {THRESHOLD:g}, in bins of at least "
    f"{ENOUGH} answers; «≥» if the skill is above it at all lags measured"
)


class Curve(NamedTuple):
    """The mean skill of the answers in each bin of lags.

    `lag` holds the centre of each bin. `draws` holds the skill of each bin in each resample, as an
    array (resample, bin).
    """

    lag: Numbers
    skill: Numbers
    draws: Numbers
    longest: float  # the longest lag measured
    seeds: int

    def band(self) -> tuple[Numbers, Numbers]:
        """The bounds of the 95 % interval of the skill in each bin, or NaN if there is one seed."""
        if self.seeds == 1:
            return np.full_like(self.skill, np.nan), np.full_like(self.skill, np.nan)
        low, high = np.percentile(self.draws, LEVELS, axis=0)
        return low, high


def memory_horizon(rows: pd.DataFrame) -> Estimate:
    """The memory horizon of one model on one task, in steps.

    `rows` has one row per answer, with the columns seed, sequence, lag (≥ 0) and skill. The bounds
    are NaN if there is one seed.
    """
    if rows.empty:
        return NOT_MEASURED
    curve = skill_by_lag(rows)
    value = crossings(curve.lag, curve.skill[None], curve.longest)[0]
    low, high = percentiles(crossings(curve.lag, curve.draws, curve.longest))
    if curve.seeds == 1:
        low = high = math.nan
    return Estimate(float(value), low, high, bool((curve.skill > THRESHOLD).all()))


def skill_by_lag(rows: pd.DataFrame) -> Curve:
    """The skill of one model on one task as a function of the lag.

    `rows` has the columns that `memory_horizon` takes, and at least one row.
    """
    lag = rows["lag"].to_numpy(np.float64).clip(min=1)
    group = bins_of(lag)
    totals, resamples = resampled(rows["skill"], rows["seed"], rows["sequence"], group)
    centre = np.exp(np.bincount(group, np.log(lag)) / np.bincount(group))
    skill = totals.sums.sum(axis=0) / totals.counts.sum(axis=0)
    counts = resamples.counts.sum(axis=1)
    # If a resample leaves a bin empty, the bin keeps the skill of the original answers.
    draws = np.where(counts > 0, resamples.sums.sum(axis=1) / counts.clip(min=1), skill)
    return Curve(centre, skill, draws, float(rows["lag"].max()), rows["seed"].nunique())


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


def crossings(lag: Numbers, skill: Numbers, longest: float) -> Numbers:
    """The lag at which each curve of skill first falls to THRESHOLD.

    `skill` is an array (curve, bin). If a curve stays above `THRESHOLD`, its lag is `longest`. If a
    curve starts at or below `THRESHOLD`, its lag is 0.
    """
    is_above = skill > THRESHOLD
    first = is_above.argmin(axis=1)
    row, before = np.arange(len(skill)), (first - 1).clip(min=0)
    upper, lower = skill[row, before], skill[row, first]
    # A curve that does not cross THRESHOLD may cause a division by 0, and its result is not used.
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (upper - THRESHOLD) / (upper - lower)
        crossed = lag[before] * (lag[first] / lag[before]) ** share
    lags: Numbers = np.select([is_above.all(axis=1), first == 0], [longest, 0.0], crossed)
    return lags
