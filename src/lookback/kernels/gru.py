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

from lookback.kernels.compiled import Array, Backward, Saved, Strided, compiled
from lookback.kernels.ends import enter, longest, skip_ended
from lookback.kernels.functions import ONE, logistic, tanh
from lookback.kernels.kernel import Kernel, Product
from lookback.kernels.product import add_weights, multiply, pass_back


@compiled
def forward(
    saved: Saved, inputs: Strided, packed: tuple[Array, ...], first: int, last: int
) -> None:
    """Run all time steps of a GRU layer for the rows `first` to `last` (exclusive) of the batch.

    The kernel writes the hidden states to line[1:] and the gates to `gates` (T, R, 4H).
    """
    line, h_start, size, gates, _, lengths = saved
    rows, hidden, whole = last - first, gates.shape[2] // 4, h_start + size
    steps = longest(saved, first, last)
    for t in range(line.shape[0] - 1):
        now, gate_t = line[t], gates[t % len(gates)]
        if t < steps:
            enter(inputs, saved, t, first, last)
            to_s = 3 * hidden
            multiply(rows, hidden, h_start, now, first, 0, packed[0], gate_t, first, 0)
            multiply(rows, 2 * hidden, whole, now, first, 0, packed[1], gate_t, first, hidden)
            multiply(
                rows, hidden, 1 + size, now, first, h_start - 1, packed[2], gate_t, first, to_s
            )
        for r in range(first, last):
            gate, old, new = gate_t[r], line[t, r, h_start:], line[t + 1, r, h_start:]
            if t >= lengths[r]:
                gate[:], new[:] = 0, 0
                continue
            for j in range(hidden):
                reset, z = logistic(gate[hidden + j]), logistic(gate[2 * hidden + j])
                n = tanh(gate[j] + reset * gate[3 * hidden + j])
                gate[j], gate[hidden + j], gate[2 * hidden + j] = n, reset, z
                new[j] = n + z * (old[j] - n)


@compiled
def backward(saved: Saved, back: Backward, first: int, last: int) -> None:
    """Add the contribution of the rows `first` to `last` (exclusive) to the weights' gradients.

    The weights' gradients are `back.of_input` and `back.of_state`, both of shape (4H, ·). If
    `back.inputs` (T, R, F) is not empty, the kernel also writes the inputs' gradient to this array.
    """
    line, h_start, size, gates, _, lengths = saved
    wide, rows, hidden, grad = gates.shape[2], last - first, gates.shape[2] // 4, back.grad
    grad_a = np.zeros((back.chunk * rows, wide), np.float32)
    dh, direct = np.zeros((rows, hidden), np.float32), np.zeros((rows, hidden), np.float32)
    gathered = 0
    for t in range(skip_ended(saved, back, first, last) - 1, -1, -1):
        for r in range(rows):
            gate, old = gates[t, first + r], line[t, first + r, h_start:]
            a, dh_r, direct_r = grad_a[gathered * rows + r], dh[r], direct[r]
            if t >= lengths[first + r]:
                a[:] = 0
                continue
            grad_h = grad.flat[(first + r) * grad.row + t * grad.step :]
            for j in range(size):
                n, reset = gate[j], gate[hidden + j]
                z, s = gate[2 * hidden + j], gate[3 * hidden + j]
                d = dh_r[j] + direct_r[j] + grad_h[j]
                dn = d * (ONE - z) * (ONE - n * n)
                a[j] = dn
                a[hidden + j] = dn * s * reset * (ONE - reset)
                a[2 * hidden + j] = d * (old[j] - n) * z * (ONE - z)
                a[3 * hidden + j] = dn * reset
                direct_r[j] = d * z
        multiply(rows, hidden, 3 * hidden, grad_a, gathered * rows, hidden, back.to_state, dh, 0, 0)
        pass_back(back, grad_a, gathered, 0, 3 * hidden, t, first)
        gathered += 1
        if gathered == back.chunk or t == 0:
            add_weights(saved, back, grad_a, gathered, hidden, t, first, last)
            gathered = 0


KERNEL = Kernel(
    forward,
    backward,
    of_input=(1, 2, 0),
    of_state=(1, 2, 3),
    products=(Product(0, 1, state=False), Product(1, 3), Product(3, 4, input=False)),
    by_torch=torch.gru,
    gates=("candidate", "reset", "update"),
)
