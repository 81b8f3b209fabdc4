"""How many past inputs a linear read-out of the state recovers (probe `memory_capacity`)."""

from typing import Literal

import pandas as pd

from lookback.summarise.quantities.base import Estimate

OWN_SCALE = 1.0  # the scale of the task's own inputs, in the column scale
LINEAR = 1  # the degree of the Legendre polynomial that measures linear memory


def linear_capacity(
    rows: pd.DataFrame, *, stage: Literal["initial", "trained"] = "trained"
) -> Estimate:
    """The sum of the linear capacities at all delays, averaged over seeds [jaeger2001].

    The random input has the scale of the task's own inputs.

    The estimate of the capacity at one delay has no bias, so it may be negative. Negative estimates
    are added, too. Leaving out the negative estimates would add a bias that grows with the number
    of delays.
    """
    return _summed(rows[(rows["stage"] == stage) & (rows["degree"] == LINEAR)])


def nonlinear_capacity(rows: pd.DataFrame, *, stage: Literal["initial", "trained"]) -> Estimate:
    """The sum of the capacities of all higher degrees at all delays, averaged over seeds."""
    return _summed(rows[(rows["stage"] == stage) & (rows["degree"] > LINEAR)])


def state_size(rows: pd.DataFrame) -> Estimate:
    """The number of units of the state, which is an upper bound of the summed capacity."""
    return Estimate(float(rows["bound"].max()))


def _summed(rows: pd.DataFrame) -> Estimate:
    """The sum at the task's own scale of the input, averaged over seeds."""
    own = rows[rows["scale"] == OWN_SCALE]
    return Estimate(float(own.groupby("seed")["capacity"].sum().mean()))
