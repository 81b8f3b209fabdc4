"""A layer of Elman's network through time; the equation is that of models/rnn.py.

A row of `line` at step t is [x_t, 1, h_{t-1}]; one product with [W_x; b; W_h] gives a, and h = f(a)
takes its place. Backward, with ∂ for ∂loss/∂:

∂a = ∂h (1 - h²) for tanh, ∂h [h > 0] for ReLU
∂h_{t-1} = ∂a W_hᵀ    ∂x_t = ∂a W_xᵀ    ∂W = lineᵀ ∂a
"""

import numpy as np

from lookback.kernels.compiled import Array, Strided, compiled
from lookback.kernels.functions import ONE, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, enter, multiply

ZERO = np.float32(0.0)


@compiled
def _forward(
    inputs: Strided,
    line: Array,
    before: int,
    size: int,
    weights: Array,
    relu: bool,
    first: int,
    last: int,
) -> None:
    rows, hidden = last - first, line.shape[2] - before
    for t in range(line.shape[0] - 1):
        enter(inputs, t, line, before, first, last)
        multiply(
            rows, hidden, before + size, line[t], first, 0, weights, line[t + 1], first, before
        )
        for r in range(first, last):
            h = line[t + 1, r, before:]
            if relu:
                for j in range(hidden):
                    h[j] = ZERO if h[j] < ZERO else h[j]
            else:
                for j in range(hidden):
                    h[j] = tanh(h[j])


@compiled
def _backward(
    line: Array,
    before: int,
    size: int,
    packed: tuple[Array, Array],
    relu: bool,
    first: int,
    last: int,
    grad: Strided,
    chunk: int,
    of_input: Array,
    of_state: Array,
    inputs: Array,
) -> None:
    rows, hidden = last - first, line.shape[2] - before
    sums = np.zeros((chunk * rows, hidden), np.float32)
    room = np.empty(chunk * rows * max(of_input.shape[1], of_state.shape[1]), np.float32)
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
        multiply(rows, hidden, hidden, sums, held * rows, 0, packed[0], dh, 0, 0)
        if inputs.size:
            multiply(
                rows, inputs.shape[2], hidden, sums, held * rows, 0, packed[1], inputs[t], first, 0
            )
        held += 1
        if held == chunk or t == 0:
            add_weights(sums, 0, hidden, line[t:], held, first, last, 0, room, of_input)
            add_weights(sums, 0, hidden, line[t:], held, first, last, before, room, of_state)
            held = 0


@compiled
def forward_tanh(
    inputs: Strided,
    line: Array,
    before: int,
    size: int,
    packed: tuple[Array, ...],
    gates: Array,
    cells: Array,
    first: int,
    last: int,
) -> None:
    """Rows first to last: fills line[1:] with f = tanh."""
    _forward(inputs, line, before, size, packed[0], False, first, last)


@compiled
def forward_relu(
    inputs: Strided,
    line: Array,
    before: int,
    size: int,
    packed: tuple[Array, ...],
    gates: Array,
    cells: Array,
    first: int,
    last: int,
) -> None:
    """Rows first to last: fills line[1:] with f = ReLU."""
    _forward(inputs, line, before, size, packed[0], True, first, last)


@compiled
def backward_tanh(
    line: Array,
    before: int,
    size: int,
    packed: tuple[Array, Array],
    gates: Array,
    cells: Array,
    first: int,
    last: int,
    grad: Strided,
    chunk: int,
    of_input: Array,
    of_state: Array,
    inputs: Array,
) -> None:
    """Rows first to last: adds to of_input and of_state (H, ·), fills inputs (T, R, F)."""
    _backward(
        line, before, size, packed, False, first, last, grad, chunk, of_input, of_state, inputs
    )


@compiled
def backward_relu(
    line: Array,
    before: int,
    size: int,
    packed: tuple[Array, Array],
    gates: Array,
    cells: Array,
    first: int,
    last: int,
    grad: Strided,
    chunk: int,
    of_input: Array,
    of_state: Array,
    inputs: Array,
) -> None:
    """Rows first to last: adds to of_input and of_state (H, ·), fills inputs (T, R, F)."""
    _backward(
        line, before, size, packed, True, first, last, grad, chunk, of_input, of_state, inputs
    )


TANH = Kernel(forward_tanh, backward_tanh, (0,), (0,), (Product(0, 1),))
RELU = Kernel(forward_relu, backward_relu, (0,), (0,), (Product(0, 1),))
