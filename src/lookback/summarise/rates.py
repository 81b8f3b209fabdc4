"""Compute the rate r, in nats per step, of a norm that changes with distance d as ln ‖·‖ ≈ a + r d.

The least-squares fit uses only distances that are at least a quarter of the largest distance. Near
the answer a norm need not fall exponentially, because many directions with different rates add up.
Far from the answer, only the slowest direction is left. For the Jacobian, ln σ_1(∂s_T/∂s_{T-d}) / d
for large d is the first Lyapunov exponent, measured backwards in time.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

START = 0.25  # the fit begins at this share of the farthest distance
FEWEST_STEPS = 10  # a fit over fewer steps has no rate, because its tail has not begun


def rate(distances: ArrayLike, log_norms: ArrayLike) -> float:
    """The slope of the natural logarithms `log_norms` over distances in steps.

    The slope is negative if the norm falls with distance. Distances without a finite logarithm are
    left out. The slope is NaN if the distances that are left span fewer than FEWEST_STEPS steps.
    Raises ValueError if `distances` and `log_norms` differ in shape.
    """
    d, logs = np.asarray(distances, dtype=float), np.asarray(log_norms, dtype=float)
    if d.shape != logs.shape:
        raise ValueError(f"{d.size} distances have {logs.size} logarithms")
    d, logs = d[np.isfinite(logs)], logs[np.isfinite(logs)]
    if len(d) < 2 or np.ptp(d) < FEWEST_STEPS:
        return math.nan
    far = d >= START * d.max()
    fitted = far if far.sum() > 1 else np.full_like(far, True)
    return slope(d[fitted], logs[fitted])


def slope(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float:
    """The slope of the least-squares line through the points (x, y), or NaN if all x are equal."""
    x = x - x.mean() if len(x) else x
    return float(x @ y / (x @ x)) if (x != 0).any() else math.nan


def half_distance(rate: float) -> float:
    """The number of steps in which a norm with this rate halves, or ∞ if the norm does not fall."""
    if math.isnan(rate):
        return math.nan
    return math.log(2) / -rate if rate < 0 else math.inf
