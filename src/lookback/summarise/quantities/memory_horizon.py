"""The memory horizon of a model on a task, computed from probe `recall_by_lag`.

1. For each seed, a falling logistic curve in ln lag is fitted to the skill of all answers
   (logistic_fall.py). The horizon of the seed is the lag at which the curve falls to the task's
   threshold, which is one half unless the task says otherwise. A lag of 0 counts as 1.
2. If the curve of a seed is at or below the threshold at the shortest lag measured, the seed is
   dead: its horizon is below that lag. If the curve is above the threshold at the longest lag
   measured, the horizon of the seed is at least that lag.
3. The horizon of the model is the median over seeds, and the lower of the two middle seeds if their
   number is even. It is censored like the seed in the middle.

If every seed has its horizon within the lags measured, the 95 % interval is that of the mean of ln
horizon over seeds and test sequences (crossed_intervals.py), and is cut at the shortest and the
longest lag. Otherwise its bounds are the horizons of two seeds, with as many seeds outside as leave
it 95 % by the binomial distribution. Of fewer than six seeds, these bounds are the range of the
seeds, which holds the true median in 75 % of studies with three seeds and in 94 % with five.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lookback.summarise.crossed_intervals import answer_table, crossed_interval
from lookback.summarise.logistic_fall import crossing
from lookback.summarise.quantities.base import NOT_MEASURED, Estimate
from lookback.summarise.seed_intervals import ALPHA, Numbers

THRESHOLD = 0.5  # the skill halfway between the trivial baseline (0) and perfect answers (1)
DEFINITION = (
    "the lag at which a falling logistic curve through the skill of one seed reaches "
    f"{THRESHOLD:g}, or the threshold that the task sets; median over seeds; «<» if the skill is "
    "below it at the shortest lag measured, «≥» if it is above it at the longest"
)


class Horizons(NamedTuple):
    """The horizon of each seed in ln lag, −∞ below the shortest lag and ∞ beyond the longest.

    `table` (seed, sequence) has the horizons as the means of its rows. Its spread along a row is
    what the sequences of the test split contribute.
    """

    places: Numbers
    table: Numbers
    shortest: float  # the shortest lag measured, in steps
    longest: float

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "Horizons":
        """The horizons of the seeds of one model on one task.

        `rows` has one row per answer, with the columns seed, sequence, lag (≥ 0) and skill, and may
        have the column threshold.
        """
        places, parts = [], []
        threshold = threshold_of(rows)
        for _, answers in rows.groupby("seed"):
            lag = answers["lag"].to_numpy(np.float64).clip(min=1)
            # The threshold becomes 0.5, and 1 stays 1: a curve falls to a floor twice as far below.
            skill = 1 - (1 - answers["skill"].to_numpy(np.float64)) * 0.5 / (1 - threshold)
            place, influence = crossing(lag, skill)
            places.append(place)
            parts.append(answers[["seed", "sequence"]].assign(influence=len(answers) * influence))
        moves = pd.concat(parts)
        table = answer_table(moves["influence"], moves["seed"], moves["sequence"])
        ordered = np.array(places)
        shift = np.where(np.isfinite(ordered), ordered, 0.0)[:, None]
        table = table - table.mean(axis=1, keepdims=True) + shift
        return cls(ordered, table, float(rows["lag"].min()), float(rows["lag"].max()))

    @property
    def dead(self) -> int:
        """The number of seeds whose horizon is below the shortest lag."""
        return int((self.places == -math.inf).sum())

    @property
    def middle(self) -> float:
        """The lower median over seeds, in ln lag."""
        return float(np.sort(self.places)[(len(self.places) - 1) // 2])

    def bounds(self) -> tuple[float, float]:
        """The 95 % interval in ln lag, which is NaN for one seed."""
        count = len(self.places)
        if count == 1:
            return math.nan, math.nan
        if np.isfinite(self.places).all():
            _, low, high = crossed_interval(self.table, "ln lag")
            return min(low, self.middle), max(high, self.middle)
        outside = max(int(stats.binom.ppf(ALPHA / 2, count, 0.5)) - 1, 0)
        ordered = np.sort(self.places)
        return float(ordered[outside]), float(ordered[count - 1 - outside])

    def steps(self, place: float) -> float:
        """A place in ln lag as a number of steps, cut at the shortest and the longest lag."""
        if math.isinf(place):
            return self.longest if place > 0 else self.shortest
        return float(np.clip(np.exp(min(place, 700.0)), self.shortest, self.longest))


def threshold_of(rows: pd.DataFrame) -> float:
    """The skill that counts as remembered: the column threshold of `rows`, or else THRESHOLD."""
    return float(rows["threshold"].iloc[0]) if "threshold" in rows else THRESHOLD


def memory_horizon(rows: pd.DataFrame) -> Estimate:
    """The memory horizon of one model on one task, in steps.

    `rows` is as in `Horizons.of`. A horizon below the shortest lag has the shortest lag as its
    value, and a horizon beyond the longest lag has the longest. The bounds are NaN if there is one
    seed.
    """
    if rows.empty:
        return NOT_MEASURED
    horizons = Horizons.of(rows)
    value, low, high = map(horizons.steps, (horizons.middle, *horizons.bounds()))
    return Estimate(
        value,
        low,
        high,
        censored=horizons.middle == math.inf,
        below=horizons.middle == -math.inf,
    )


def dead_seeds(rows: pd.DataFrame) -> Estimate:
    """The number of seeds whose skill is at or below the threshold at the shortest lag."""
    return NOT_MEASURED if rows.empty else Estimate(float(Horizons.of(rows).dead))


def horizon_spread(rows: pd.DataFrame) -> Estimate:
    """The longest horizon of a seed divided by the shortest, among the seeds that are not dead.

    A horizon beyond the longest lag counts as the longest lag, and the spread is then censored. The
    spread is NaN if fewer than two seeds are left.
    """
    if rows.empty:
        return NOT_MEASURED
    horizons = Horizons.of(rows)
    alive = horizons.places[horizons.places > -math.inf]
    if len(alive) < 2:
        return NOT_MEASURED
    least, most = horizons.steps(alive.min()), horizons.steps(alive.max())
    return Estimate(most / least, censored=bool(alive.min() < alive.max() == math.inf))
