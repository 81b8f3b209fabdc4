"""What a cell's kernel says of itself, so that one layer runs them all."""

from collections.abc import Callable
from dataclasses import dataclass

from lookback.kernels.product import padded


@dataclass(frozen=True)
class Product:
    """Groups of H columns, `first` to before `past`, that meet the input, the state, or both."""

    first: int
    past: int
    input: bool = True
    state: bool = True


@dataclass(frozen=True)
class Kernel:
    """A cell's compiled passes. Torch's gates are numbered from 0, in its own order.

    A group is H columns wide, H filled up to a multiple of 8; or H itself, where groups lie `dense`
    (what one product makes all of, since the next would write over what the last left too wide).
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    of_input: tuple[int, ...]  # the group in which each of torch's gates meets the input
    of_state: tuple[int, ...]  # ... and in which it meets the state
    products: tuple[Product, ...]  # of a step
    gates: tuple[str, ...] = ()  # names of the first groups, as they are kept
    keeps_cell: bool = False
    dense: bool = False

    @property
    def groups(self) -> int:
        """How many there are."""
        return 1 + max(*self.of_input, *self.of_state)

    def width(self, size: int) -> int:
        """Columns from one group's start to the next one's, at H = `size`."""
        return size if self.dense else padded(size)
