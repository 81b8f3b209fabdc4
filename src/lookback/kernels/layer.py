"""Run one recurrent layer with the compiled kernels, as a torch autograd function.

The layer maps inputs of shape (B, T, F) to hidden states of shape (B, T, H). H is padded to a
multiple of 8 with hidden units that stay zero. The batch is padded with rows of empty sequences
(ends.py), so that its size B is a multiple of the rows of a tile. The rows of the batch are divided
among as many threads as torch uses. A thread runs a block of rows through all time steps, so that
the data of the block stay in the processor's cache. The output tensor is a view of the array that
the backward pass reads, so the hidden states are not copied.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lookback.kernels.buffers import buffer
from lookback.kernels.by_torch import differentiable_gradients
from lookback.kernels.compiled import Backward, Lengths, Saved, Strided
from lookback.kernels.kernel import Kernel
from lookback.kernels.product import ROWS, pack, padded

BLOCK = 64  # maximum number of rows of the batch in one call of a kernel
DEPTH = 128  # maximum number of (row, step) pairs in one matrix product for weight gradients

# W_x, W_h, b_x and b_h of a layer, in the shapes in which torch's recurrent modules store them.
Weights = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class ForwardPass:
    """The arrays of one forward pass. The axis `rows` is the batch, padded to whole tiles.

    The array `line` contains the vector [x_t, 1, h_{t-1}] for each step t and each row.
    """

    kernel: Kernel
    weights: Float[np.ndarray, "wide width"]  # one row of weights for each pre-activation
    line: Float[np.ndarray, "time rows width"]
    gates: Float[np.ndarray, "time rows wide"]
    cells: Float[np.ndarray, "time rows hidden"]
    lengths: Lengths  # the number of steps of the sequence in each row
    batch: int
    size: int  # H without padding

    @property
    def hidden(self) -> int:
        """The number of hidden units H, padded to a multiple of 8."""
        return padded(self.size)

    def saved(self) -> Saved:
        """The arrays of this forward pass, as the first argument (`Saved`) of a kernel."""
        return Saved(self.line, self.h_start, self.size, self.gates, self.cells, self.lengths)

    @property
    def h_start(self) -> int:
        """The index F + 1 at which h starts in the vector [x, 1, h]."""
        return int(self.line.shape[2]) - self.hidden

    def outputs(self) -> Float[Tensor, "batch time hidden"]:
        """The hidden states h_1 … h_T (B, T, H), as a view that leaves out the padding."""
        return self._unpadded(self.line[1:, :, self.h_start :])

    def opened(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The states and the gates, as two dictionaries from names to tensors (B, T, H)."""
        states = {"hidden": self.outputs()}
        if self.kernel.keeps_cell:
            states["cell"] = self._unpadded(self.cells[1:])
        starts = range(0, self.gates.shape[2], self.hidden)
        gates = zip(self.kernel.gates, starts, strict=False)
        return states, {name: self._unpadded(self.gates[:, :, start:]) for name, start in gates}

    def _unpadded(self, array: Float[np.ndarray, "time rows hidden"]) -> Tensor:
        return torch.from_numpy(array[:, : self.batch, : self.size]).transpose(0, 1)

    def last(self) -> tuple[Tensor, ...]:
        """Copies of h and, in an LSTM, of c after the last time step, each of shape (B, H).

        The state of a sequence that ends before the last time step is zero.
        """
        parts = [self.outputs()[:, -1]]
        if self.kernel.keeps_cell:
            steps = len(self.line) - 1
            cell = self.cells[steps % len(self.cells), : self.batch, : self.size]
            parts.append(torch.from_numpy(cell))
        return tuple(part.clone() for part in parts)


def applies(inputs: Tensor, weights: Weights) -> bool:
    """Whether the kernels can run a layer with these `inputs` and `weights`.

    The tensors must be on a CPU, the weights must be float32, and the inputs must not be empty. The
    kernels compute in float32 even under autocast, where torch's LSTM computes in lower precision.
    """
    on_cpu = all(tensor.device.type == "cpu" for tensor in (inputs, *weights))
    single = all(weight.dtype == torch.float32 for weight in weights)
    fits = inputs.dtype == torch.float32 or torch.is_autocast_enabled("cpu")
    return on_cpu and single and fits and inputs.numel() > 0


