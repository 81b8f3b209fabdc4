"""Where the sequences of a batch end, and what the kernels do at and after their ends.

A step after the end of a sequence, and a row that only fills the batch up to whole tiles,
belong to no answer. If the recurrence ran there, its state could overflow, and the gradient of the
weights would be NaN, because 0 × ∞ is NaN. So the kernels keep the state at zero there, and pass
back no gradient.
"""

from lookback.kernels.compiled import Array, Backward, Saved, Strided, compiled
from lookback.kernels.vectors import FLOAT, copy, row


@compiled
def longest(saved: Saved, first: int, last: int) -> int:
    """The number of steps of the longest sequence in the rows `first` to `last` (exclusive)."""
    steps = 0
    for r in range(first, last):
        steps = max(steps, saved.lengths[r])
    return steps


@compiled
def enter(inputs: Strided, saved: Saved, t: int, first: int, last: int) -> None:
    """Write x_t and the constant 1 to line[t], in the rows `first` to `last` (exclusive).

    In rows whose sequence has ended, the function writes zeros.
    """
    line, features = saved.line[t], saved.h_start - 1
    flat = inputs.flat.ctypes.data + FLOAT * t * inputs.step
    for r in range(first, last):
        if t < saved.lengths[r]:
            copy(row(line, r), flat + FLOAT * r * inputs.row, features)
            line[r, features] = 1
        else:
            line[r, : saved.h_start] = 0


@compiled
def skip_ended(saved: Saved, back: Backward, first: int, last: int) -> int:
    """Set the inputs' gradient to zero at the steps after the longest sequence of some rows.

    Returns the number of steps of the longest sequence, in the rows `first` to `last` (exclusive).
    """
    steps = longest(saved, first, last)
    if back.inputs.size:
        back.inputs[steps:, first:last] = 0
    return steps


@compiled
def add_gradient(grad: Strided, t: int, first: int, r: int, size: int, dh: Array) -> None:
    """Add the gradient of h_t, which has `size` elements, in row `first` + r to dh[r]."""
    grad_h, dh_r = grad.flat[(first + r) * grad.row + t * grad.step :], dh[r]
    for j in range(size):
        dh_r[j] += grad_h[j]
