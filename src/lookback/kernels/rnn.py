"""A layer of Elman's network through time; the equation is that of models/rnn.py.

A row of `line` at step t is [x_t, 1, h_{t-1}]; one product with [W_x; b; W_h] gives a, and h = f(a)
takes its place. Backward, with ∂ for ∂loss/∂:

∂a = ∂h (1 - h²) for tanh, ∂h [h > 0] for ReLU
∂h_{t-1} = ∂a W_hᵀ    ∂x_t = ∂a W_xᵀ    ∂W = lineᵀ ∂a
"""

import numpy as np

from lookback.kernels.compiled import Array, Backward, Kept, Strided, compiled
from lookback.kernels.functions import ONE, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, enter, multiply, pass_back

ZERO = np.float32(0.0)


@compiled
def _forward(
    kept: Kept, inputs: Strided, weights: Array, relu: bool, first: int, last: int
) -> None:
    line, before, size, _, _ = kept
    rows, hidden, whole = last - first, line.shape[2] - before, before + size
    for t in range(line.shape[0] - 1):
        enter(inputs, kept, t, first, last)
        multiply(rows, hidden, whole, line[t], first, 0, weights, line[t + 1], first, before)
        for r in range(first, last):
            h = line[t + 1, r, before:]
            if relu:
                for j in range(hidden):
                    h[j] = ZERO if h[j] < ZERO else h[j]
            else:
                for j in range(hidden):
                    h[j] = tanh(h[j])


@compiled
def _backward(kept: Kept, back: Backward, relu: bool, first: int, last: int) -> None:
    line, before, size, _, _ = kept
    rows, hidden, grad = last - first, line.shape[2] - before, back.grad
    sums = np.zeros((back.chunk * rows, hidden), np.float32)
    dh = np.zeros((rows, hidden), np.float32)
    held = 0
    for t in range(line.shape[0] - 2, -1, -1):
        for r in range(rows):
            a, dh_r, h = sums[held * rows + r], dh[r], line[t + 1, first + r, before:]
            given = grad.flat[(first + r) * grad.row + t * grad.step :]
            if relu:
                for j in range(size):
                    d = dh_r[j] + given[j]
                    a[j] = d if h[j] > ZERO else ZERO
            else:
                for j in range(size):
                    a[j] = (dh_r[j] + given[j]) * (ONE - h[j] * h[j])
        multiply(rows, hidden, hidden, sums, held * rows, 0, back.to_state, dh, 0, 0)
        pass_back(back, sums, held, 0, hidden, t, first)
        held += 1
        if held == back.chunk or t == 0:
            add_weights(kept, back, sums, held, 0, t, first, last)
            held = 0


@compiled
def forward_tanh(
    kept: Kept, inputs: Strided, packed: tuple[Array, ...], first: int, last: int
) -> None:
    """Rows first to last: fills line[1:] with f = tanh."""
    _forward(kept, inputs, packed[0], False, first, last)


@compiled
def forward_relu(
    kept: Kept, inputs: Strided, packed: tuple[Array, ...], first: int, last: int
) -> None:
    """Rows first to last: fills line[1:] with f = ReLU."""
    _forward(kept, inputs, packed[0], True, first, last)


@compiled
def backward_tanh(kept: Kept, back: Backward, first: int, last: int) -> None:
    """Rows first to last: adds to of_input and of_state (H, ·), fills inputs (T, R, F)."""
    _backward(kept, back, False, first, last)


@compiled
def backward_relu(kept: Kept, back: Backward, first: int, last: int) -> None:
    """Rows first to last: adds to of_input and of_state (H, ·), fills inputs (T, R, F)."""
    _backward(kept, back, True, first, last)


TANH = Kernel(forward_tanh, backward_tanh, (0,), (0,), (Product(0, 1),))
RELU = Kernel(forward_relu, backward_relu, (0,), (0,), (Product(0, 1),))
