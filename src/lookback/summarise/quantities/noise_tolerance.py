"""How much noise on its state a network bears (probe `state_noise`)."""

import pandas as pd

from lookback.summarise.quantities.base import NOT_MEASURED, Estimate
from lookback.summarise.quantities.context_needed import NOISE


def noise_tolerance(rows: pd.DataFrame) -> Estimate:
    """The σ at which the skill first falls to half of the skill without noise.

    The skill is averaged over answers and seeds, and interpolated between two σ by a straight line.
    If the skill stays above half, the result is the largest σ and censored. The result is NaN if
    the skill without noise is below `NOISE`, because noise then has nothing to destroy.
    """
    curve = rows.groupby("sigma")["skill"].mean()
    half = curve.iloc[0] / 2
    if 2 * half < NOISE:
        return NOT_MEASURED
    is_below = (curve <= half).to_numpy()
    if not is_below.any():
        return Estimate(float(curve.index[-1]), censored=True)
    first = int(is_below.argmax())
    (left, right), (upper, lower) = (
        curve.index[first - 1 : first + 1],
        curve.iloc[first - 1 : first + 1],
    )
    return Estimate(float(left + (right - left) * (upper - half) / (upper - lower)))
