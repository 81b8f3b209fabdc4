"""The rate at which a norm falls with distance: the slope r of ln ‖·‖ ≈ a + r d, in nats per step.

The slope is fitted by least squares to the distances from a quarter of the farthest distance on.
Near the answer a norm need not fall exponentially: many directions with different rates add up, and
only the slowest one is left far away. For the Jacobian, ln σ_1(∂s_T/∂s_{T-d}) / d for large d is
the first Lyapunov exponent, measured backwards in time.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

START = 0.25  # the share of the farthest distance at which the fit begins


def rate(distances: ArrayLike, log_norms: ArrayLike) -> float:
    """The slope of natural logarithms over distances in steps; negative if the norm falls.

    Distances without a finite logarithm are left out. NaN if fewer than two distances are left.
    Raises ValueError if there are not as many logarithms as distances.
    """
    d, logs = np.asarray(distances, dtype=float), np.asarray(log_norms, dtype=float)
    if d.shape != logs.shape:
        raise ValueError(f"{d.size} distances have {logs.size} logarithms")
    d, logs = d[np.isfinite(logs)], logs[np.isfinite(logs)]
    far = d >= START * d.max(initial=0.0)
    fitted = far if far.sum() > 1 else np.full_like(far, True)
    return slope(d[fitted], logs[fitted])


def slope(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float:
    """The slope of the least-squares line; NaN if all x are equal."""
    x = x - x.mean() if len(x) else x
    return float(x @ y / (x @ x)) if (x != 0).any() else math.nan


def half_distance(rate: float) -> float:
    """The steps in which a norm with this rate halves; ∞ if the norm does not fall."""
    if math.isnan(rate):
        return math.nan
    return math.log(2) / -rate if rate < 0 else math.inf


def agreement(rate: float, exponent: float) -> float:
    """|r - λ_1| / |λ_1|: the relative difference of the backward rate and the exponent.

    NaN if one of them is NaN. For an exponent of 0 the difference is ∞, or 0 if the rate is 0, too.
    """
    difference = abs(rate - exponent)
    if difference == 0:
        return 0.0
    return difference / abs(exponent) if exponent else difference * math.inf
