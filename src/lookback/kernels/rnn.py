"""The kernel of a layer of an Elman network, for the equation in models/rnn.py.

The array `line` contains the vector [x_t, 1, h_{t-1}] for each step t and each row of the batch.
The product of [x_t, 1, h_{t-1}] with [W_x, b, W_h] gives the pre-activations a. The hidden states
h = f(a) overwrite the pre-activations a in the array `line`. In the equations of the backward pass,
∂y stands for ∂loss/∂y.

∂a = ∂h (1 - h²) for tanh, ∂h [h > 0] for ReLU
∂h_{t-1} = ∂a W_hᵀ    ∂x_t = ∂a W_xᵀ    ∂W = lineᵀ ∂a
"""

import numpy as np
import torch

from lookback.kernels.compiled import Array, Backward, Saved, Strided, compiled, inlined
from lookback.kernels.ends import add_gradient, enter, longest, skip_ended
from lookback.kernels.functions import ONE, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, multiply, pass_back
from lookback.kernels.vectors import FEWER, LANES, load, row, store, where_positive


@compiled
def _forward(
    saved: Saved, inputs: Strided, weights: Array, relu: bool, first: int, last: int
) -> None:
    line, h_start, size, _, _, lengths = saved
    rows, hidden = last - first, line.shape[2] - h_start
    steps, whole = longest(saved, first, last), hidden // LANES * LANES
    sums = np.empty((rows, hidden), np.float32)
    for t in range(line.shape[0] - 1):
        following = line[t + 1]
        if t < steps:
            enter(inputs, saved, t, first, last)
            multiply(rows, hidden, h_start + size, line[t], first, 0, weights, sums, 0, 0)
        for r in range(first, last):
            if t >= lengths[r]:
                following[r, h_start:] = 0
                continue
            a, h = row(sums, r - first), row(following, r)
            for j in range(0, whole, LANES):
                _activate(a, h, h_start, relu, j, LANES)
            for j in range(whole, hidden, FEWER):
                _activate(a, h, h_start, relu, j, FEWER)


@inlined
def _activate(a: int, h: int, h_start: int, relu: bool, j: int, lanes: int) -> None:
    x = load(a, j, lanes)
    if relu:
        store(h, h_start + j, where_positive(x, x))
    else:
        store(h, h_start + j, tanh(x))


@compiled
def _backward(saved: Saved, back: Backward, relu: bool, first: int, last: int) -> None:
    line, h_start, size, _, _, lengths = saved
    rows, hidden = last - first, line.shape[2] - h_start
    whole = hidden // LANES * LANES
    grad_a = np.zeros((back.chunk * rows, hidden), np.float32)
    dh = np.zeros((rows, hidden), np.float32)
    gathered = 0
    for t in range(skip_ended(saved, back, first, last) - 1, -1, -1):
        following = line[t + 1]
        for r in range(rows):
            if t >= lengths[first + r]:
                grad_a[gathered * rows + r] = 0
                continue
            add_gradient(back.grad, t, first, r, size, dh)
            a, dh_r, h = row(grad_a, gathered * rows + r), row(dh, r), row(following, first + r)
            for j in range(0, whole, LANES):
                _differentiate(h, a, dh_r, h_start, relu, j, LANES)
            for j in range(whole, hidden, FEWER):
                _differentiate(h, a, dh_r, h_start, relu, j, FEWER)
        multiply(rows, hidden, hidden, grad_a, gathered * rows, 0, back.to_state, dh, 0, 0)
        pass_back(back, grad_a, gathered, 0, hidden, t, first)
        gathered += 1
        if gathered == back.chunk or t == 0:
            add_weights(saved, back, grad_a, gathered, 0, t, first, last)
            gathered = 0


@inlined
def _differentiate(
    state: int, a: int, dh: int, h_start: int, relu: bool, j: int, lanes: int
) -> None:
    h, d = load(state, h_start + j, lanes), load(dh, j, lanes)
    if relu:
        store(a, j, where_positive(h, d))
    else:
        store(a, j, d * (ONE - h * h))


@compiled
def forward_tanh(
    saved: Saved, inputs: Strided, packed: tuple[Array, ...], first: int, last: int
) -> None:
    """Write h = tanh(a) of all time steps to line[1:], in the rows `first` to `last` - 1."""
    _forward(saved, inputs, packed[0], False, first, last)


@compiled
def forward_relu(
    saved: Saved, inputs: Strided, packed: tuple[Array, ...], first: int, last: int
) -> None:
    """Write h = ReLU(a) of all time steps to line[1:], in the rows `first` to `last` - 1."""
    _forward(saved, inputs, packed[0], True, first, last)


@compiled
def backward_tanh(saved: Saved, back: Backward, first: int, last: int) -> None:
    """Add the contribution of the rows `first` to `last` (exclusive) to the weights' gradients.

    The gradient of all weights is `back.of_line` (H, ·). If `back.inputs` (T, R, F) is not empty,
    the kernel also writes the inputs' gradient to this array.
    """
    _backward(saved, back, False, first, last)


@compiled
def backward_relu(saved: Saved, back: Backward, first: int, last: int) -> None:
    """Add the contribution of the rows `first` to `last` (exclusive) to the weights' gradients.

    The gradient of all weights is `back.of_line` (H, ·). If `back.inputs` (T, R, F) is not empty,
    the kernel also writes the inputs' gradient to this array.
    """
    _backward(saved, back, True, first, last)


TANH = Kernel(forward_tanh, backward_tanh, (0,), (0,), (Product(0, 1),), torch.rnn_tanh)
RELU = Kernel(forward_relu, backward_relu, (0,), (0,), (Product(0, 1),), torch.rnn_relu)
