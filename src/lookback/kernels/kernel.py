"""The description of a cell's compiled kernel, so that layer.py can run every cell."""

from collections.abc import Callable
from dataclasses import dataclass

from lookback.kernels.product import padded


@dataclass(frozen=True)
class Product:
    """A matrix product that computes the groups of columns `first` to `past` (exclusive).

    `input` and `state` say whether the product includes the input's and the state's weights.
    """

    first: int
    past: int
    input: bool = True
    state: bool = True


@dataclass(frozen=True)
class Kernel:
    """A cell's compiled forward and backward passes, and the layout of its gates.

    A group is the block of columns of one gate: H columns, padded to a multiple of 8. If the kernel
    is `dense`, groups have no padding between them. A dense kernel must compute all groups in one
    product, because the padded columns of one product would overlap the groups of another.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    # For each gate, in torch's order, the number of the group that contains its input weights.
    of_input: tuple[int, ...]
    # For each gate, in torch's order, the number of the group that contains its state weights.
    of_state: tuple[int, ...]
    products: tuple[Product, ...]  # the matrix products of one step
    gates: tuple[str, ...] = ()  # names of the first groups, in their order in memory
    keeps_cell: bool = False  # whether the state has a cell c beside h
    dense: bool = False

    @property
    def groups(self) -> int:
        """The number of groups."""
        return 1 + max(*self.of_input, *self.of_state)

    def width(self, size: int) -> int:
        """The columns from the start of one group to the start of the next, for H = `size`."""
        return size if self.dense else padded(size)
