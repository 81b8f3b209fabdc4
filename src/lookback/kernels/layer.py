"""One recurrent layer as an autograd function over the kernels: (B, T, F) → (B, T, H).

H is filled up with zeros to a multiple of 8 and B to a multiple of 4; zeros stay zeros. Rows of the
batch are carried through all steps in blocks that stay in the cache, shared out among torch's
threads. The output is a view of what the backward pass keeps: nothing is copied.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lookback.kernels.buffers import buffer
from lookback.kernels.compiled import Backward, Kept, Strided
from lookback.kernels.kernel import Kernel
from lookback.kernels.product import ROWS, pack, padded

BLOCK = 32  # rows carried through time together
DEPTH = 128  # rows · steps gathered for one product of the weights' gradient

Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # W_x, W_h, b_x, b_h, as torch's modules hold them


@dataclass(frozen=True)
class Pass:
    """What a forward pass leaves: R rows, and lines of [x, 1, h]."""

    kernel: Kernel
    weights: Float[np.ndarray, "wide width"]  # of all groups, for a whole line
    line: Float[np.ndarray, "time rows width"]
    gates: Float[np.ndarray, "time rows wide"]
    cells: Float[np.ndarray, "time rows hidden"]
    batch: int
    size: int  # H before it was filled up

    @property
    def hidden(self) -> int:
        """H, filled up."""
        return padded(self.size)

    def kept(self) -> Kept:
        """The same as the kernels take it."""
        return Kept(self.line, self.before, self.size, self.gates, self.cells)

    @property
    def before(self) -> int:
        """Columns of a line before its h: F + 1."""
        return int(self.line.shape[2]) - self.hidden

    def outputs(self) -> Float[Tensor, "batch time hidden"]:
        """h_1 … h_T."""
        return self._cut(self.line[1:, :, self.before :])

    def opened(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """States and gates by name, each (B, T, H)."""
        states = {"hidden": self.outputs()}
        if self.kernel.keeps_cell:
            states["cell"] = self._cut(self.cells[1:])
        starts = range(0, self.gates.shape[2], self.kernel.width(self.size))
        gates = zip(self.kernel.gates, starts, strict=False)
        return states, {name: self._cut(self.gates[:, :, start:]) for name, start in gates}

    def _cut(self, kept: Float[np.ndarray, "time rows hidden"]) -> Tensor:
        return torch.from_numpy(kept[:, : self.batch, : self.size]).transpose(0, 1)

    def last(self) -> tuple[Tensor, ...]:
        """The state after the last step, each part (B, H)."""
        parts = [self.outputs()[:, -1]]
        if self.kernel.keeps_cell:
            steps = len(self.line) - 1
            cell = self.cells[steps % len(self.cells), : self.batch, : self.size]
            parts.append(torch.from_numpy(cell))
        return tuple(part.clone() for part in parts)


def applies(inputs: Tensor, weights: Weights) -> bool:
    """Whether the kernels take a layer: on a CPU, its weights in float32, and not empty.

    Under autocast too: they compute in float32, which torch's own LSTM on a CPU cannot do then.
    """
    on_cpu = all(tensor.device.type == "cpu" for tensor in (inputs, *weights))
    single = all(weight.dtype == torch.float32 for weight in weights)
    fits = inputs.dtype == torch.float32 or torch.is_autocast_enabled("cpu")
    return on_cpu and single and fits and inputs.numel() > 0


def open_layer(
    kernel: Kernel, inputs: Float[Tensor, "batch time feature"], weights: Weights
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """States and gates of a layer by name, each (B, T, H), without a graph."""
    return _forward(kernel, (), inputs.float(), weights, keep=True).opened()


def run_layer(
    kernel: Kernel,
    inputs: Float[Tensor, "batch time feature"],
    weights: Weights,
    state: tuple[Tensor, ...] = (),
    *,
    carries: bool = True,
) -> tuple[Float[Tensor, "batch time hidden"], tuple[Tensor, ...]]:
    """The hidden states of a layer that starts at `state`, else at zero, and its last state.

    No gradient flows through either state: the graph is cut there. Where it does not `carry` on,
    the last state is left out.
    """
    inputs = inputs.float()
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (inputs, *weights)):
        outputs, *last = _Layer.apply(kernel, carries, state, inputs, *weights)  # type: ignore[no-untyped-call]
        return outputs, tuple(last)
    made = _forward(kernel, state, inputs, weights, keep=False)
    return made.outputs(), made.last() if carries else ()


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, carries: bool, state: Any, inputs: Tensor, *weights: Tensor
    ) -> Any:
        ctx.made = _forward(kernel, state, inputs, weights, keep=True)
        last = ctx.made.last() if carries else ()
        ctx.mark_non_differentiable(*last)
        return ctx.made.outputs(), *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> Any:
        of_inputs, of_weights = _backward(ctx.made, grad, of_inputs=ctx.needs_input_grad[3])
        return None, None, None, of_inputs, *of_weights


def _forward(
    kernel: Kernel,
    state: tuple[Tensor, ...],
    inputs: Float[Tensor, "batch time feature"],
    weights: tuple[Tensor, ...],
    *,
    keep: bool,
) -> Pass:
    batch, steps, _ = inputs.shape
    size, rows = weights[1].shape[1], padded(batch, ROWS)
    whole = _whole(kernel, *(weight.detach().numpy() for weight in weights))
    (wide, width), hidden = whole.shape, padded(size)
    times = steps if keep else 1  # without a backward pass nothing but the lines is looked at again
    gates = (times if kernel.gates else 0, rows, wide)
    cells = (times + 1 if kernel.keeps_cell else 0, rows, hidden)
    line = buffer((steps + 1, rows, width))
    made = Pass(kernel, whole, line, buffer(gates), buffer(cells), batch, size)
    before = made.before
    starts = [line[0, :, before:], *made.cells[:1]]
    for place in starts:
        place[:] = 0
    line[1:, :, before + size :] = 0  # the filling, which a dense kernel does not write
    for place, start in zip(starts, state, strict=bool(state)):
        place[:batch, :size] = start.detach().numpy()
    group = kernel.width(size)
    packed = tuple(
        _packed(
            whole[
                product.first * group : padded(product.past * group),
                (0 if product.input else before - 1) : (before + size if product.state else before),
            ].T
        )
        for product in kernel.products
    )
    given = _flat(inputs, rows)
    _share(
        rows,
        lambda first, last: kernel.forward(made.kept(), given, packed, first, last),
    )
    return made


def _backward(
    made: Pass, grad: Float[Tensor, "batch time hidden"], *, of_inputs: bool
) -> tuple[Tensor | None, list[Tensor]]:
    kernel, hidden, before = made.kernel, made.hidden, made.before
    steps, rows, features = len(made.line) - 1, made.line.shape[1], before - 1
    wide, group, groups = len(made.weights), kernel.width(made.size), kernel.groups
    to_state = made.weights[min(kernel.of_state) * group :, before:]
    to_input = np.zeros((padded(len(kernel.of_input) * group), padded(features)), np.float32)
    to_input[:, :features] = made.weights[: len(to_input), :features]
    to_state, to_input = _packed(to_state), _packed(to_input)
    inputs = buffer((steps if of_inputs else 0, rows, padded(features)))
    given = _flat(grad, rows)
    parts = []

    def through(first: int, last: int) -> None:
        of_input = np.zeros((wide, padded(before)), np.float32)
        of_state = np.zeros((wide, hidden), np.float32)
        parts.append((first, of_input, of_state))
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            chunk = max(1, DEPTH // (end - start))
            back = Backward(given, to_state, to_input, chunk, of_input, of_state, inputs)
            kernel.backward(made.kept(), back, start, end)

    _share(rows, through)
    parts.sort(key=lambda part: part[0])  # the same sum whichever thread was first
    of_input, of_state = (
        np.sum(halves, axis=0)[: groups * group].reshape(groups, group, -1)[:, : made.size]
        for halves in zip(*(part[1:] for part in parts), strict=True)
    )
    ours = [
        of_input[list(kernel.of_input), :, :features],
        of_state[list(kernel.of_state), :, : made.size],
        of_input[list(kernel.of_input), :, features],
        of_input[list(kernel.of_state), :, features],
    ]
    found = [torch.from_numpy(it.reshape(-1, *it.shape[2:])) for it in ours]
    if not of_inputs:
        return None, found
    return torch.from_numpy(inputs[:, : made.batch, :features]).transpose(0, 1), found


def _whole(
    kernel: Kernel, w_x: np.ndarray, w_h: np.ndarray, b_x: np.ndarray, b_h: np.ndarray
) -> Float[np.ndarray, "wide width"]:
    """The groups' weights for a whole line [x, 1, h], zero where one does not meet a part."""
    size, features = w_h.shape[1], w_x.shape[1]
    group = kernel.width(size)
    whole = np.zeros((padded(kernel.groups * group), features + 1 + padded(size)), np.float32)
    for gate, places in enumerate(zip(kernel.of_input, kernel.of_state, strict=True)):
        own = slice(gate * size, (gate + 1) * size)
        from_x, from_h = (whole[place * group : place * group + size] for place in places)
        from_x[:, :features] = w_x[own]
        from_x[:, features] += b_x[own]
        from_h[:, features] += b_h[own]
        from_h[:, features + 1 : features + 1 + size] = w_h[own]
    return whole


def _packed(matrix: Float[np.ndarray, "depth column"]) -> Float[np.ndarray, " size"]:
    packed = np.empty(matrix.size, np.float32)
    pack(np.ascontiguousarray(matrix), packed)
    return packed


def _flat(tensor: Float[Tensor, "batch time width"], rows: int) -> Strided:
    """A tensor's memory; copied only where it lacks rows or its last axis is spread."""
    tensor = tensor.detach()
    batch, steps, width = tensor.shape
    if rows != batch:
        tensor = functional.pad(tensor, (0, 0, 0, 0, 0, rows - batch))
    if tensor.stride(2) != 1:
        tensor = tensor.contiguous()
    row, step, _ = tensor.stride()
    size = (rows - 1) * row + (steps - 1) * step + width
    return Strided(tensor.as_strided((size,), (1,)).numpy(), row, step)


def _share(rows: int, work: Callable[[int, int], None]) -> None:
    """Call `work` on blocks of rows, on as many threads as torch has."""
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
