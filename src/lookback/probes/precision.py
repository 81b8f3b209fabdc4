"""Inputs in the precision that a probe measures in."""

from jaxtyping import Float, Int
from torch import Tensor


def in_float64(
    values: Float[Tensor, "*shape"] | Int[Tensor, "*shape"],
) -> Float[Tensor, "*shape"] | Int[Tensor, "*shape"]:
    """Numbers in float64; tokens and classes as they are."""
    return values.double() if values.is_floating_point() else values
