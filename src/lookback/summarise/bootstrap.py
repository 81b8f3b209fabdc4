"""How sure a mean over seeds and test sequences is: the hierarchical bootstrap.

1. Draw as many seeds as there are, with replacement.
2. In each drawn seed, draw as many sequences as it has, with replacement; all answers to a
   sequence come with it.
3. The interval holds the middle 95 % of what the statistic makes of 2,000 such draws.

Davison & Hinkley 1997, "Bootstrap methods and their application", section 3.8. The seed is the
outer unit: two sequences of one seed share its weights, and taking each sequence for a run of its
own gives intervals near zero. A percentile interval of few seeds is somewhat too short: of five, it
holds the truth in about 9 of 10 cases.

A draw is made of sums: a sequence's answers are added up once, and a draw is a product of these
sums with how often each sequence was drawn.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookback.summarise.intervals import Interval

Numbers = NDArray[np.float64]

RESAMPLES = 2000
LEVELS = (2.5, 97.5)  # per cent: the ends of the interval
AT_ONCE = 4_000_000  # drawn sequences: bounds the memory


def interquartile_mean(values: ArrayLike, axis: int = -1) -> Numbers:
    """The mean of the middle half: a quarter of the values, rounded down, is cut at each end.

    Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice",
    section 4.3, as their rliable computes it.
    """
    ordered = np.sort(np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1), axis=-1)
    count = ordered.shape[-1]
    found: Numbers = ordered[..., count // 4 : count - count // 4].mean(axis=-1)
    return found


def mean(values: Numbers) -> Numbers:
    """The mean over the last axis."""
    found: Numbers = values.mean(axis=-1)
    return found


def hierarchical(
    values: ArrayLike,
    seeds: ArrayLike,
    sequences: ArrayLike,
    *statistics: Callable[[Numbers], Numbers],
) -> list[Interval]:
    """Each of `statistics` over the seeds' means and its 95 % interval, the same at every call.

    One value an answer, with its seed and its sequence. A statistic takes the means (…, seed):
    `mean`, `interquartile_mean`. Bounds are NaN where there is one seed: the sequences say nothing
    of the spread over seeds. All is NaN where a value is not finite, or there is none.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        return [Interval(math.nan, math.nan, math.nan)] * len(statistics)
    there, drawn = resampled(sample, seeds, sequences, np.zeros(sample.size, dtype=np.int64))
    means, draws = there.sums[:, 0] / there.counts[:, 0], drawn.sums[..., 0] / drawn.counts[..., 0]
    found = []
    for statistic in statistics:
        bounds = percentiles(statistic(draws)) if len(means) > 1 else (math.nan, math.nan)
        found.append(Interval(float(statistic(means)), *bounds))
    return found


def percentiles(draws: Numbers) -> tuple[float, float]:
    """The ends of the middle 95 % of the draws."""
    low, high = np.percentile(draws, LEVELS)
    return float(low), float(high)


class Totals(NamedTuple):
    """Sums of values and numbers of answers, each (…, seed, group)."""

    sums: Numbers
    counts: Numbers


def resampled(
    values: ArrayLike, seeds: ArrayLike, sequences: ArrayLike, groups: ArrayLike
) -> tuple[Totals, Totals]:
    """What is there (seed, group), and its resamples (resample, seed, group).

    One value an answer, with its seed, sequence and group (0, 1, …: a bin of lags, say).
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
        own = seeds == seed
        names, row = np.unique(sequences[own], return_inverse=True)
        cell, length = row * size + groups[own], len(names) * size
        parts = [np.bincount(cell, values[own], length), np.bincount(cell, minlength=length)]
        yield np.concatenate([part.reshape(-1, size) for part in parts], axis=1).astype(float)


def _sequences_drawn(table: Numbers, draws: int, generator: np.random.Generator) -> Numbers:
    """Totals (draw, 2 × group) of as many sequences as the table has, with replacement."""
    count = len(table)
    parts = []
    for start in range(0, draws, size := max(1, AT_ONCE // count)):
        rows = min(size, draws - start)
        picked = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(picked.ravel(), minlength=rows * count).reshape(rows, count)
        parts.append(times @ table)
    return np.concatenate(parts) if parts else np.empty((0, table.shape[1]))
