"""A layer of GRU through time; the equations are those of models/gru.py, reset after the product.

A row of `line` at step t is [x_t, 1, h_{t-1}]. The gates lie as n, r, z, s = W_hn h_{t-1} + b_hn: x
meets the first three, h the last three. Backward, with ∂ for ∂loss/∂ and a for the
pre-activations:

∂n = ∂h (1 - z)      ∂z = ∂h (h_{t-1} - n)      ∂a_n = ∂n (1 - n²)
∂r = ∂a_n s          ∂s = ∂a_n r                ∂a = ∂σ σ (1 - σ) for r and z
∂h_{t-1} = ∂h z + [∂a_r, ∂a_z, ∂s] W_hᵀ    ∂x_t = [∂a_n, ∂a_r, ∂a_z] W_xᵀ    ∂W = lineᵀ ∂a
"""

import numpy as np

from lookback.kernels.compiled import Array, Strided, compiled
from lookback.kernels.functions import ONE, logistic, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, enter, multiply


@compiled
def forward(
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
    """Rows first to last: fills line[1:] and gates (T, R, 4H)."""
    rows, hidden = last - first, gates.shape[2] // 4
    for t in range(line.shape[0] - 1):
        enter(inputs, t, line, before, first, last)
        now, gate_t = line[t], gates[t % len(gates)]
        multiply(rows, hidden, before, now, first, 0, packed[0], gate_t, first, 0)
        multiply(rows, 2 * hidden, before + size, now, first, 0, packed[1], gate_t, first, hidden)
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
def backward(
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
    """Rows first to last: adds to of_input and of_state (4H, ·), fills inputs (T, R, F)."""
    wide, rows, hidden = gates.shape[2], last - first, gates.shape[2] // 4
    sums = np.zeros((chunk * rows, wide), np.float32)
    room = np.empty(chunk * rows * max(of_input.shape[1], of_state.shape[1]), np.float32)
    dh, direct = np.zeros((rows, hidden), np.float32), np.zeros((rows, hidden), np.float32)
    held = 0
    for t in range(gates.shape[0] - 1, -1, -1):
        for r in range(rows):
            gate, old = gates[t, first + r], line[t, first + r, before:]
            a, dh_r, direct_r = sums[held * rows + r], dh[r], direct[r]
            given = grad.flat[(first + r) * grad.row + t * grad.step :]
            for j in range(size):
                n, reset, z, s = (
                    gate[j],
                    gate[hidden + j],
                    gate[2 * hidden + j],
                    gate[3 * hidden + j],
                )
                d = dh_r[j] + direct_r[j] + given[j]
                dn = d * (ONE - z) * (ONE - n * n)
                a[j] = dn
                a[hidden + j] = dn * s * reset * (ONE - reset)
                a[2 * hidden + j] = d * (old[j] - n) * z * (ONE - z)
                a[3 * hidden + j] = dn * reset
                direct_r[j] = d * z
        multiply(rows, hidden, 3 * hidden, sums, held * rows, hidden, packed[0], dh, 0, 0)
        if inputs.size:
            multiply(
                rows,
                inputs.shape[2],
                3 * hidden,
                sums,
                held * rows,
                0,
                packed[1],
                inputs[t],
                first,
                0,
            )
        held += 1
        if held == chunk or t == 0:
            add_weights(sums, 0, wide, line[t:], held, first, last, 0, room, of_input)
            add_weights(
                sums, hidden, 3 * hidden, line[t:], held, first, last, before, room, of_state
            )
            held = 0


KERNEL = Kernel(
    forward,
    backward,
    of_input=(1, 2, 0),
    of_state=(1, 2, 3),
    products=(Product(0, 1, state=False), Product(1, 3), Product(3, 4, input=False)),
    gates=("candidate", "reset", "update"),
)
