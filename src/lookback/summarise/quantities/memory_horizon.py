"""From probe `recall_by_lag`: the memory horizon.

1. Each answer has a lag. The answers are sorted into BINS bins, evenly spaced in ln lag. Adjacent
   bins are joined until each bin holds at least ENOUGH answers. (A lag of 0 counts as 1.)
2. The skill of a bin is the mean over its answers, over all seeds. The centre of a bin is the
   geometric mean of its lags.
3. The horizon is the lag at which the skill first falls to the THRESHOLD, on the straight line in
   ln lag between two bin centres. It is 0 if the first bin is below the threshold.
4. If no bin is below the threshold, the horizon is censored at the longest lag measured.

The 95 % interval repeats steps 2 to 4 on the resamples of the hierarchical bootstrap
(hierarchical_bootstrap.py), with the same bins.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookback.summarise.hierarchical_bootstrap import LEVELS, Numbers, percentiles, resampled
from lookback.summarise.quantities.base import NOT_MEASURED, Estimate

THRESHOLD = 0.5  # of the skill: halfway between the trivial baseline and perfect answers
BINS = 24  # between the shortest and the longest lag, before neighbours are joined
ENOUGH = 200  # answers per bin: the standard error of a share of right answers is at most 0.04
DEFINITION = (
    f"the largest lag up to which the skill stays above {THRESHOLD:g}, in bins of at least "
    f"{ENOUGH} answers; «≥» if the skill is above it at all lags measured"
)


class Curve(NamedTuple):
    """Skill by lag: one value per bin, and its resamples (resample, bin)."""

    lag: Numbers
    skill: Numbers
    draws: Numbers
    longest: float  # the longest lag measured
    seeds: int

    def band(self) -> tuple[Numbers, Numbers]:
        """The 95 % interval of each bin; NaN if there is one seed."""
        if self.seeds == 1:
            return np.full_like(self.skill, np.nan), np.full_like(self.skill, np.nan)
        low, high = np.percentile(self.draws, LEVELS, axis=0)
        return low, high


def memory_horizon(rows: pd.DataFrame) -> Estimate:
    """The horizon of one cell in steps, from one row per answer: seed, sequence, lag (≥ 0), skill.

    Bounds are NaN if there is one seed.
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
    """The curve of one cell, from the rows that `memory_horizon` takes; at least one row."""
    lag = rows["lag"].to_numpy(np.float64).clip(min=1)
    group = bins_of(lag)
    totals, resamples = resampled(rows["skill"], rows["seed"], rows["sequence"], group)
    centre = np.exp(np.bincount(group, np.log(lag)) / np.bincount(group))
    skill = totals.sums.sum(axis=0) / totals.counts.sum(axis=0)
    counts = resamples.counts.sum(axis=1)
    # A resample can leave a small bin empty. Its skill is then the one of the original answers.
    draws = np.where(counts > 0, resamples.sums.sum(axis=1) / counts.clip(min=1), skill)
    return Curve(centre, skill, draws, float(rows["lag"].max()), rows["seed"].nunique())


def bins_of(lag: Numbers) -> NDArray[np.int64]:
    """The bin of each answer; bin 0 holds the shortest lags.

    Every bin holds at least ENOUGH answers, unless there is only one bin. Bins are joined from the
    shortest lag on; a remainder that is too small joins the last bin.
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
    """The lag at which each curve (curve, bin) first falls to the threshold.

    `longest` for a curve that stays above the threshold; 0 for a curve that starts below it.
    """
    is_above = skill > THRESHOLD
    first = is_above.argmin(axis=1)
    row, before = np.arange(len(skill)), (first - 1).clip(min=0)
    upper, lower = skill[row, before], skill[row, first]
    with np.errstate(invalid="ignore", divide="ignore"):  # for curves that do not cross
        share = (upper - THRESHOLD) / (upper - lower)
        crossed = lag[before] * (lag[first] / lag[before]) ** share
    lags: Numbers = np.select([is_above.all(axis=1), first == 0], [longest, 0.0], crossed)
    return lags
