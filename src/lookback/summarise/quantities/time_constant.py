"""The time constants of a network's units, computed from probe `gate_timescales`."""

import numpy as np
import pandas as pd

from lookback.summarise.quantities.base import NOT_MEASURED, Estimate

SLOW = 0.9  # this quantile of the time constants of all units stands for the slow units


def timescale(rows: pd.DataFrame, *, quantile: float = SLOW) -> Estimate:
    """A quantile of the units' time constants in steps, as the geometric mean over seeds.

    The quantile is computed for each seed separately, because only different seeds are independent
    repetitions. A quantile over the units of all seeds together could depend on the slow units of
    one seed alone. The quantile is not interpolated between two units, because a time constant can
    be infinite.
    """
    known = rows[rows["timescale"].notna()]
    if known.empty:
        return NOT_MEASURED
    by_seed = known.groupby("seed")["timescale"].quantile(quantile, interpolation="lower")
    return Estimate(float(np.exp(np.log(by_seed).mean())))
