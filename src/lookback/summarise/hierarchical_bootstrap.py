"""The hierarchical bootstrap: a 95 % interval for a mean over seeds and test sequences.

1. Draw as many seeds as there are, with replacement.
2. For each drawn seed, draw as many sequences as the seed has, with replacement. All answers to a
   drawn sequence are taken.
3. The interval holds the middle 95 % of the statistic over RESAMPLES such draws.

[davison1997], section 3.8. The seed is the outer unit, because all sequences of a seed are answered
by the same weights; a bootstrap over single sequences gives intervals near zero. A percentile
interval of few seeds is too short: with five seeds, the interval holds the truth in about 9 of 10
cases.

The code adds up the answers of each sequence once. A resample is then the product of these sums
with the number of times that each sequence was drawn.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookback.summarise.seed_intervals import Interval

Numbers = NDArray[np.float64]

RESAMPLES = 2000
LEVELS = (2.5, 97.5)  # per cent: the ends of the interval
AT_ONCE = 4_000_000  # drawn sequences held in memory at a time


def interquartile_mean(values: ArrayLike, axis: int = -1) -> Numbers:
    """The mean of the middle half: a quarter of the values, rounded down, is cut at each end.

    [agarwal2021], section 4.3, computed as in their package rliable.
    """
    ordered = np.sort(np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1), axis=-1)
    count = ordered.shape[-1]
    means: Numbers = ordered[..., count // 4 : count - count // 4].mean(axis=-1)
    return means


def mean(values: Numbers) -> Numbers:
    """The mean over the last axis."""
    means: Numbers = values.mean(axis=-1)
    return means


def hierarchical(
    values: ArrayLike,
    seeds: ArrayLike,
    sequences: ArrayLike,
    *statistics: Callable[[Numbers], Numbers],
) -> list[Interval]:
    """Each of `statistics` over the means of the seeds, with its 95 % interval.

    The arrays have one entry per answer. A statistic takes means of shape (…, seed): `mean`,
    `interquartile_mean`. The result is the same at every call. Bounds are NaN if there is one seed,
    since the sequences say nothing about the spread over seeds. All is NaN if there is no value or
    a value that is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        return [Interval(math.nan, math.nan, math.nan)] * len(statistics)
    one_group = np.zeros(sample.size, dtype=np.int64)
    totals, resamples = resampled(sample, seeds, sequences, one_group)
    means = totals.sums[:, 0] / totals.counts[:, 0]
    draws = resamples.sums[..., 0] / resamples.counts[..., 0]
    intervals = []
    for statistic in statistics:
        bounds = percentiles(statistic(draws)) if len(means) > 1 else (math.nan, math.nan)
        intervals.append(Interval(float(statistic(means)), *bounds))
    return intervals


def percentiles(draws: Numbers) -> tuple[float, float]:
    """The ends of the middle 95 % of the draws."""
    low, high = np.percentile(draws, LEVELS)
    return float(low), float(high)


class Totals(NamedTuple):
    """Sums of values and numbers of answers, each of shape (…, seed, group)."""

    sums: Numbers
    counts: Numbers


def resampled(
    values: ArrayLike, seeds: ArrayLike, sequences: ArrayLike, groups: ArrayLike
) -> tuple[Totals, Totals]:
    """The totals of the data (seed, group), and of their resamples (resample, seed, group).

    The arrays have one entry per answer. Groups are numbered 0, 1, …; a group is a bin of lags.
    """
    tables = list(_by_sequence(*map(np.asarray, (values, seeds, sequences, groups))))
    generator = np.random.default_rng(0)
    slots = generator.integers(len(tables), size=(RESAMPLES, len(tables)))
    drawn = np.empty((RESAMPLES, len(tables), tables[0].shape[1]))
    for number, table in enumerate(tables):
        place = np.nonzero(slots == number)
        drawn[place] = _sequences_drawn(table, len(place[0]), generator)
    return _totals(np.stack([table.sum(axis=0) for table in tables])), _totals(drawn)


def _totals(table: Numbers) -> Totals:
    sums, counts = np.split(table, 2, axis=-1)
    return Totals(sums, counts)


def _by_sequence(
    values: Numbers,
    seeds: NDArray[np.int64],
    sequences: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> Iterator[Numbers]:
    """A table (sequence, 2 × group) for each seed: the sums, then the numbers of answers."""
    size = int(groups.max()) + 1
    for seed in np.unique(seeds):
        of_seed = seeds == seed
        names, row = np.unique(sequences[of_seed], return_inverse=True)
        entry, length = row * size + groups[of_seed], len(names) * size
        parts = [np.bincount(entry, values[of_seed], length), np.bincount(entry, minlength=length)]
        yield np.concatenate([part.reshape(-1, size) for part in parts], axis=1).astype(float)


def _sequences_drawn(table: Numbers, draws: int, generator: np.random.Generator) -> Numbers:
    """Totals (draw, 2 × group) of as many sequences as the table has, drawn with replacement."""
    count = len(table)
    parts = []
    for start in range(0, draws, size := max(1, AT_ONCE // count)):
        rows = min(size, draws - start)
        picked = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(picked.ravel(), minlength=rows * count).reshape(rows, count)
        parts.append(times @ table)
    return np.concatenate(parts) if parts else np.empty((0, table.shape[1]))
