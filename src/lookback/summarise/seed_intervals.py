"""95 % intervals of a mean over seeds, and the level and reach of all 95 % intervals.

With one value per seed, the interval is that of Student's t with one degree of freedom fewer than
there are seeds. Of three seeds, the interval reaches 4.3 standard errors to each side. A percentile
bootstrap of three seeds is only their range and holds the true mean in about 3 of 4 cases.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Better = Literal["higher", "lower"]
Numbers = NDArray[np.float64]

ALPHA = 0.05  # an interval of 1 − ALPHA; also the largest probability of naming a false winner


class Interval(NamedTuple):
    """A mean and the bounds of its 95 % interval, which are NaN if they are unknown."""

    mean: float
    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def interval(values: Sequence[float]) -> Interval:
    """The mean of one value per seed, with its 95 % interval.

    The bounds are NaN for one seed. The mean and the bounds are NaN if there are no values or a
    value is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        return UNKNOWN
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, math.nan, math.nan)
    reach = quantile(sample.size - 1) * float(sample.std(ddof=1)) / math.sqrt(sample.size)
    return Interval(mean, mean - reach, mean + reach)


def quantile(freedom: float, comparisons: int = 1) -> float:
    """How many standard errors an interval reaches to each side of its centre, by Student's t.

    `freedom` is the number of degrees of freedom. If the interval is one of `comparisons` that are
    made together, its level is raised by Bonferroni's correction to 1 − 0.05 / `comparisons`.
    """
    return float(stats.t.ppf(1 - ALPHA / (2 * comparisons), freedom))
