"""A layer of LSTM through time; the equations are those of models/lstm.py.

A row of `line` at step t is [x_t, 1, h_{t-1}], so one product with [W_x; b; W_h] gives all four
pre-activations. Backward, with ∂ for ∂loss/∂ and a for the pre-activations:

∂o = ∂h tanh(c)    ∂c = ∂c_{t+1} f_{t+1} + ∂h o (1 - tanh²(c))
∂i = ∂c g          ∂f = ∂c c_{t-1}          ∂g = ∂c i
∂a = ∂σ σ (1 - σ) for i, f and o, ∂g (1 - g²) for g
∂h_{t-1} = ∂a W_hᵀ    ∂x_t = ∂a W_xᵀ    ∂W = lineᵀ ∂a
"""

import numpy as np

from lookback.kernels.compiled import Array, Backward, Kept, Strided, compiled
from lookback.kernels.functions import ONE, logistic, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, enter, multiply, pass_back


@compiled
def forward(kept: Kept, inputs: Strided, packed: tuple[Array, ...], first: int, last: int) -> None:
    """Rows first to last: fills line[1:], gates (T, R, 4H) and cells[1:] (T + 1, R, H)."""
    line, before, size, gates, cells = kept
    rows, wide = last - first, gates.shape[2]
    for t in range(line.shape[0] - 1):
        enter(inputs, kept, t, first, last)
        gate_t, old_t = gates[t % len(gates)], cells[t % len(cells)]
        new_t = cells[(t + 1) % len(cells)]
        multiply(rows, wide, before + size, line[t], first, 0, packed[0], gate_t, first, 0)
        for r in range(first, last):
            gate, old, new, h = gate_t[r], old_t[r], new_t[r], line[t + 1, r, before:]
            for j in range(size):
                i, f = logistic(gate[j]), logistic(gate[size + j])
                g, o = tanh(gate[2 * size + j]), logistic(gate[3 * size + j])
                c = f * old[j] + i * g
                gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j] = i, f, g, o
                new[j] = c
                h[j] = o * tanh(c)


@compiled
def backward(kept: Kept, back: Backward, first: int, last: int) -> None:
    """Rows first to last: adds to of_input and of_state (4H, ·), fills inputs (T, R, F)."""
    _, _, size, gates, cells = kept
    wide, rows, hidden, grad = gates.shape[2], last - first, cells.shape[2], back.grad
    sums = np.zeros((back.chunk * rows, wide), np.float32)
    dh, dc = np.zeros((rows, hidden), np.float32), np.zeros((rows, hidden), np.float32)
    held = 0
    for t in range(len(gates) - 1, -1, -1):
        for r in range(rows):
            gate, old, new = gates[t, first + r], cells[t, first + r], cells[t + 1, first + r]
            a, dh_r, dc_r = sums[held * rows + r], dh[r], dc[r]
            given = grad.flat[(first + r) * grad.row + t * grad.step :]
            for j in range(size):
                i, f, g, o = gate[j], gate[size + j], gate[2 * size + j], gate[3 * size + j]
                s = tanh(new[j])
                d = dh_r[j] + given[j]
                c = dc_r[j] + d * o * (ONE - s * s)
                a[j] = c * g * i * (ONE - i)
                a[size + j] = c * old[j] * f * (ONE - f)
                a[2 * size + j] = c * i * (ONE - g * g)
                a[3 * size + j] = d * s * o * (ONE - o)
                dc_r[j] = c * f
        multiply(rows, hidden, wide, sums, held * rows, 0, back.to_state, dh, 0, 0)
        pass_back(back, sums, held, 0, wide, t, first)
        held += 1
        if held == back.chunk or t == 0:
            add_weights(kept, back, sums, held, 0, t, first, last)
            held = 0


KERNEL = Kernel(
    forward,
    backward,
    of_input=(0, 1, 2, 3),
    of_state=(0, 1, 2, 3),
    products=(Product(0, 4),),
    gates=("input", "forget", "candidate", "output"),
    keeps_cell=True,
    dense=True,
)
