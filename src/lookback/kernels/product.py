"""Fast products of small matrices, computed in tiles that fit into the processor's registers.

A recurrent layer multiplies a few rows by the same weights at every time step. BLAS packs (copies
and reorders) the weights again at each call, which takes as long as the product itself. The kernels
of lookback pack the weights once per pass over the layer. A tile is a block of the product matrix
that has 4 rows and up to 3 vectors of 8 columns. The sums of a tile stay in registers until the
tile is complete [goto2008]. A tile needs 12 vectors for sums, 3 for weights and 1 for an input,
which fill the 16 vector registers of AVX2. The code of a tile is written as LLVM vector
instructions, because the compiler does not keep the sums in registers if the code consists of
scalar loops.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from lookback.kernels.compiled import Array, Backward, Saved, compiled, inlined

LANES = 8  # number of floats in an AVX register; LLVM adapts the vectors to other processors
ROWS = 4  # number of rows of a tile; the row count of every product is a multiple of ROWS
FLOAT = 4  # bytes

INT, SINGLE = ir.IntType(64), ir.FloatType()
VECTOR = ir.VectorType(SINGLE, LANES)


def _tile_of(vectors: int, adds: bool) -> Callable[..., Any]:
    """Make a function that sets the tile `out` to a · b, or adds a · b to `out` if `adds` is true.

    The tile has the shape (4, 8 · `vectors`). The new function takes addresses in bytes and strides
    in floats. The element a[i, k] has the offset i · a_row + k · a_step from the address `a`. The
    matrix b must be packed by `pack`.
    """

    @intrinsic
    def tile(
        typing: Any, depth: Any, a: Any, a_row: Any, a_step: Any, b: Any, out: Any, out_row: Any
    ) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _emit(builder, vectors, adds, *arguments)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 7), emit

    return tile


def _emit(
    builder: Any,
    vectors: int,
    adds: bool,
    depth: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    out: Any,
    out_row: Any,
) -> None:
    cells = [(i, j) for i in range(ROWS) for j in range(vectors)]
    places = [_at(builder, out, VECTOR, (out_row, i), (INT(1), j * LANES)) for i, j in cells]
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    starts = [builder.load(place, align=FLOAT) if adds else zero for place in places]

    before, loop = builder.block, builder.append_basic_block("depth")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, sums = builder.phi(INT), [builder.phi(VECTOR) for _ in cells]
    panel = builder.mul(k, INT(vectors * LANES))
    weights = [
        builder.load(_at(builder, b, VECTOR, (panel, 1), (INT(1), j * LANES)), align=FLOAT)
        for j in range(vectors)
    ]
    spread = [
        _spread(builder, _at(builder, a, SINGLE, (a_row, i), (a_step, k))) for i in range(ROWS)
    ]
    ends = [
        _fused(builder, spread[i], weights[j], total)
        for (i, j), total in zip(cells, sums, strict=True)
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


def _at(builder: Any, base: Any, kind: Any, *steps: tuple[Any, Any]) -> Any:
    """A pointer of type `kind` to the address `base` plus the sum of all offsets in `steps`.

    Each offset is a pair (stride, count) and stands for stride · count floats.
    """
    for stride, count in steps:
        times = count if isinstance(count, ir.Value) else INT(count)
        base = builder.add(base, builder.mul(INT(FLOAT), builder.mul(stride, times)))
    return builder.inttoptr(base, kind.as_pointer())


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum a · b + c, rounded only once if the processor has a fused multiply-add."""
    return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


def _spread(builder: Any, place: Any) -> Any:
    """A vector whose elements all equal the float at the address `place`."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(undefined, builder.load(place, align=FLOAT), ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


_wide, _middle, _narrow = (_tile_of(vectors, adds=False) for vectors in (3, 2, 1))
_add_wide, _add_middle, _add_narrow = (_tile_of(vectors, adds=True) for vectors in (3, 2, 1))


@inlined
def _vectors(columns: int) -> int:
    """The number of vectors (8 columns each) in the next panel, if `columns` columns remain.

    A panel is a block of columns that is as wide as a tile. Four remaining vectors are split into
    panels of 2 + 2 and not of 3 + 1, because in a panel of one vector, additions would wait for the
    results of earlier additions.
    """
    remaining = columns // LANES
    return 2 if remaining == 4 else min(remaining, 3)


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
        vectors = _vectors(columns - column)
        for row in range(0, rows, ROWS):
            start, to = a + FLOAT * row * a_row, out + FLOAT * (column + row * out_row)
            if adds:
                if vectors == 3:
                    _add_wide(depth, start, a_row, a_step, b, to, out_row)
                elif vectors == 2:
                    _add_middle(depth, start, a_row, a_step, b, to, out_row)
                else:
                    _add_narrow(depth, start, a_row, a_step, b, to, out_row)
            elif vectors == 3:
                _wide(depth, start, a_row, a_step, b, to, out_row)
            elif vectors == 2:
                _middle(depth, start, a_row, a_step, b, to, out_row)
            else:
                _narrow(depth, start, a_row, a_step, b, to, out_row)
        b += FLOAT * depth * vectors * LANES
        column += vectors * LANES


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
    steps = saved.line[t : t + gathered]
    _add_product(grad_a, 0, steps, first, last, 0, back.of_input)
    _add_product(grad_a, start, steps, first, last, saved.h_start, back.of_state[start:])


@compiled
def _add_product(
    grad_a: Array, start: int, line: Array, first: int, last: int, column: int, weight: Array
) -> None:
    """Add the matrix product grad_a[:, start:]ᵀ · line[:, first:last, column:] to `weight`.

    `line` contains the earliest time step first, but `grad_a` contains the latest step first.
    """
    count, columns = weight.shape
    packed = np.empty(line.shape[0] * (last - first) * columns, np.float32)
    place = panel = 0
    while panel < columns:
        vectors = _vectors(columns - panel)
        for t in range(line.shape[0] - 1, -1, -1):
            for r in range(first, last):
                source = line[t, r, column + panel :]
                for j in range(vectors):
                    for lane in range(LANES):
                        packed[place + lane] = source[j * LANES + lane]
                    place += LANES
        panel += vectors * LANES
    _product(
        count,
        columns,
        line.shape[0] * (last - first),
        grad_a[:, start:].ctypes.data,
        1,
        grad_a.shape[1],
        packed.ctypes.data,
        weight.ctypes.data,
        columns,
        True,
    )


@compiled
def pack(matrix: Array, packed: Array) -> None:
    """Copy `matrix` (depth, columns) to `packed`, in the order in which tiles read the elements."""
    depth, columns = matrix.shape
    place = column = 0
    while column < columns:
        width = _vectors(columns - column) * LANES
        for k in range(depth):
            for j in range(width):
                packed[place + j] = matrix[k, column + j]
            place += width
        column += width


def padded(size: int, multiple: int = LANES) -> int:
    """`size` rounded up to a multiple of `multiple`."""
    return -(-size // multiple) * multiple
