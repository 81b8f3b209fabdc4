"""Small matrix products at full speed: one register tile for every product in a layer.

A recurrent layer multiplies a few rows by the same weights at every step. BLAS packs those weights
anew at each call, which costs as much as the product; here they are packed once a pass. A tile is
4 rows × up to 3 vectors of 8 columns, held in registers over the whole depth (Goto and van de Geijn
2008, "Anatomy of high-performance matrix multiplication"): 12 sums, 3 weights and 1 input fill the
16 registers of AVX2. Scalar loops would not stay in registers, so it is emitted as LLVM vectors.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from lookback.kernels.compiled import Array, Backward, Kept, Strided, compiled, inlined

LANES = 8  # floats a vector: one AVX register; LLVM splits or joins them on other machines
ROWS = 4  # of a tile; every row count below is a multiple of it
FLOAT = 4  # bytes

INT, SINGLE = ir.IntType(64), ir.FloatType()
VECTOR = ir.VectorType(SINGLE, LANES)


def _tile_of(vectors: int, adds: bool) -> Callable[..., Any]:
    """The tile out[4, 8 · vectors] = a · b, or += where it `adds`.

    Addresses in bytes, strides in floats: a[i, k] lies at i · a_row + k · a_step; b is packed.
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
    """A pointer to `kind`, each of `steps` (a stride, how often) past the address `base`."""
    for stride, count in steps:
        times = count if isinstance(count, ir.Value) else INT(count)
        base = builder.add(base, builder.mul(INT(FLOAT), builder.mul(stride, times)))
    return builder.inttoptr(base, kind.as_pointer())


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum a · b + c, one rounding where the machine has it."""
    return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


def _spread(builder: Any, place: Any) -> Any:
    """The float at `place` in every lane."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(undefined, builder.load(place, align=FLOAT), ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


_wide, _middle, _narrow = (_tile_of(vectors, adds=False) for vectors in (3, 2, 1))
_add_wide, _add_middle, _add_narrow = (_tile_of(vectors, adds=True) for vectors in (3, 2, 1))


@inlined
def _vectors(columns: int) -> int:
    """Vectors of the next panel, of the columns left: one alone would wait for its own sums."""
    left = columns // LANES
    return 2 if left == 4 else min(left, 3)


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
    """Set out (rows, columns) to a · b, or add it; columns a multiple of 8, depth ≥ 1."""
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
def enter(inputs: Strided, kept: Kept, t: int, first: int, last: int) -> None:
    """Put x_t and the 1 into the rows first to last of a layer's line at step t."""
    for r in range(first, last):
        start = r * inputs.row + t * inputs.step
        for j in range(kept.before - 1):
            kept.line[t, r, j] = inputs.flat[start + j]
        kept.line[t, r, kept.before - 1] = 1


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
    """Set out[to : to + rows, out_column : …] to a[first : first + rows, column : …] · packed."""
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
    back: Backward, sums: Array, held: int, start: int, count: int, t: int, first: int
) -> None:
    """Fill the gradient of x_t, where it is asked for, from `count` of the gates' sums."""
    if back.inputs.size:
        columns, rows = back.inputs.shape[2], sums.shape[0] // back.chunk
        into = back.inputs[t]
        multiply(rows, columns, count, sums, held * rows, start, back.to_input, into, first, 0)


@compiled
def add_weights(
    kept: Kept, back: Backward, sums: Array, held: int, start: int, t: int, first: int, last: int
) -> None:
    """Add what the steps from t on, `held` of them, give to the gradient of the weights.

    `sums` holds the steps latest first; from column `start` on they come from products with h.
    """
    steps = kept.line[t : t + held]
    _gather(sums, 0, steps, first, last, 0, back.of_input)
    _gather(sums, start, steps, first, last, kept.before, back.of_state[start:])


@compiled
def _gather(
    sums: Array, start: int, line: Array, first: int, last: int, column: int, weight: Array
) -> None:
    """Add sums[:, start : …]ᵀ · line[:, first : last, column : …], the steps latest first."""
    count, columns = weight.shape
    room = np.empty(line.shape[0] * (last - first) * columns, np.float32)
    place = panel = 0
    while panel < columns:
        vectors = _vectors(columns - panel)
        for t in range(line.shape[0] - 1, -1, -1):
            for r in range(first, last):
                source = line[t, r, column + panel :]
                for j in range(vectors):
                    for lane in range(LANES):
                        room[place + lane] = source[j * LANES + lane]
                    place += LANES
        panel += vectors * LANES
    _product(
        count,
        columns,
        line.shape[0] * (last - first),
        sums[:, start:].ctypes.data,
        1,
        sums.shape[1],
        room.ctypes.data,
        weight.ctypes.data,
        columns,
        True,
    )


@compiled
def pack(matrix: Array, packed: Array) -> None:
    """Lay a matrix (depth, columns) out panel by panel, as the tiles read it."""
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
    """The next multiple."""
    return -(-size // multiple) * multiple
