"""From probe `memory_capacity`: how many past inputs a linear read-out of the state recovers."""

from typing import Literal

import pandas as pd

from lookback.summarise.quantities.base import Estimate

LINEAR = 1  # the degree of the Legendre polynomial that stands for linear memory


def linear_capacity(
    rows: pd.DataFrame, *, stage: Literal["initial", "trained"] = "trained"
) -> Estimate:
    """Σ over delays of the linear capacity, mean over seeds [jaeger2001].

    The capacity at one delay is an estimate without bias, so it may be below zero. Such values are
    added, too: leaving them out would add a bias that grows with the number of delays.
    """
    linear = rows[(rows["stage"] == stage) & (rows["degree"] == LINEAR)]
    return Estimate(float(linear.groupby("seed")["capacity"].sum().mean()))
