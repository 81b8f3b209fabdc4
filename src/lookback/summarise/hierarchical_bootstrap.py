"""The hierarchical bootstrap: a 95 % interval for a mean over seeds and test sequences.

1. From the S seeds of the data, draw S seeds with replacement.
2. For each drawn seed, draw n of its n test sequences with replacement. Each drawn sequence
   contributes all of its answers.
3. Repeat steps 1 and 2 `RESAMPLES` times and compute the statistic each time. The interval holds
   the middle 95 % of the computed values of the statistic.

The method is described in [davison1997], section 3.8. Seeds are drawn before sequences, because all
answers of a seed come from the same weights. A bootstrap over single sequences ignores the spread
over seeds, so its intervals have a width near zero. With few seeds, a percentile interval is too
short. With five seeds, the 95 % interval holds the true mean in about 9 of 10 cases.

For speed, the code first sums the values of all answers to the same sequence. For each resample,
the code adds up the sums of the sequences, each multiplied by the number of times that the sequence
was drawn.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookback.summarise.seed_intervals import Interval

Numbers = NDArray[np.float64]

RESAMPLES = 2000
LEVELS = (2.5, 97.5)  # percentiles at the ends of the 95 % interval
AT_ONCE = 4_000_000  # maximum number of drawn sequences in memory at a time


def interquartile_mean(values: ArrayLike, axis: int = -1) -> Numbers:
    """The mean of the values that remain after a quarter of them is cut at each end.

    A quarter is rounded down to a whole number of values. The definition is from [agarwal2021],
    section 4.3, and the computation is that of the package rliable by the same authors.
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
    """The value of each statistic, computed from the mean of each seed, with its 95 % interval.

    `values`, `seeds` and `sequences` have one entry per answer. A statistic, such as `mean` or
    `interquartile_mean`, takes an array of means of shape (…, seed). The same arguments always give
    the same intervals. With one seed the bounds are NaN, because sequences say nothing about the
    spread over seeds. The statistic and its bounds are NaN if there are no values or a value is not
    finite.
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
    """The 2.5th and the 97.5th percentile of `draws`."""
    low, high = np.percentile(draws, LEVELS)
    return float(low), float(high)


class Totals(NamedTuple):
    """The sum of the values and the number of answers, for each seed and each group of answers.

    Both arrays have the shape (…, seed, group). A group is a set of answers, such as a bin of lags.
    """

    sums: Numbers
    counts: Numbers


def resampled(
    values: ArrayLike, seeds: ArrayLike, sequences: ArrayLike, groups: ArrayLike
) -> tuple[Totals, Totals]:
    """The totals of the data, and the totals of all resamples of the data.

    The shapes are (seed, group) and (resample, seed, group). Each argument has one entry per
    answer. `groups` holds the number 0, 1, … of each answer's group, such as its bin of lags.
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
    """Yield one table per seed, with one row per sequence and two columns per group of answers.

    The first half of the columns holds the sums of the values, and the second half holds the
    numbers of answers.
    """
    size = int(groups.max()) + 1
    for seed in np.unique(seeds):
        of_seed = seeds == seed
        names, row = np.unique(sequences[of_seed], return_inverse=True)
        entry, length = row * size + groups[of_seed], len(names) * size
        parts = [np.bincount(entry, values[of_seed], length), np.bincount(entry, minlength=length)]
        yield np.concatenate([part.reshape(-1, size) for part in parts], axis=1).astype(float)


def _sequences_drawn(table: Numbers, draws: int, generator: np.random.Generator) -> Numbers:
    """Draw as many sequences as the table has, with replacement, and add up their rows.

    This is repeated `draws` times. The result has one row of sums per repetition.
    """
    count = len(table)
    parts = []
    for start in range(0, draws, size := max(1, AT_ONCE // count)):
        rows = min(size, draws - start)
        picked = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(picked.ravel(), minlength=rows * count).reshape(rows, count)
        parts.append(times @ table)
    return np.concatenate(parts) if parts else np.empty((0, table.shape[1]))
