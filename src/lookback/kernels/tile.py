"""The tile of a matrix product, as LLVM vector instructions.

A tile is a block of the product matrix. The sums of a tile stay in registers until the tile is
complete [goto2008], so the size of the tile depends on the processor (machine.py). The compiler
does not keep the sums in registers if the code consists of scalar loops.
"""

from typing import Any

from llvmlite import ir
from numba import types

from lookback.kernels.machine import TILE, UNIT, Tile
from lookback.kernels.vectors import FLOAT, SINGLE, instruction, spread

UNITS = TILE.units  # maximum number of units of 8 columns in a tile
INT = ir.IntType(64)


@instruction
def tile(
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

    The other arguments are those of `tile`, as LLVM values.
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
