"""How many past inputs a linear read-out of the state recovers (probe `memory_capacity`)."""

from typing import Literal

import pandas as pd

from lookback.summarise.quantities.base import Estimate

LINEAR = 1  # the degree of the Legendre polynomial that measures linear memory


def linear_capacity(
    rows: pd.DataFrame, *, stage: Literal["initial", "trained"] = "trained"
) -> Estimate:
    """The sum of the linear capacities at all delays, averaged over seeds [jaeger2001].

    The estimate of the capacity at one delay has no bias, so it may be negative. Negative estimates
    are added, too. Leaving out the negative estimates would add a bias that grows with the number
    of delays.
    """
    linear = rows[(rows["stage"] == stage) & (rows["degree"] == LINEAR)]
    return Estimate(float(linear.groupby("seed")["capacity"].sum().mean()))
