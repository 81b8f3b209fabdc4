"""Fast products of small matrices, computed in tiles that fit into the processor's registers.

A recurrent layer multiplies a few rows by the same weights at every time step. BLAS packs (copies
and reorders) the weights again at each call, which takes as long as the product itself. The kernels
of lookback pack the weights once per pass over the layer. A tile is a block of the product matrix.
The sums of a tile stay in registers until the tile is complete [goto2008], so the size of the tile
depends on the processor (machine.py). The code of a tile is written as LLVM vector instructions,
because the compiler does not keep the sums in registers if the code consists of scalar loops.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from lookback.kernels.compiled import Array, Backward, Saved, compiled, inlined
from lookback.kernels.machine import TILE, UNIT, Tile
from lookback.kernels.vectors import FEWER, FLOAT, SINGLE, load, row, spread, store

ROWS = TILE.rows  # the row count of every product is a multiple of ROWS
UNITS = TILE.units  # maximum number of units of 8 columns in a tile
WHOLE = max(1, TILE.lanes // UNIT)  # units in the smallest number of whole vectors
INT = ir.IntType(64)


@intrinsic
def _tile(
    typing: Any,
    units: Any,
    adds: Any,
    depth: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    out: Any,
    out_row: Any,
) -> Any:
    """Set the tile `out` to a · b, or add a · b to `out` if `adds` is true.

    The tile has `ROWS` rows and `units` · 8 columns, with at most `UNITS` units. The function takes
    addresses in bytes and strides in floats. The element a[i, k] has the offset
    i · a_row + k · a_step from the address `a`. The matrix b must be packed by `pack`.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, adding, *rest = arguments
        chosen = builder.add(builder.mul(count, INT(2)), builder.zext(adding, INT))
        done = builder.append_basic_block("tiled")
        switch = builder.switch(chosen, done)
        for size in range(1, UNITS + 1):
            for starts_with_out in (False, True):
                block = builder.append_basic_block("tile")
                switch.add_case(INT(2 * size + starts_with_out), block)
                builder.position_at_end(block)
                emit_tile(builder, TILE, size, starts_with_out, *rest)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(types.intp, types.boolean, *[types.intp] * 7), emit


def emit_tile(
    builder: Any,
    machine: Tile,
    units: int,
    adds: bool,
    depth: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    out: Any,
    out_row: Any,
) -> None:
    """Write the LLVM code of a tile of `units` units of 8 columns for a processor `machine`.

    The other arguments are those of `_tile`, as LLVM values.
    """
    width = units * UNIT
    columns = _vectors(machine, width)
    cells = [(i, column) for i in range(machine.rows) for column in columns]
    places = [_at(builder, out, lanes, (out_row, i), (INT(1), j)) for i, (j, lanes) in cells]
    starts = [
        builder.load(place, align=FLOAT) if adds else ir.Constant(place.type.pointee, [0.0] * lanes)
        for place, (_, (_, lanes)) in zip(places, cells, strict=True)
    ]

    before, loop = builder.block, builder.append_basic_block("depth")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, sums = builder.phi(INT), [builder.phi(start.type) for start in starts]
    panel = builder.mul(k, INT(width))
    weights = {
        j: builder.load(_at(builder, b, lanes, (panel, 1), (INT(1), j)), align=FLOAT)
        for j, lanes in columns
    }
    numbers = [
        builder.load(_at(builder, a, 1, (a_row, i), (a_step, k)), align=FLOAT)
        for i in range(machine.rows)
    ]
    ends = [
        _fused(builder, spread(builder, numbers[i], lanes), weights[j], total)
        for (i, (j, lanes)), total in zip(cells, sums, strict=True)
    ]
    following = builder.add(k, INT(1))
    for phi, start, end in zip([k, *sums], [INT(0), *starts], [following, *ends], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(end, loop)
    after = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    for place, end in zip(places, ends, strict=True):
        builder.store(end, place, align=FLOAT)


def _vectors(machine: Tile, width: int) -> list[tuple[int, int]]:
    """The vectors (first column, number of lanes) of a tile with `width` columns.

    All vectors are as wide as the registers, except the last one, which may have 8 lanes.
    """
    starts = range(0, width, machine.lanes)
    return [(start, min(machine.lanes, width - start)) for start in starts]


def _at(builder: Any, base: Any, lanes: int, *steps: tuple[Any, Any]) -> Any:
    """A pointer to `lanes` floats at the address `base` plus the sum of all offsets in `steps`.

    Each offset is a pair (stride, count) and stands for stride · count floats.
    """
    for stride, count in steps:
        times = count if isinstance(count, ir.Value) else INT(count)
        base = builder.add(base, builder.mul(INT(FLOAT), builder.mul(stride, times)))
    kind = SINGLE if lanes == 1 else ir.VectorType(SINGLE, lanes)
    return builder.inttoptr(base, kind.as_pointer())


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum a · b + c, rounded only once if the processor has a fused multiply-add."""
    return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


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
            _tile(units, adds, depth, start, a_row, a_step, b, to, out_row)
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
    place = column = 0
    while column < columns:
        width = _units(columns - column) * UNIT
        for k in range(depth):
            for j in range(width):
                packed[place + j] = matrix[k, column + j]
            place += width
        column += width


def padded(size: int, multiple: int = UNIT) -> int:
    """`size` rounded up to a multiple of `multiple`."""
    return -(-size // multiple) * multiple
