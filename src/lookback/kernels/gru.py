"""A layer of GRU through time; the equations are those of models/gru.py, reset after the product.

A row of `line` at step t is [x_t, 1, h_{t-1}]. The gates lie as n, r, z, s = W_hn h_{t-1} + b_hn: x
meets the first three, h the last three. Backward, with ∂ for ∂loss/∂ and a for the
pre-activations:

∂n = ∂h (1 - z)      ∂z = ∂h (h_{t-1} - n)      ∂a_n = ∂n (1 - n²)
∂r = ∂a_n s          ∂s = ∂a_n r                ∂a = ∂σ σ (1 - σ) for r and z
∂h_{t-1} = ∂h z + [∂a_r, ∂a_z, ∂s] W_hᵀ    ∂x_t = [∂a_n, ∂a_r, ∂a_z] W_xᵀ    ∂W = lineᵀ ∂a
"""

import numpy as np

from lookback.kernels.compiled import Array, Backward, Kept, Strided, compiled
from lookback.kernels.functions import ONE, logistic, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, enter, multiply, pass_back


@compiled
def forward(kept: Kept, inputs: Strided, packed: tuple[Array, ...], first: int, last: int) -> None:
    """Rows first to last: fills line[1:] and gates (T, R, 4H)."""
    line, before, size, gates, _ = kept
    rows, hidden, whole = last - first, gates.shape[2] // 4, before + size
    for t in range(line.shape[0] - 1):
        enter(inputs, kept, t, first, last)
        now, gate_t = line[t], gates[t % len(gates)]
        multiply(rows, hidden, before, now, first, 0, packed[0], gate_t, first, 0)
        multiply(rows, 2 * hidden, whole, now, first, 0, packed[1], gate_t, first, hidden)
        multiply(
            rows, hidden, 1 + size, now, first, before - 1, packed[2], gate_t, first, 3 * hidden
        )
        for r in range(first, last):
            gate, old, new = gate_t[r], line[t, r, before:], line[t + 1, r, before:]
            for j in range(hidden):
                reset, z = logistic(gate[hidden + j]), logistic(gate[2 * hidden + j])
                n = tanh(gate[j] + reset * gate[3 * hidden + j])
                gate[j], gate[hidden + j], gate[2 * hidden + j] = n, reset, z
                new[j] = n + z * (old[j] - n)


@compiled
def backward(kept: Kept, back: Backward, first: int, last: int) -> None:
    """Rows first to last: adds to of_input and of_state (4H, ·), fills inputs (T, R, F)."""
    line, before, size, gates, _ = kept
    wide, rows, hidden, grad = gates.shape[2], last - first, gates.shape[2] // 4, back.grad
    sums = np.zeros((back.chunk * rows, wide), np.float32)
    dh, direct = np.zeros((rows, hidden), np.float32), np.zeros((rows, hidden), np.float32)
    held = 0
    for t in range(len(gates) - 1, -1, -1):
        for r in range(rows):
            gate, old = gates[t, first + r], line[t, first + r, before:]
            a, dh_r, direct_r = sums[held * rows + r], dh[r], direct[r]
            given = grad.flat[(first + r) * grad.row + t * grad.step :]
            for j in range(size):
                n, reset = gate[j], gate[hidden + j]
                z, s = gate[2 * hidden + j], gate[3 * hidden + j]
                d = dh_r[j] + direct_r[j] + given[j]
                dn = d * (ONE - z) * (ONE - n * n)
                a[j] = dn
                a[hidden + j] = dn * s * reset * (ONE - reset)
                a[2 * hidden + j] = d * (old[j] - n) * z * (ONE - z)
                a[3 * hidden + j] = dn * reset
                direct_r[j] = d * z
        multiply(rows, hidden, 3 * hidden, sums, held * rows, hidden, back.to_state, dh, 0, 0)
        pass_back(back, sums, held, 0, 3 * hidden, t, first)
        held += 1
        if held == back.chunk or t == 0:
            add_weights(kept, back, sums, held, hidden, t, first, last)
            held = 0


KERNEL = Kernel(
    forward,
    backward,
    of_input=(1, 2, 0),
    of_state=(1, 2, 3),
    products=(Product(0, 1, state=False), Product(1, 3), Product(3, 4, input=False)),
    gates=("candidate", "reset", "update"),
)
