"""From probe `gate_timescales`: the time constants of a network's units."""

import numpy as np
import pandas as pd

from lookback.summarise.quantities.base import NOT_MEASURED, Estimate

SLOW = 0.9  # the quantile over units that stands for the slow units


def timescale(rows: pd.DataFrame, *, quantile: float = SLOW) -> Estimate:
    """A quantile over units of the time constants in steps, geometric mean over seeds.

    The quantile is taken in each seed, because a seed is the unit of replication: over the units of
    all seeds together, the slow units of one seed would hide those of all others. The quantile is
    the time constant of one unit, because ∞ has no value halfway.
    """
    known = rows[rows["timescale"].notna()]
    if known.empty:
        return NOT_MEASURED
    by_seed = known.groupby("seed")["timescale"].quantile(quantile, interpolation="lower")
    return Estimate(float(np.exp(np.log(by_seed).mean())))
