"""The rate at which a small change of the whole state fades or grows (probe `lyapunov`)."""

from typing import Literal

import pandas as pd

from lookback.summarise.quantities.base import Estimate


def first_exponent(
    rows: pd.DataFrame, *, stage: Literal["initial", "trained"] = "trained"
) -> Estimate:
    """The largest exponent in nats per step, averaged over seeds [benettin1980]."""
    first = rows[(rows["stage"] == stage) & (rows["index"] == 0)]
    return Estimate(float(first["exponent"].mean()))
