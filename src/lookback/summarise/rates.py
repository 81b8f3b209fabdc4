"""How fast a logarithm falls with distance: its least-squares slope, in nats per step."""

import numpy as np
from numpy.typing import ArrayLike


def rate(distances: ArrayLike, log_norms: ArrayLike) -> float:
    """The slope of `log_norms` over `distances`; negative where it falls."""
    return float(np.polyfit(np.asarray(distances), np.asarray(log_norms), 1)[0])
