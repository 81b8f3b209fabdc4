"""Fast products of small matrices, computed in tiles that fit into the processor's registers.

A recurrent layer multiplies a few rows by the same weights at every time step. BLAS packs (copies
and reorders) the weights again at each call, which takes as long as the product itself. The kernels
of lookback pack the weights once per pass over the layer.
"""

import numpy as np

from lookback.kernels.compiled import Array, Backward, Saved, compiled, inlined
from lookback.kernels.machine import TILE, UNIT
from lookback.kernels.tile import UNITS, tile
from lookback.kernels.vectors import FEWER, FLOAT, load, row, store

ROWS = TILE.rows  # the row count of every product is a multiple of ROWS
WHOLE = max(1, TILE.lanes // UNIT)  # units in the smallest number of whole vectors


@inlined
def _units(columns: int) -> int:
    """The number of units (8 columns each) in the next panel, if `columns` columns remain.

    A panel is a block of columns that is as wide as a tile. The last two panels share the remaining
    units equally, because in a narrow panel, additions would wait for the results of earlier
    additions. The first of both has whole vectors only.
    """
    remaining = columns // UNIT
    if remaining <= UNITS:
        return remaining
    half = (remaining + 1) // 2
    return min(UNITS, (half + WHOLE - 1) // WHOLE * WHOLE)


@compiled
def _product(
    rows: int,
    columns: int,
    depth: int,
    a: int,
    a_row: int,
    a_step: int,
    b: int,
    out: int,
    out_row: int,
    adds: bool,
) -> None:
    """Set the matrix `out` (rows, columns) to a · b, or add a · b to `out` if `adds` is true.

    `columns` must be a multiple of 8, and `depth` at least 1.
    """
    column = 0
    while column < columns:
        units = _units(columns - column)
        for r in range(0, rows, ROWS):
            start, to = a + FLOAT * r * a_row, out + FLOAT * (column + r * out_row)
            tile(units, adds, depth, start, a_row, a_step, b, to, out_row)
        b += FLOAT * depth * units * UNIT
        column += units * UNIT


@compiled
def multiply(
    rows: int,
    columns: int,
    depth: int,
    a: Array,
    first: int,
    column: int,
    packed: Array,
    out: Array,
    to: int,
    out_column: int,
) -> None:
    """Write a[first:first+rows, column:] · packed to out[to:to+rows, out_column:]."""
    _product(
        rows,
        columns,
        depth,
        a[first:, column:].ctypes.data,
        a.shape[1],
        1,
        packed.ctypes.data,
        out[to:, out_column:].ctypes.data,
        out.shape[1],
        False,
    )


@compiled
def pass_back(
    back: Backward, grad_a: Array, gathered: int, start: int, count: int, t: int, first: int
) -> None:
    """Compute the gradient of x_t, if needed, from `count` columns of the gradient `grad_a`."""
    if back.inputs.size:
        columns, rows = back.inputs.shape[2], grad_a.shape[0] // back.chunk
        into = back.inputs[t]
        multiply(
            rows, columns, count, grad_a, gathered * rows, start, back.to_input, into, first, 0
        )


@compiled
def add_weights(
    saved: Saved,
    back: Backward,
    grad_a: Array,
    gathered: int,
    start: int,
    t: int,
    first: int,
    last: int,
) -> None:
    """Add the contribution of the time steps t to t + `gathered` - 1 to the weights' gradients.

    `grad_a` is the gradient of the pre-activations, with the latest time step first. Only the
    pre-activations in the columns of `grad_a` from `start` on depend on the state h.
    """
    line, of_line = saved.line[t : t + gathered], back.of_line
    if start:
        from_input = (saved.h_start + UNIT - 1) // UNIT * UNIT
        _add_product(grad_a, 0, start, line, first, last, from_input, of_line)
    _add_product(grad_a, start, len(of_line), line, first, last, of_line.shape[1], of_line)


@compiled
def _add_product(
    grad_a: Array,
    start: int,
    end: int,
    line: Array,
    first: int,
    last: int,
    columns: int,
    weight: Array,
) -> None:
    """Add grad_a[:, start:end]ᵀ · line[:, first:last] to weight[start:end], in some `columns`.

    `columns` must be a multiple of 8. The columns that exceed those of `line` count as zeros.
    `line` contains the earliest time step first, but `grad_a` contains the latest step first.
    """
    depth = line.shape[0] * (last - first)
    packed = np.empty(depth * columns, np.float32)
    into, place, panel = packed.ctypes.data, 0, 0
    while panel < columns:
        width = _units(columns - panel) * UNIT
        whole = min(width, line.shape[2] - panel) // FEWER * FEWER
        for t in range(line.shape[0] - 1, -1, -1):
            step = line[t]
            for r in range(first, last):
                vector = row(step, r)
                for j in range(0, whole, FEWER):
                    store(into, place + j, load(vector, panel + j, FEWER))
                for j in range(whole, width):
                    packed[place + j] = step[r, panel + j] if panel + j < line.shape[2] else 0
                place += width
        panel += width
    _product(
        end - start,
        columns,
        depth,
        grad_a[:, start:].ctypes.data,
        1,
        grad_a.shape[1],
        into,
        weight[start:].ctypes.data,
        weight.shape[1],
        True,
    )


@compiled
def pack(matrix: Array, packed: Array) -> None:
    """Copy `matrix` (depth, columns) to `packed`, in the order in which tiles read the elements."""
    depth, columns = matrix.shape
    into, place, column = packed.ctypes.data, 0, 0
    while column < columns:
        width = _units(columns - column) * UNIT
        for k in range(depth):
            source = row(matrix, k)
            for j in range(0, width, FEWER):
                store(into, place + j, load(source, column + j, FEWER))
            place += width
        column += width


def padded(size: int, multiple: int = UNIT) -> int:
    """`size` rounded up to a multiple of `multiple`."""
    return -(-size // multiple) * multiple
