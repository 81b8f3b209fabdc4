"""95 % intervals of a mean over seeds and test sequences, and paired comparisons of models.

All seeds of all models answer the same test sequences. Seeds and sequences are therefore crossed:
a hard sequence is hard for every seed. A table (seed, sequence) of answers y has three sources of
variance, estimated by the mean squares of a two-way analysis [searle1992], section 4.3.

var(mean) = A + B − E       A: variance of the seeds' means, divided by the number of seeds
                            B: variance of the sequences' means, divided by their number
                            E: variance that is left, divided by the number of answers

If the estimate is smaller than E, neither seeds nor sequences differ, and E alone counts. The
number of degrees of freedom is that of Satterthwaite's approximation [satterthwaite1946]. With few
unequal seeds it is near the number of seeds minus one, and the interval of Student's t is wide. An
accuracy has its interval on the scale
ln (m / (1 − m)), and a mean squared error on the scale ln m, so that no bound leaves the possible
values.

The difference of two models has the same sources: the seeds of each model on their own, and the
sequences together. Difficult sequences cancel. The seeds of two models count as independent. If
they share training data, the interval is somewhat too wide.

Explainers of one model share its seeds, too. Their difference is taken answer by answer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from lookback.summarise.seed_intervals import (
    ALPHA,
    UNKNOWN,
    Better,
    Interval,
    Numbers,
    quantile,
)


class Spread(NamedTuple):
    """The standard error of a mean and its number of degrees of freedom."""

    error: float
    freedom: float


class Comparison(NamedTuple):
    """The model with the best mean, and the models whose mean is not clearly worse."""

    leader: str
    close: list[str]


def answer_table(values: ArrayLike, seeds: ArrayLike, sequences: ArrayLike) -> Numbers:
    """A table (seed, sequence) whose rows have the mean of each seed's answers.

    The arguments have one entry per answer. A sequence with more answers than others has more
    weight: its entry is m + (sum of its answers − n m) / n̄, where m is the mean of the seed's
    answers, n the number of answers to the sequence, and n̄ the mean number of answers to a
    sequence. With one answer to each sequence, the entry is the answer.
    """
    value = np.asarray(values, dtype=np.float64)
    _, row = np.unique(np.asarray(seeds), return_inverse=True)
    _, column = np.unique(np.asarray(sequences), return_inverse=True)
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    entry = row * shape[1] + column
    size = shape[0] * shape[1]
    sums = np.bincount(entry, value, size).reshape(shape)
    counts = np.bincount(entry, minlength=size).reshape(shape)
    total = counts.sum(axis=1, keepdims=True)
    means = sums.sum(axis=1, keepdims=True) / total
    table: Numbers = means + (sums - means * counts) / (total / shape[1])
    return table


def spread(tables: Sequence[Numbers], cut: int = 0) -> Spread:
    """The spread of the sum of the means of some tables (seed, sequence) of the same sequences.

    For the difference of two models, the second table is negated. `cut` seeds are left out of the
    mean at each end [yuen1974]. Each table needs at least two seeds more than are left out, and two
    sequences.
    """
    of_seeds, noise = [], []
    for table in tables:
        seeds, sequences = table.shape
        means, columns = table.mean(axis=1), table.mean(axis=0)
        ordered = np.sort(means)
        kept = seeds - 2 * cut
        winsorised = means.clip(ordered[cut], ordered[seeds - cut - 1])
        deviations = ((winsorised - winsorised.mean()) ** 2).sum()
        of_seeds.append((deviations / (kept * (kept - 1)), kept - 1))
        left = table - means[:, None] - columns + table.mean()
        freedom = (seeds - 1) * (sequences - 1)
        noise.append(((left**2).sum() / (freedom * table.size), freedom))
    together = np.sum([table.mean(axis=0) for table in tables], axis=0)
    of_sequences = (together.var(ddof=1) / len(together), len(together) - 1)
    seed_part, noise_part = (sum(part for part, _ in parts) for parts in (of_seeds, noise))
    variance = seed_part + of_sequences[0] - noise_part
    parts = [*of_seeds, *noise, of_sequences]
    if variance <= noise_part:
        variance, parts = noise_part, noise
    scatter = sum(part**2 / freedom for part, freedom in parts)
    return Spread(math.sqrt(variance), max(variance**2 / scatter, 1.0) if scatter else math.inf)


def crossed_interval(table: Numbers, metric: str, cut: int = 0, comparisons: int = 1) -> Interval:
    """The mean of a table (seed, sequence) with its 95 % interval.

    `metric` is "accuracy", "mse", or another name for values without bounds. If every answer is
    right or every answer is wrong, the bounds are those of Clopper and Pearson for as many answers
    as there are sequences. `cut` is as in `spread`, and `comparisons` as
    in `quantile`. The bounds are NaN for fewer than two seeds or
    two sequences. The mean and the bounds are NaN if there are no values or one is not finite.
    """
    if table.size == 0 or not np.isfinite(table).all():
        return UNKNOWN
    means = np.sort(table.mean(axis=1))
    mean = float(means[cut : len(means) - cut].mean())
    if min(len(means) - 2 * cut, table.shape[1]) < 2:
        return Interval(mean, math.nan, math.nan)
    error, freedom = spread([table], cut)
    reach = quantile(freedom, comparisons) * error
    if metric == "accuracy":
        if not 0 < mean < 1:
            tail = (ALPHA / 2) ** (1 / table.shape[1])
            return Interval(mean, tail, 1.0) if mean >= 1 else Interval(mean, 0.0, 1 - tail)
        centre, reach = special.logit(mean), reach / (mean * (1 - mean))
        low, high = special.expit([centre - reach, centre + reach])
        return Interval(mean, float(low), float(high))
    if metric == "mse" and mean > 0:
        factor = math.exp(min(reach / mean, 700.0))
        return Interval(mean, mean / factor, mean * factor)
    return Interval(mean, mean - reach, mean + reach)


def compare(tables: Mapping[str, Numbers], metric: str, better: Better) -> Comparison:
    """Compare the model with the best mean with each other model.

    `tables` holds a table (seed, sequence) for each model, all of the same sequences. A model is
    close to the leader if the 95 % interval of their difference contains zero. The level is
    corrected for the number of rivals, so that of equal models the leader has no close rival in at
    most 5 % of all studies. Every rival is close if the leader or the rival has fewer than two
    seeds, or if they were not asked the same sequences. The difference of two mean squared errors
    is taken on the scale ln m.
    """
    means = {name: float(table.mean()) for name, table in tables.items()}
    best = max if better == "higher" else min
    leader = best(means, key=lambda name: means[name])
    rivals = [name for name in tables if name != leader]
    close = [
        name
        for name in rivals
        if not _differ(tables[leader], tables[name], metric, comparisons=len(rivals))
    ]
    return Comparison(leader, close)


def _differ(one: Numbers, other: Numbers, metric: str, comparisons: int) -> bool:
    if min(one.shape[0], other.shape[0]) < 2 or one.shape[1] != other.shape[1] < 2:
        return False
    difference = float(one.mean() - other.mean())
    if metric == "mse" and min(one.mean(), other.mean()) > 0:
        difference = math.log(one.mean() / other.mean())
        one, other = one / one.mean(), other / other.mean()
    error, freedom = spread([one, -other])
    return abs(difference) > quantile(freedom, comparisons) * error


def interval_of(values: pd.Series, comparisons: int = 1) -> Interval:
    """The mean of values without bounds, with its 95 % interval.

    `values` has the index levels seed and sequence. NaN is left out. `comparisons` is as in
    `quantile`.
    """
    known = values.dropna()
    if known.empty:
        return UNKNOWN
    seeds, sequences = (known.index.get_level_values(name) for name in ("seed", "sequence"))
    return crossed_interval(answer_table(known, seeds, sequences), "", comparisons=comparisons)


def paired_winner(answers: pd.DataFrame) -> str | None:
    """The column with the highest mean, if its lead on each other column is certain; else None.

    `answers` has the index levels seed and sequence, and one column for each method. The lead is
    the mean of the difference of two columns, over the rows that have both. The intervals of all
    leads are corrected for the number of rivals, so that equal methods have a winner in at most 5 %
    of all studies. There is no winner if there is only one column, or only one seed or sequence.
    """
    means = answers.groupby("seed").mean().mean().dropna()
    if len(means) < 2:
        return None
    leader = str(means.idxmax())
    rivals = [name for name in answers if name != leader]
    leads = [interval_of(answers[leader] - answers[name], len(rivals)).low for name in rivals]
    return leader if all(low > 0 for low in leads) else None