def open_layer(
    kernel: Kernel,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
    weights: Weights,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The states and the gates of a layer, as two dictionaries of tensors (B, T, H).

    They are zero after the last step of each sequence. The returned tensors belong to no autograd
    graph.
    """
    return _forward(kernel, (), inputs.float(), lengths, weights, keep=True).opened()


def run_layer(
    kernel: Kernel,
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
    weights: Weights,
    state: tuple[Tensor, ...] = (),
    *,
    carries: bool = True,
) -> tuple[Float[Tensor, "batch time hidden"], tuple[Tensor, ...]]:
    """The hidden states of a layer at all time steps, and the layer's state after the last step.

    The layer starts with the state `state`, or with zeros if `state` is empty. The hidden states
    and the last state are zero after the last step of each sequence. No gradient flows through the
    returned last state. If `carries` is false, the function returns an empty tuple instead of the
    last state. Gradients of any order are possible. The kernels compute the first gradient, unless
    `create_graph=True` asks for its graph (by_torch.py). Raises ValueError if `state` requires a
    gradient, because no gradient flows to `state`.
    """
    inputs = inputs.float()
    if torch.is_grad_enabled() and any(part.requires_grad for part in state):
        raise ValueError("No gradient flows to the state that a layer starts with. Detach it.")
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (inputs, *weights)):
        outputs, *last = _Layer.apply(kernel, carries, state, lengths, inputs, *weights)  # type: ignore[no-untyped-call]
        return outputs, tuple(last)
    forward_pass = _forward(kernel, state, inputs, lengths, weights, keep=False)
    return forward_pass.outputs(), forward_pass.last() if carries else ()


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        carries: bool,
        state: Any,
        lengths: Tensor,
        inputs: Tensor,
        *weights: Tensor,
    ) -> Any:
        ctx.forward_pass = _forward(kernel, state, inputs, lengths, weights, keep=True)
        outputs = ctx.forward_pass.outputs()
        last = ctx.forward_pass.last() if carries else ()
        ctx.mark_non_differentiable(*last)
        # The backward pass reads the memory of `outputs`. torch remembers the versions of saved
        # tensors, and raises an error in `backward` if one of them was overwritten.
        ctx.save_for_backward(outputs, lengths, inputs, *weights, *state)
        return outputs, *last

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> Any:
        _, lengths, *tensors = ctx.saved_tensors
        none = (None,) * 4
        if torch.is_grad_enabled():  # only with create_graph=True
            kernel, needed = ctx.forward_pass.kernel, ctx.needs_input_grad[4:]
            return *none, *differentiable_gradients(kernel, tensors, lengths, grad, needed)
        of_inputs, of_weights = _backward(ctx.forward_pass, grad, of_inputs=ctx.needs_input_grad[4])
        return *none, of_inputs, *of_weights


def _forward(
    kernel: Kernel,
    state: tuple[Tensor, ...],
    inputs: Float[Tensor, "batch time feature"],
    lengths: Int[Tensor, " batch"],
    weights: tuple[Tensor, ...],
    *,
    keep: bool,
) -> ForwardPass:
    batch, steps, _ = inputs.shape
    size, rows = weights[1].shape[1], padded(batch, ROWS)
    line_weights = _line_weights(kernel, *(weight.detach().numpy() for weight in weights))
    (wide, width), hidden = line_weights.shape, padded(size)
    times = steps if keep else 1  # only a backward pass needs the gates of all steps
    gates = (times if kernel.gates else 0, rows, wide)
    cells = (times + 1 if kernel.keeps_cell else 0, rows, hidden)
    line, ends = buffer((steps + 1, rows, width)), np.zeros(rows, np.int64)
    ends[:batch] = lengths.clamp(0, steps).numpy()
    forward_pass = ForwardPass(
        kernel, line_weights, line, buffer(gates), buffer(cells), ends, batch, size
    )
    h_start = forward_pass.h_start
    first_state = [line[0, :, h_start:], *forward_pass.cells[:1]]
    for part in first_state:
        part[:] = 0
    for part, start in zip(first_state, state, strict=bool(state)):
        part[:batch, :size] = start.detach().numpy()
    packed = tuple(
        _packed(
            line_weights[
                product.first * hidden : product.past * hidden,
                (0 if product.input else h_start - 1) : h_start + (size if product.state else 0),
            ].T
        )
        for product in kernel.products
    )
    saved, strided_inputs = forward_pass.saved(), _strided(inputs)

    def run_rows(first: int, last: int) -> None:
        for start in range(first, last, BLOCK):
            kernel.forward(saved, strided_inputs, packed, start, min(start + BLOCK, last))

    _run_in_threads(rows, run_rows)
    return forward_pass


def _backward(
    forward_pass: ForwardPass, grad: Float[Tensor, "batch time hidden"], *, of_inputs: bool
) -> tuple[Tensor | None, list[Tensor]]:
    kernel, saved, line_weights = forward_pass.kernel, forward_pass.saved(), forward_pass.weights
    hidden, h_start, size = forward_pass.hidden, forward_pass.h_start, forward_pass.size
    steps, rows, features = len(saved.line) - 1, saved.line.shape[1], h_start - 1
    (wide, width), groups = line_weights.shape, kernel.groups
    to_state = line_weights[min(kernel.of_state) * hidden :, h_start:]
    to_input = np.zeros((len(kernel.of_input) * hidden, padded(features)), np.float32)
    to_input[:, :features] = line_weights[: len(to_input), :features]
    to_state, to_input = _packed(to_state), _packed(to_input)
    inputs = buffer((steps if of_inputs else 0, rows, padded(features)))
    strided_grad = _strided(grad)
    parts = []

    def run_rows(first: int, last: int) -> None:
        of_line = np.zeros((wide, padded(width)), np.float32)
        parts.append((first, of_line))
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            chunk = max(1, DEPTH // (end - start))
            back = Backward(strided_grad, to_state, to_input, chunk, of_line, inputs)
            kernel.backward(saved, back, start, end)

    _run_in_threads(rows, run_rows)
    # In a fixed order of the summands, rounding does not depend on which thread finishes first.
    parts.sort(key=lambda part: part[0])
    of_line = np.sum([part for _, part in parts], axis=0).reshape(groups, hidden, -1)[:, :size]
    by_gate = [
        of_line[list(kernel.of_input), :, :features],
        of_line[list(kernel.of_state), :, h_start : h_start + size],
        of_line[list(kernel.of_input), :, features],
        of_line[list(kernel.of_state), :, features],
    ]
    of_weights = [torch.from_numpy(g.reshape(-1, *g.shape[2:])) for g in by_gate]
    if not of_inputs:
        return None, of_weights
    return torch.from_numpy(inputs[:, : forward_pass.batch, :features]).transpose(0, 1), of_weights


def _line_weights(
    kernel: Kernel, w_x: np.ndarray, w_h: np.ndarray, b_x: np.ndarray, b_h: np.ndarray
) -> Float[np.ndarray, "wide width"]:
    """The weight matrix that maps the vector [x, 1, h] to the pre-activations of all groups.

    The matrix contains zeros where the pre-activations of a group do not depend on x or on h.
    """
    size, features = w_h.shape[1], w_x.shape[1]
    group = padded(size)
    whole = np.zeros((kernel.groups * group, features + 1 + group), np.float32)
    for gate, places in enumerate(zip(kernel.of_input, kernel.of_state, strict=True)):
        gate_rows = slice(gate * size, (gate + 1) * size)
        from_x, from_h = (whole[place * group : place * group + size] for place in places)
        from_x[:, :features] = w_x[gate_rows]
        from_x[:, features] += b_x[gate_rows]
        from_h[:, features] += b_h[gate_rows]
        from_h[:, features + 1 : features + 1 + size] = w_h[gate_rows]
    return whole


def _packed(matrix: Float[np.ndarray, "depth column"]) -> Float[np.ndarray, " size"]:
    packed = np.empty(matrix.size, np.float32)
    pack(np.ascontiguousarray(matrix), packed)
    return packed


def _strided(tensor: Float[Tensor, "batch time width"]) -> Strided:
    """The memory of a tensor, which is copied only if the last axis is not contiguous."""
    tensor = tensor.detach()
    batch, steps, width = tensor.shape
    if tensor.stride(2) != 1:
        tensor = tensor.contiguous()
    row, step, _ = tensor.stride()
    size = (batch - 1) * row + (steps - 1) * step + width
    return Strided(tensor.as_strided((size,), (1,)).numpy(), row, step)


def _run_in_threads(rows: int, work: Callable[[int, int], None]) -> None:
    """Call `work(first, last)` for each block of rows, in at most as many threads as torch uses."""
    threads = min(torch.get_num_threads(), rows // ROWS)
    size = padded(-(-rows // threads), ROWS)
    ranges = [(first, min(first + size, rows)) for first in range(0, rows, size)]
    if threads == 1:
        work(*ranges[0])
    else:
        list(_pool(threads).map(lambda part: work(*part), ranges))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lookback-layer")
