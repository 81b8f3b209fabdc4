"""Finds the hidden size whose network has a given number of parameters.

The number of parameters grows with the hidden size. The search therefore doubles the size until the
network is large enough, and then bisects. A model's constructor may refuse a size. For example, a
transformer needs a multiple of its number of heads. The search skips the sizes that the constructor
refuses.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.models.network import undrawn_network

LARGEST = 1 << 20  # the largest hidden size that the search tries
REACH = 256  # the search gives up after this number of refused sizes in a row


class Size(NamedTuple):
    """A hidden size, and the number of parameters of the whole network with this hidden size."""

    hidden_size: int
    parameters: int


def parameters_of(model: Mapping[str, Any], facts: Facts) -> int:
    """The number of parameters of a whole network, including embedding and head.

    The network is built on torch's meta device, which allocates no memory. Raises UserError if the
    model's constructor refuses its settings.
    """
    with torch.device("meta"):
        network = undrawn_network(model, facts)
    return sum(parameter.numel() for parameter in network.parameters())


def match_hidden_size(
    model: Mapping[str, Any], match: Mapping[str, Any], facts: Facts
) -> dict[str, Any]:
    """The model's settings, with the hidden size whose parameter count is nearest to the target.

    The target is `match["params"]`. Raises UserError if the nearest count differs from the target
    by more than `match["tolerance"]`, a share of the target.
    """
    wanted, tolerance = match["params"], match["tolerance"]
    candidates = neighbouring_sizes(
        wanted, lambda size: parameters_of({**model, "hidden_size": size}, facts)
    )
    best = min(candidates, key=lambda size: abs(size.parameters - wanted))
    if abs(best.parameters - wanted) > tolerance * wanted:
        counts = " and ".join(f"{size:,} has {count:,}" for size, count in candidates)
        raise UserError(
            f"no hidden_size of {model['_target_']} has {wanted:,} parameters, "
            f"within {tolerance:.1%}.\nNearest sizes: hidden_size {counts} parameters.\n"
            f"Write match.params: {best.parameters}, or a larger match.tolerance, or change "
            "another setting that decides the model's size."
        )
    return {**model, "hidden_size": best.hidden_size}


def neighbouring_sizes(wanted: int, count: Callable[[int], int]) -> list[Size]:
    """The two neighbouring hidden sizes whose parameter counts enclose `wanted`.

    `count` returns the number of parameters for a hidden size. The result is the smallest size
    alone if its count already reaches `wanted`, and the largest size alone if no larger size is
    allowed. Raises the constructor's UserError if the constructor refuses all sizes up to `REACH`.
    """
    # If the constructor refuses all small sizes, count(1) raises its UserError with the reason.
    low = _first_accepted(1, 1, count) or Size(1, count(1))
    if low.parameters >= wanted:
        return [low]
    high = low
    while high.parameters < wanted:
        low, larger = high, _first_accepted(2 * high.hidden_size, 1, count)
        if larger is None or larger.hidden_size > LARGEST:
            return [low]
        high = larger
    while between := _between(low, high, count):
        low, high = (between, high) if between.parameters < wanted else (low, between)
    return [low, high]


def _between(low: Size, high: Size, count: Callable[[int], int]) -> Size | None:
    """An accepted size near the middle between `low` and `high`, or None if no size is accepted."""
    middle = (low.hidden_size + high.hidden_size) // 2
    for direction in (1, -1):
        accepted = _first_accepted(middle, direction, count)
        if accepted and low.hidden_size < accepted.hidden_size < high.hidden_size:
            return accepted
    return None


def _first_accepted(start: int, direction: int, count: Callable[[int], int]) -> Size | None:
    """The first size that the constructor accepts, searching from `start` up (1) or down (−1).

    None if the constructor refuses all `REACH` sizes.
    """
    for size in range(start, start + direction * REACH, direction):
        if size < 1:
            return None
        try:
            return Size(size, count(size))
        except UserError:
            continue
    return None
