"""Describe the kernels in a common form, so that layer.py can run every type of recurrent layer."""

from collections.abc import Callable
from dataclasses import dataclass

from lookback.kernels.product import padded


@dataclass(frozen=True)
class Product:
    """A matrix product that computes the pre-activations of the column groups `first` to `past`-1.

    The class `Kernel` defines a group. `input` and `state` say whether the product includes the
    input's weights and the state's weights.
    """

    first: int
    past: int
    input: bool = True
    state: bool = True


@dataclass(frozen=True)
class Kernel:
    """The forward and backward passes of a type of recurrent layer, and the layout of its gates.

    A group is the block of H columns that belongs to one gate in the array `gates`. Each group is
    padded to a multiple of 8 columns, unless the kernel is `dense`. A dense kernel must compute all
    groups in a single product, because a product writes a multiple of 8 columns and could overwrite
    the next group.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    # For each gate, in torch's order, the index of the group that contains its input weights.
    of_input: tuple[int, ...]
    # For each gate, in torch's order, the index of the group that contains its state weights.
    of_state: tuple[int, ...]
    products: tuple[Product, ...]  # the matrix products of one step
    gates: tuple[str, ...] = ()  # names of the gates, in the order of their groups
    keeps_cell: bool = False  # whether the layer has a cell state c besides the hidden state h
    dense: bool = False

    @property
    def groups(self) -> int:
        """The number of groups of columns."""
        return 1 + max(*self.of_input, *self.of_state)

    def width(self, size: int) -> int:
        """The number of columns of one group, including its padding, for H = `size`."""
        return size if self.dense else padded(size)
