"""Conversion of a batch's tensors to float64, the precision in which many probes compute."""

from jaxtyping import Float, Int
from torch import Tensor


def in_float64(
    values: Float[Tensor, "*shape"] | Int[Tensor, "*shape"],
) -> Float[Tensor, "*shape"] | Int[Tensor, "*shape"]:
    """Convert floating-point values to float64 and leave integer tokens and classes unchanged."""
    return values.double() if values.is_floating_point() else values
