"""The kernel of a GRU layer, for the equations in models/gru.py with the setting `reset: after`.

The array `line` contains the vector [x_t, 1, h_{t-1}] for each step t and each row of the batch.
The array `gates` contains n, r, z and s in this order, with s = W_hn h_{t-1} + b_hn. The matrix
products for n, r and z read the input x_t. The matrix products for r, z and s read the state
h_{t-1}. In the equations of the backward pass, ∂y stands for ∂loss/∂y, and a stands for the
pre-activations.

∂n = ∂h (1 - z)      ∂z = ∂h (h_{t-1} - n)      ∂a_n = ∂n (1 - n²)
∂r = ∂a_n s          ∂s = ∂a_n r                ∂a = ∂σ σ (1 - σ) for r and z
∂h_{t-1} = ∂h z + [∂a_r, ∂a_z, ∂s] W_hᵀ    ∂x_t = [∂a_n, ∂a_r, ∂a_z] W_xᵀ    ∂W = lineᵀ ∂a
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
    """Run all time steps of a GRU layer for the rows `first` to `last` (exclusive) of the batch.

    The kernel writes the hidden states to line[1:] and the gates to `gates` (T, R, 4H).
    """
    line, h_start, size, gates, _, lengths = saved
    rows, hidden, past_x = last - first, gates.shape[2] // 4, h_start + size
    steps, whole = longest(saved, first, last), hidden // LANES * LANES
    sums, to_s = np.empty((rows, 4 * hidden), np.float32), 3 * hidden
    for t in range(line.shape[0] - 1):
        now, following, gate_t = line[t], line[t + 1], gates[t % len(gates)]
        if t < steps:
            enter(inputs, saved, t, first, last)
            multiply(rows, hidden, h_start, now, first, 0, packed[0], sums, 0, 0)
            multiply(rows, 2 * hidden, past_x, now, first, 0, packed[1], sums, 0, hidden)
            multiply(rows, hidden, 1 + size, now, first, h_start - 1, packed[2], sums, 0, to_s)
        for r in range(first, last):
            if t >= lengths[r]:
                gate_t[r], following[r, h_start:] = 0, 0
                continue
            a, gate, old = row(sums, r - first), row(gate_t, r), row(now, r)
            new = row(following, r)
            for j in range(0, whole, LANES):
                _activate(a, gate, old, new, h_start, hidden, j, LANES)
            for j in range(whole, hidden, FEWER):
                _activate(a, gate, old, new, h_start, hidden, j, FEWER)


@inlined
def _activate(
    a: int, gate: int, old: int, new: int, h_start: int, hidden: int, j: int, lanes: int
) -> None:
    s = load(a, 3 * hidden + j, lanes)
    r, z = logistic(load(a, hidden + j, lanes)), logistic(load(a, 2 * hidden + j, lanes))
    n = tanh(load(a, j, lanes) + r * s)
    store(gate, j, n)
    store(gate, hidden + j, r)
    store(gate, 2 * hidden + j, z)
    store(gate, 3 * hidden + j, s)
    store(new, h_start + j, n + z * (load(old, h_start + j, lanes) - n))


@compiled
def backward(saved: Saved, back: Backward, first: int, last: int) -> None:
    """Add the contribution of the rows `first` to `last` (exclusive) to the weights' gradients.

    The gradient of all weights is `back.of_line` (4H, ·). If `back.inputs` (T, R, F) is not empty,
    the kernel also writes the inputs' gradient to this array.
    """
    line, h_start, size, gates, _, lengths = saved
    wide, rows, hidden = gates.shape[2], last - first, gates.shape[2] // 4
    whole = hidden // LANES * LANES
    grad_a = np.zeros((back.chunk * rows, wide), np.float32)
    dh, direct = np.zeros((rows, hidden), np.float32), np.zeros((rows, hidden), np.float32)
    gathered = 0
    for t in range(skip_ended(saved, back, first, last) - 1, -1, -1):
        gate_t, old_t = gates[t], line[t]
        for r in range(rows):
            if t >= lengths[first + r]:
                grad_a[gathered * rows + r] = 0
                continue
            add_gradient(back.grad, t, first, r, size, dh)
            gate, old = row(gate_t, first + r), row(old_t, first + r)
            a, dh_r, direct_r = row(grad_a, gathered * rows + r), row(dh, r), row(direct, r)
            for j in range(0, whole, LANES):
                _differentiate(gate, old, a, dh_r, direct_r, h_start, hidden, j, LANES)
            for j in range(whole, hidden, FEWER):
                _differentiate(gate, old, a, dh_r, direct_r, h_start, hidden, j, FEWER)
        multiply(rows, hidden, 3 * hidden, grad_a, gathered * rows, hidden, back.to_state, dh, 0, 0)
        pass_back(back, grad_a, gathered, 0, 3 * hidden, t, first)
        gathered += 1
        if gathered == back.chunk or t == 0:
            add_weights(saved, back, grad_a, gathered, hidden, t, first, last)
            gathered = 0


@inlined
def _differentiate(
    gate: int,
    old: int,
    a: int,
    dh: int,
    direct: int,
    h_start: int,
    hidden: int,
    j: int,
    lanes: int,
) -> None:
    n, r = load(gate, j, lanes), load(gate, hidden + j, lanes)
    z, s = load(gate, 2 * hidden + j, lanes), load(gate, 3 * hidden + j, lanes)
    d = load(dh, j, lanes) + load(direct, j, lanes)
    dn = d * (ONE - z) * (ONE - n * n)
    store(a, j, dn)
    store(a, hidden + j, dn * s * r * (ONE - r))
    store(a, 2 * hidden + j, d * (load(old, h_start + j, lanes) - n) * z * (ONE - z))
    store(a, 3 * hidden + j, dn * r)
    store(direct, j, d * z)


KERNEL = Kernel(
    forward,
    backward,
    of_input=(1, 2, 0),
    of_state=(1, 2, 3),
    products=(Product(0, 1, state=False), Product(1, 3), Product(3, 4, input=False)),
    by_torch=torch.gru,
    gates=("candidate", "reset", "update"),
)
