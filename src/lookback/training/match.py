"""Finds the hidden size whose network has a given number of parameters.

The number of parameters of a network grows with its hidden size. The search doubles the hidden size
until the network has enough parameters, and then bisects. The search skips hidden sizes that the
model's constructor refuses. For example, the hidden size of a transformer must be a multiple of its
number of heads.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.models.network import undrawn_network

LARGEST = 1 << 20  # the largest hidden size that the search tries
REACH = 256  # The search gives up after this number of refused sizes in a row.


class Size(NamedTuple):
    """A hidden size, and the number of parameters of the whole network with this hidden size."""

    hidden_size: int
    parameters: int


def parameters_of(model: Mapping[str, Any], facts: Facts) -> int:
    """The number of parameters of a whole network, including its embedding and its output head.

    The network is built on torch's meta device, which allocates no memory for the weights. Raises
    UserError if the model's constructor refuses the settings in `model`.
    """
    with torch.device("meta"):
        network = undrawn_network(model, facts)
    return sum(parameter.numel() for parameter in network.parameters())


def match_hidden_size(
    model: Mapping[str, Any], match: Mapping[str, Any], facts: Facts
) -> dict[str, Any]:
    """The settings `model`, with the hidden size that comes nearest to a number of parameters.

    The target number of parameters is `match["params"]`. Raises UserError if the nearest number of
    parameters differs from the target by more than `match["tolerance"]` times the target.
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
    """The two neighbouring hidden sizes whose numbers of parameters enclose `wanted`.

    `count` returns the number of parameters for a hidden size. If the smallest hidden size that the
    model's constructor accepts already gives `wanted` parameters or more, the result is this size
    alone. If the search finds no hidden size up to `LARGEST` that gives `wanted` parameters or
    more, the result is the largest size that the search found. Raises UserError if the model's
    constructor refuses every hidden size from 1 to `REACH`.
    """
    # If the constructor refuses all sizes up to REACH, `count(1)` raises the UserError.
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
    """A hidden size that the model's constructor accepts, near the middle of `low` and `high`.

    The result is None if the constructor accepts no hidden size between `low` and `high`.
    """
    middle = (low.hidden_size + high.hidden_size) // 2
    for direction in (1, -1):
        accepted = _first_accepted(middle, direction, count)
        if accepted and low.hidden_size < accepted.hidden_size < high.hidden_size:
            return accepted
    return None


def _first_accepted(start: int, direction: int, count: Callable[[int], int]) -> Size | None:
    """The first hidden size from `start` on that the model's constructor accepts.

    The search goes up if `direction` is 1, and down if `direction` is −1. The result is None if the
    constructor refuses `REACH` hidden sizes in a row, or if the search falls below size 1.
    """
    for size in range(start, start + direction * REACH, direction):
        if size < 1:
            return None
        try:
            return Size(size, count(size))
        except UserError:
            continue
    return None
