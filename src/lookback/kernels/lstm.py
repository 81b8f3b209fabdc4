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

from lookback.kernels.compiled import Array, Backward, Saved, Strided, compiled, inlined
from lookback.kernels.ends import add_gradient, enter, longest, skip_ended
from lookback.kernels.functions import ONE, logistic, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, multiply, pass_back
from lookback.kernels.vectors import FEWER, LANES, load, row, store


@compiled
def forward(
    saved: Saved, inputs: Strided, packed: tuple[Array, ...], first: int, last: int
) -> None:
    """Run all time steps of an LSTM layer for the rows `first` to `last` (exclusive) of the batch.

    The kernel writes the hidden states to line[1:], the gates to `gates` (T, R, 4H), and the cell
    states to cells[1:], where `cells` has the shape (T + 1, R, H).
    """
    line, h_start, size, gates, cells, lengths = saved
    rows, wide, hidden = last - first, gates.shape[2], cells.shape[2]
    steps, whole = longest(saved, first, last), hidden // LANES * LANES
    sums = np.empty((rows, wide), np.float32)
    for t in range(line.shape[0] - 1):
        gate_t, old_t = gates[t % len(gates)], cells[t % len(cells)]
        new_t, next_line = cells[(t + 1) % len(cells)], line[t + 1]
        if t < steps:
            enter(inputs, saved, t, first, last)
            multiply(rows, wide, h_start + size, line[t], first, 0, packed[0], sums, 0, 0)
        for r in range(first, last):
            if t >= lengths[r]:
                gate_t[r], new_t[r], next_line[r, h_start:] = 0, 0, 0
                continue
            a, gate, h = row(sums, r - first), row(gate_t, r), row(next_line, r)
            old, new = row(old_t, r), row(new_t, r)
            for j in range(0, whole, LANES):
                _activate(a, gate, old, new, h, h_start, hidden, j, LANES)
            for j in range(whole, hidden, FEWER):
                _activate(a, gate, old, new, h, h_start, hidden, j, FEWER)


@inlined
def _activate(
    a: int,
    gate: int,
    old: int,
    new: int,
    h: int,
    h_start: int,
    hidden: int,
    j: int,
    lanes: int,
) -> None:
    i, f = logistic(load(a, j, lanes)), logistic(load(a, hidden + j, lanes))
    g, o = tanh(load(a, 2 * hidden + j, lanes)), logistic(load(a, 3 * hidden + j, lanes))
    c = f * load(old, j, lanes) + i * g
    store(gate, j, i)
    store(gate, hidden + j, f)
    store(gate, 2 * hidden + j, g)
    store(gate, 3 * hidden + j, o)
    store(new, j, c)
    store(h, h_start + j, o * tanh(c))


@compiled
def backward(saved: Saved, back: Backward, first: int, last: int) -> None:
    """Add the contribution of the rows `first` to `last` (exclusive) to the weights' gradients.

    The gradient of all weights is `back.of_line` (4H, ·). If `back.inputs` (T, R, F) is not empty,
    the kernel also writes the inputs' gradient to this array.
    """
    _, _, size, gates, cells, lengths = saved
    wide, rows, hidden = gates.shape[2], last - first, cells.shape[2]
    whole = hidden // LANES * LANES
    grad_a = np.zeros((back.chunk * rows, wide), np.float32)
    dh, dc = np.zeros((rows, hidden), np.float32), np.zeros((rows, hidden), np.float32)
    gathered = 0
    for t in range(skip_ended(saved, back, first, last) - 1, -1, -1):
        gate_t, old_t, new_t = gates[t], cells[t], cells[t + 1]
        for r in range(rows):
            if t >= lengths[first + r]:
                grad_a[gathered * rows + r] = 0
                continue
            add_gradient(back.grad, t, first, r, size, dh)
            gate, old, new = row(gate_t, first + r), row(old_t, first + r), row(new_t, first + r)
            a, dh_r, dc_r = row(grad_a, gathered * rows + r), row(dh, r), row(dc, r)
            for j in range(0, whole, LANES):
                _differentiate(gate, old, new, a, dh_r, dc_r, hidden, j, LANES)
            for j in range(whole, hidden, FEWER):
                _differentiate(gate, old, new, a, dh_r, dc_r, hidden, j, FEWER)
        multiply(rows, hidden, wide, grad_a, gathered * rows, 0, back.to_state, dh, 0, 0)
        pass_back(back, grad_a, gathered, 0, wide, t, first)
        gathered += 1
        if gathered == back.chunk or t == 0:
            add_weights(saved, back, grad_a, gathered, 0, t, first, last)
            gathered = 0


@inlined
def _differentiate(
    gate: int,
    old: int,
    new: int,
    a: int,
    dh: int,
    dc: int,
    hidden: int,
    j: int,
    lanes: int,
) -> None:
    i, f = load(gate, j, lanes), load(gate, hidden + j, lanes)
    g, o = load(gate, 2 * hidden + j, lanes), load(gate, 3 * hidden + j, lanes)
    s, d = tanh(load(new, j, lanes)), load(dh, j, lanes)
    c = load(dc, j, lanes) + d * o * (ONE - s * s)
    store(a, j, c * g * i * (ONE - i))
    store(a, hidden + j, c * load(old, j, lanes) * f * (ONE - f))
    store(a, 2 * hidden + j, c * i * (ONE - g * g))
    store(a, 3 * hidden + j, d * s * o * (ONE - o))
    store(dc, j, c * f)


KERNEL = Kernel(
    forward,
    backward,
    of_input=(0, 1, 2, 3),
    of_state=(0, 1, 2, 3),
    products=(Product(0, 4),),
    by_torch=torch.lstm,
    gates=("input", "forget", "candidate", "output"),
    keeps_cell=True,
)
