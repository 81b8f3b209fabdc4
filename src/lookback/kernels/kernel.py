"""Describe the kernels in a common form, so that layer.py can run every type of recurrent layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Product:
    """A matrix product that computes the pre-activations of some groups of columns.

    The product covers the groups `first` to `past` - 1. The docstring of `Kernel` explains what a
    group of columns is.
    `input` and `state` say whether the product includes the input's weights and the state's
    weights.
    """

    first: int
    past: int
    input: bool = True
    state: bool = True


@dataclass(frozen=True)
class Kernel:
    """The forward and backward passes of one type of recurrent layer, and the layout of its gates.

    In the array `gates`, every gate has a block of H columns, which is called a group. Every group
    is padded to a multiple of 8 columns.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    # For each gate in torch's order, the index of the group to which its input weights contribute.
    of_input: tuple[int, ...]
    # For each gate in torch's order, the index of the group to which its state weights contribute.
    of_state: tuple[int, ...]
    products: tuple[Product, ...]  # the matrix products of one step
    by_torch: Callable[..., Any]  # torch's function for the same layer, for example torch.lstm
    gates: tuple[str, ...] = ()  # names of the gates, in the order of their groups
    keeps_cell: bool = False  # whether the layer has a cell state c besides the hidden state h

    @property
    def groups(self) -> int:
        """The number of groups of columns."""
        return 1 + max(*self.of_input, *self.of_state)
