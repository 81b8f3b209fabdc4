"""The rate at which a small change of the whole state fades or grows (probe `lyapunov`)."""

import pandas as pd

from lookback.summarise.quantities.base import Estimate


def first_exponent(rows: pd.DataFrame) -> Estimate:
    """The largest exponent after training in nats per step, averaged over seeds [benettin1980]."""
    first = rows[(rows["stage"] == "trained") & (rows["index"] == 0)]
    return Estimate(float(first["exponent"].mean()))
