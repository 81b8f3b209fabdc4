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

from lookback.kernels.compiled import Array, Backward, Saved, Strided, compiled
from lookback.kernels.ends import enter, longest, skip_ended
from lookback.kernels.functions import ONE, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, multiply, pass_back

ZERO = np.float32(0.0)


@compiled
def _forward(
    saved: Saved, inputs: Strided, weights: Array, relu: bool, first: int, last: int
) -> None:
    line, h_start, size, _, _, lengths = saved
    rows, hidden, whole = last - first, line.shape[2] - h_start, h_start + size
    steps = longest(saved, first, last)
    for t in range(line.shape[0] - 1):
        if t < steps:
            enter(inputs, saved, t, first, last)
            multiply(rows, hidden, whole, line[t], first, 0, weights, line[t + 1], first, h_start)
        for r in range(first, last):
            h = line[t + 1, r, h_start:]
            if t >= lengths[r]:
                h[:] = 0
            elif relu:
                for j in range(hidden):
                    h[j] = ZERO if h[j] < ZERO else h[j]
            else:
                for j in range(hidden):
                    h[j] = tanh(h[j])


@compiled
def _backward(saved: Saved, back: Backward, relu: bool, first: int, last: int) -> None:
    line, h_start, size, _, _, lengths = saved
    rows, hidden, grad = last - first, line.shape[2] - h_start, back.grad
    grad_a = np.zeros((back.chunk * rows, hidden), np.float32)
    dh = np.zeros((rows, hidden), np.float32)
    gathered = 0
    for t in range(skip_ended(saved, back, first, last) - 1, -1, -1):
        for r in range(rows):
            a, dh_r, h = grad_a[gathered * rows + r], dh[r], line[t + 1, first + r, h_start:]
            if t >= lengths[first + r]:
                a[:] = 0
                continue
            grad_h = grad.flat[(first + r) * grad.row + t * grad.step :]
            if relu:
                for j in range(size):
                    d = dh_r[j] + grad_h[j]
                    a[j] = d if h[j] > ZERO else ZERO
            else:
                for j in range(size):
                    a[j] = (dh_r[j] + grad_h[j]) * (ONE - h[j] * h[j])
        multiply(rows, hidden, hidden, grad_a, gathered * rows, 0, back.to_state, dh, 0, 0)
        pass_back(back, grad_a, gathered, 0, hidden, t, first)
        gathered += 1
        if gathered == back.chunk or t == 0:
            add_weights(saved, back, grad_a, gathered, 0, t, first, last)
            gathered = 0


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

    The weights' gradients are `back.of_input` and `back.of_state`, both of shape (H, ·). If
    `back.inputs` (T, R, F) is not empty, the kernel also writes the inputs' gradient to this array.
    """
    _backward(saved, back, False, first, last)


@compiled
def backward_relu(saved: Saved, back: Backward, first: int, last: int) -> None:
    """Add the contribution of the rows `first` to `last` (exclusive) to the weights' gradients.

    The weights' gradients are `back.of_input` and `back.of_state`, both of shape (H, ·). If
    `back.inputs` (T, R, F) is not empty, the kernel also writes the inputs' gradient to this array.
    """
    _backward(saved, back, True, first, last)


TANH = Kernel(forward_tanh, backward_tanh, (0,), (0,), (Product(0, 1),), torch.rnn_tanh)
RELU = Kernel(forward_relu, backward_relu, (0,), (0,), (Product(0, 1),), torch.rnn_relu)
