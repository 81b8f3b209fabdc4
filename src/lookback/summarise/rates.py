"""How fast a norm falls with distance, in one number: ln ‖·‖ ≈ a + r d, r in nats a step.

By least squares over distances from a quarter of the farthest on: near the answer a norm need not
fall exponentially, since many directions with rates of their own add up, and the slowest is left.
It is the backward reading of the first Lyapunov exponent, ln σ_1(∂s_T/∂s_{T-d}) / d for large d.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

START = 0.25  # of the farthest distance: where the fit begins


def rate(distances: ArrayLike, log_norms: ArrayLike) -> float:
    """The slope of natural logarithms over distances in steps; negative where the norm falls.

    Distances without a finite logarithm are left out; NaN where fewer than two are left.
    Raises ValueError where there are not as many logarithms as distances.
    """
    d, logs = np.asarray(distances, dtype=float), np.asarray(log_norms, dtype=float)
    if d.shape != logs.shape:
        raise ValueError(f"{d.size} distances have {logs.size} logarithms")
    d, logs = d[np.isfinite(logs)], logs[np.isfinite(logs)]
    far = d >= START * d.max(initial=0.0)
    fitted = far if far.sum() > 1 else np.full_like(far, True)
    return slope(d[fitted], logs[fitted])


def slope(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float:
    """Of the least-squares line; NaN where all points have one place."""
    x = x - x.mean() if len(x) else x
    return float(x @ y / (x @ x)) if (x != 0).any() else math.nan


def half_distance(rate: float) -> float:
    """The steps in which a norm of this rate halves: ∞ where it does not fall, NaN of NaN."""
    if math.isnan(rate):
        return math.nan
    return math.log(2) / -rate if rate < 0 else math.inf


def agreement(rate: float, exponent: float) -> float:
    """|r - λ_1| / |λ_1|: how far backward and forward are apart; NaN where either is none.

    Of an exponent of 0 it is ∞, unless the rate is 0 too.
    """
    apart = abs(rate - exponent)
    if apart == 0:
        return 0.0
    return apart / abs(exponent) if exponent else apart * math.inf
