"""Which hidden size gives a network the number of parameters that a study asks for.

Counts grow with the size, so the search doubles and then halves. A constructor may refuse a size
(a transformer wants a multiple of its heads); what lies between is then not to be had.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from lookback.data.task import Facts
from lookback.errors import UserError
from lookback.models.network import undrawn_network

LARGEST = 1 << 20  # the hidden size at which a search ends
REACH = 256  # sizes in a row that a constructor may refuse


class Size(NamedTuple):
    """A hidden size, and the parameters of the whole network that has it."""

    hidden_size: int
    parameters: int


def parameters_of(model: Mapping[str, Any], facts: Facts) -> int:
    """The parameters of a whole network, embedding and head included; allocates none of them.

    Raises UserError where the constructor does.
    """
    with torch.device("meta"):
        network = undrawn_network(model, facts)
    return sum(parameter.numel() for parameter in network.parameters())


def matched(model: Mapping[str, Any], match: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The model with the hidden size whose count is nearest to `match["params"]`.

    Raises UserError where that is further off than `match["tolerance"]`, a share of it.
    """
    wanted, tolerance = match["params"], match["tolerance"]
    near = around(wanted, lambda size: parameters_of({**model, "hidden_size": size}, facts))
    best = min(near, key=lambda size: abs(size.parameters - wanted))
    if abs(best.parameters - wanted) > tolerance * wanted:
        reached = " and ".join(f"{size:,} has {count:,}" for size, count in near)
        raise UserError(
            f"no hidden_size of {model['_target_']} has {wanted:,} parameters, "
            f"give or take {tolerance:.1%}:\n{reached}.\n"
            f"Write match.params: {best.parameters}, or a larger match.tolerance; or change what "
            "else decides the model's size."
        )
    return {**model, "hidden_size": best.hidden_size}


def around(wanted: int, count: Callable[[int], int]) -> list[Size]:
    """The two neighbouring sizes between which the count passes `wanted`; one, if the first does.

    Raises the constructor's UserError where it takes no small size at all.
    """
    low = _taken(1, 1, count) or Size(1, count(1))  # refused throughout: raises, and says why
    if low.parameters >= wanted:
        return [low]
    high = low
    while high.parameters < wanted:
        low, larger = high, _taken(2 * high.hidden_size, 1, count)
        if larger is None or larger.hidden_size > LARGEST:
            return [low]
        high = larger
    while between := _between(low, high, count):
        low, high = (between, high) if between.parameters < wanted else (low, between)
    return [low, high]


def _between(low: Size, high: Size, count: Callable[[int], int]) -> Size | None:
    """A size that the constructor takes near the middle of two; None where there is none."""
    middle = (low.hidden_size + high.hidden_size) // 2
    for direction in (1, -1):
        found = _taken(middle, direction, count)
        if found and low.hidden_size < found.hidden_size < high.hidden_size:
            return found
    return None


def _taken(size: int, direction: int, count: Callable[[int], int]) -> Size | None:
    """The first size from `size` on, up or down, that the constructor takes."""
    for tried in range(size, size + direction * REACH, direction):
        if tried < 1:
            return None
        try:
            return Size(tried, count(tried))
        except UserError:
            continue
    return None
