"""Vectors of floats in the code of a kernel, which become vector registers of the processor.

The compiler vectorises a loop over the units of a layer only if the arrays of the loop do not
overlap, which it checks at every row, and it computes the last units of a row one by one. For some
processors, it uses registers of half the width. The kernels therefore load, compute and store
vectors explicitly. A vector is added, subtracted, multiplied and divided like a number, and the
other operand may be a number.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import raw_memcpy
from numba.core.errors import TypingError
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from lookback.kernels.machine import TILE, UNIT

LANES = TILE.lanes  # number of floats in the widest vector
FEWER = min(UNIT, LANES)  # number of floats in the vectors of the last units of a row
FLOAT = 4  # bytes
SINGLE = ir.FloatType()


class Vector(types.Type):
    """The type of a vector of `lanes` floats in float32."""

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(name=f"Vector({lanes})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector):
        super().__init__(manager, vector, ir.VectorType(SINGLE, vector.lanes))  # type: ignore[no-untyped-call]


def instruction(typed: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that kernels can call from a function that writes its LLVM code.

    The function `typed` receives numba's typing context and the types of the arguments. A constant
    argument has a literal type. `typed` returns a signature and the function that writes the code.
    """
    callable_by_kernels: Callable[..., Any] = intrinsic(prefer_literal=True)(typed)
    return callable_by_kernels


def spread(builder: Any, number: Any, lanes: int) -> Any:
    """A vector whose elements all equal the LLVM value `number`."""
    undefined = ir.Constant(ir.VectorType(SINGLE, lanes), ir.Undefined)
    one = builder.insert_element(undefined, number, ir.IntType(32)(0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, undefined, places)


def _add_operator(function: Callable[..., Any], opcode: str) -> None:
    @type_callable(function)
    def type_of(_: Any) -> Callable[..., Any]:
        def result(a: Any, b: Any) -> Any:
            vectors = [operand for operand in (a, b) if isinstance(operand, Vector)]
            numbers = [operand for operand in (a, b) if operand == types.float32]
            return vectors[0] if vectors and len(vectors + numbers) == 2 else None

        return result

    def lower(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = signature.return_type.lanes
        a, b = (
            value if isinstance(kind, Vector) else spread(builder, value, lanes)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        # The compiler may fuse a product and a sum, so that they are rounded once.
        return getattr(builder, opcode)(a, b, flags=["contract"])

    for kinds in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(function, *kinds)(lower)  # type: ignore[no-untyped-call]


_add_operator(operator.add, "fadd")
_add_operator(operator.sub, "fsub")
_add_operator(operator.mul, "fmul")
_add_operator(operator.truediv, "fdiv")


@instruction
def row(_: Any, matrix: Any, index: Any) -> Any:
    """The address in bytes of the row `index` of a matrix in C order.

    The address replaces the array `matrix[index]`, because numba counts the references to arrays.
    A matrix in another order is an error at compilation.
    """
    if matrix.layout != "C":
        raise TypingError("The matrix is not in C order.")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(array.strides, 0)
        start = builder.ptrtoint(array.data, stride.type)
        return builder.add(start, builder.mul(arguments[1], stride))

    return types.intp(matrix, types.intp), emit


def _place(builder: Any, address: Any, index: Any, kind: Any) -> Any:
    numbers = builder.inttoptr(address, SINGLE.as_pointer())
    return builder.bitcast(builder.gep(numbers, [index]), kind.as_pointer())


@instruction
def load(_: Any, address: Any, index: Any, lanes: Any) -> Any:
    """The vector of `lanes` floats that starts `index` floats after `address`.

    `lanes` is a constant.
    """
    vector = Vector(lanes.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(SINGLE, vector.lanes)
        place = _place(builder, arguments[0], arguments[1], kind)
        return builder.load(place, align=FLOAT)

    return vector(types.intp, types.intp, lanes), emit


@instruction
def store(_: Any, address: Any, index: Any, vector: Any) -> Any:
    """Write a vector to the floats that start `index` floats after `address`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(builder, arguments[0], arguments[1], arguments[2].type)
        builder.store(arguments[2], place, align=FLOAT)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, vector), emit


@instruction
def clamp(_: Any, vector: Any, limit: Any) -> Any:
    """The vector with its elements limited to ±`limit`. An element that is NaN stays NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, number = arguments
        for sign, comparison in ((number, ">"), (builder.fneg(number), "<")):
            bound = spread(builder, sign, vector.lanes)
            beyond = builder.fcmp_ordered(comparison, value, bound)
            value = builder.select(beyond, bound, value)
        return value

    return vector(vector, types.float32), emit


@instruction
def where_positive(_: Any, vector: Any, values: Any) -> Any:
    """The elements of `values` where the element of `vector` is not ≤ 0, and zeros elsewhere."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(arguments[0].type, [0.0] * vector.lanes)
        positive = builder.fcmp_unordered(">", arguments[0], zero)
        return builder.select(positive, arguments[1], zero)

    return values(vector, values), emit


@instruction
def copy(_: Any, to: Any, start: Any, count: Any) -> Any:
    """Copy `count` floats from the address `start` to the address `to`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, source = (builder.inttoptr(it, SINGLE.as_pointer()) for it in arguments[:2])
        raw_memcpy(builder, into, source, arguments[2], FLOAT)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), emit
