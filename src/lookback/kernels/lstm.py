"""The kernel of an LSTM layer, for the equations in models/lstm.py.

The array `line` contains the vector [x_t, 1, h_{t-1}] for each step t and each row of the batch.
The product of [x_t, 1, h_{t-1}] with [W_x, b, W_h] gives the pre-activations of all four gates. In
the equations of the backward pass, ∂y stands for ∂loss/∂y, and a stands for the pre-activations.

∂o = ∂h tanh(c)    ∂c = ∂c_{t+1} f_{t+1} + ∂h o (1 - tanh²(c))
∂i = ∂c g          ∂f = ∂c c_{t-1}          ∂g = ∂c i
∂a = ∂σ σ (1 - σ) for i, f and o, ∂g (1 - g²) for g
∂h_{t-1} = ∂a W_hᵀ    ∂x_t = ∂a W_xᵀ    ∂W = lineᵀ ∂a
"""

import numpy as np
import torch

from lookback.kernels.compiled import Array, Backward, Saved, Strided, compiled
from lookback.kernels.ends import enter, longest, skip_ended
from lookback.kernels.functions import ONE, logistic, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, multiply, pass_back


@compiled
def forward(
    saved: Saved, inputs: Strided, packed: tuple[Array, ...], first: int, last: int
) -> None:
    """Run all time steps of an LSTM layer for the rows `first` to `last` (exclusive) of the batch.

    The kernel writes the hidden states to line[1:], the gates to `gates` (T, R, 4H), and the cell
    states to cells[1:], where `cells` has the shape (T + 1, R, H).
    """
    line, h_start, size, gates, cells, lengths = saved
    rows, wide = last - first, gates.shape[2]
    steps = longest(saved, first, last)
    for t in range(line.shape[0] - 1):
        gate_t, old_t = gates[t % len(gates)], cells[t % len(cells)]
        new_t = cells[(t + 1) % len(cells)]
        if t < steps:
            enter(inputs, saved, t, first, last)
            multiply(rows, wide, h_start + size, line[t], first, 0, packed[0], gate_t, first, 0)
        for r in range(first, last):
            gate, old, new, h = gate_t[r], old_t[r], new_t[r], line[t + 1, r, h_start:]
            if t >= lengths[r]:
                gate[:], new[:], h[:] = 0, 0, 0
                continue
            for j in range(size):
                i, f = logistic(gate[j]), logistic(gate[size + j])
                g, o = tanh(gate[2 * size + j]), logistic(gate[3 * size + j])
                c = f * old[j] + i * g
                gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j] = i, f, g, o
                new[j] = c
                h[j] = o * tanh(c)


@compiled
def backward(saved: Saved, back: Backward, first: int, last: int) -> None:
    """Add the contribution of the rows `first` to `last` (exclusive) to the weights' gradients.

    The weights' gradients are `back.of_input` and `back.of_state`, both of shape (4H, ·). If
    `back.inputs` (T, R, F) is not empty, the kernel also writes the inputs' gradient to this array.
    """
    _, _, size, gates, cells, lengths = saved
    wide, rows, hidden, grad = gates.shape[2], last - first, cells.shape[2], back.grad
    grad_a = np.zeros((back.chunk * rows, wide), np.float32)
    dh, dc = np.zeros((rows, hidden), np.float32), np.zeros((rows, hidden), np.float32)
    gathered = 0
    for t in range(skip_ended(saved, back, first, last) - 1, -1, -1):
        for r in range(rows):
            gate, old, new = gates[t, first + r], cells[t, first + r], cells[t + 1, first + r]
            a, dh_r, dc_r = grad_a[gathered * rows + r], dh[r], dc[r]
            if t >= lengths[first + r]:
                a[:] = 0
                continue
            grad_h = grad.flat[(first + r) * grad.row + t * grad.step :]
            for j in range(size):
                i, f, g, o = gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j]
                s = tanh(new[j])
                d = dh_r[j] + grad_h[j]
                c = dc_r[j] + d * o * (ONE - s * s)
                a[j] = c * g * i * (ONE - i)
                a[size + j] = c * old[j] * f * (ONE - f)
                a[2 * size + j] = c * i * (ONE - g * g)
                a[3 * size + j] = d * s * o * (ONE - o)
                dc_r[j] = c * f
        multiply(rows, hidden, wide, grad_a, gathered * rows, 0, back.to_state, dh, 0, 0)
        pass_back(back, grad_a, gathered, 0, wide, t, first)
        gathered += 1
        if gathered == back.chunk or t == 0:
            add_weights(saved, back, grad_a, gathered, 0, t, first, last)
            gathered = 0


KERNEL = Kernel(
    forward,
    backward,
    of_input=(0, 1, 2, 3),
    of_state=(0, 1, 2, 3),
    products=(Product(0, 4),),
    by_torch=torch.lstm,
    gates=("input", "forget", "candidate", "output"),
    keeps_cell=True,
    dense=True,
)
