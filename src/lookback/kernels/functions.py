"""Fast tanh and logistic function, which need a few multiplications and one division.

The function tanh is approximated by a ratio of two polynomials. The coefficients of the polynomials
come from the float32 tanh of the library Eigen (MathFunctionsImpl.h, `ptanh_float`). The absolute
error of both functions is below 4e-7. For a NaN input, both functions return NaN. All comparisons
with NaN are false, so the clamp of the input to ±LARGEST does not change NaN.
"""

from typing import Any

import numpy as np

from lookback.kernels.compiled import inlined
from lookback.kernels.vectors import clamp

LARGEST = np.float32(7.90531110763549805)  # if |x| is larger than LARGEST, tanh(x) is ±1
P0 = np.float32(4.89352455891786e-03)
P1 = np.float32(6.37261928875436e-04)
P2 = np.float32(1.48572235717979e-05)
P3 = np.float32(5.12229709037114e-08)
P4 = np.float32(-8.60467152213735e-11)
P5 = np.float32(2.00018790482477e-13)
P6 = np.float32(-2.76076847742355e-16)
Q0 = np.float32(4.89352518554385e-03)
Q1 = np.float32(2.26843463243900e-03)
Q2 = np.float32(1.18534705686654e-04)
Q3 = np.float32(1.19825839466702e-06)
HALF, ONE = np.float32(0.5), np.float32(1.0)


@inlined
def tanh(x: Any) -> Any:
    """The hyperbolic tangent of the elements of the vector x."""
    x = clamp(x, LARGEST)
    s = x * x
    p = (((((P6 * s + P5) * s + P4) * s + P3) * s + P2) * s + P1) * s + P0
    q = ((Q3 * s + Q2) * s + Q1) * s + Q0
    return x * p / q


@inlined
def logistic(x: Any) -> Any:
    """The logistic function σ(x) = 1 / (1 + e⁻ˣ) = (1 + tanh(x / 2)) / 2 of the elements of x."""
    return HALF + HALF * tanh(HALF * x)
