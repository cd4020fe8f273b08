"""Vector primitives that numba lacks: a vector of float32 as a value, and products of matrices and vectors.

Numba compiles loops over arrays, but leaves to LLVM whether they become vector instructions, and the accumulators of a
product end up in memory. Here each primitive emits LLVM's portable vector instructions itself, as wide as the CPU has
them (host.py): 16 lanes with AVX-512, 8 with AVX2, else 4 (SSE, NEON).

Numbers in memory are addressed by a pointer and an offset in elements. A pointer is what `pointer` makes of an address;
an array does as well, but numba counts the references to arrays, which a step has no time for.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from wavegen.engines.cpu.host import HAS_VNNI, HOST, LANES, STREAM_GROUPS, can_multiply_bytes

_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), *map(ir.IntType, (8, 16, 32, 64))
DOT_GROUPS = f"llvm.x86.avx512.vpdpbusd.{32 * LANES}"  # adds the products of four unsigned and four signed bytes
DOT_PAIRS = "llvm.x86.sse2.pmadd.wd"  # of two vectors of int16: the sums of the products of neighbours, in int32
_VECTOR = ir.VectorType(_F32, LANES)
_INTEGERS = ir.VectorType(_I32, LANES)
_BYTES = ir.VectorType(_I8, LANES)
_FUSE = ("contract",)  # lets LLVM make a product and a sum one instruction, and nothing else

MAGIC = np.float32(1.5 * 2**23)  # added to a float32 of less than 2**22, it leaves the nearest integer in the low bits


class _VectorType(types.Type):
    """LANES numbers of float32, as a numba type."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = _VectorType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _unary(build: Callable[[Any, Any], Any], result: types.Type = vector) -> Any:
    """An intrinsic from what it emits for one vector."""

    @intrinsic
    def operation(_typing: Any, a: Any) -> Any:
        if a != vector:
            return None
        return result(vector), lambda _context, builder, _signature, given: build(builder, *given)

    return operation


def _binary(build: Callable[[Any, Any, Any], Any]) -> Any:
    """An intrinsic from what it emits for two vectors."""

    @intrinsic
    def operation(_typing: Any, a: Any, b: Any) -> Any:
        if a != vector or b != vector:
            return None
        return vector(vector, vector), lambda _context, builder, _signature, given: build(builder, *given)

    return operation


def _overload_operator(symbol: Any, operation: Any) -> None:
    @overload(symbol)
    def vectors(a, b):  # type: ignore[no-untyped-def]  # numba compares the names with those of the lambda
        if a == vector and b == vector:
            return lambda a, b: operation(a, b)
        return None


def _constant(kind: ir.VectorType, value: Any) -> ir.Constant:
    return ir.Constant(kind, [value] * LANES)


def _splat(builder: Any, scalar: Any, kind: ir.VectorType) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count))


def _address(context: Any, builder: Any, kind: Any, base: Any, offset: Any) -> Any:
    """Pointer to one element beyond a pointer, or of a C-contiguous array of any number of axes."""
    data = context.make_array(kind)(context, builder, base).data if isinstance(kind, types.Array) else base
    return builder.gep(data, [offset])


def _holds(kind: Any, dtype: types.Type | None = None) -> bool:
    """Whether something is an array or a pointer, of a type of numbers if one is asked for."""
    return isinstance(kind, types.Array | types.CPointer) and dtype in (None, kind.dtype)


def _load(builder: Any, pointer: Any, kind: ir.Type, alignment: int) -> Any:
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=alignment)


def _store(builder: Any, value: Any, pointer: Any, alignment: int) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=alignment)


def _call(builder: Any, name: str, result: ir.Type, *given: Any, flags: Sequence[str] = ()) -> Any:
    kind = ir.FunctionType(result, [value.type for value in given])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given, fastmath=flags)


@intrinsic
def splat(_typing: Any, value: Any) -> Any:
    """The same float32 in every lane."""
    if value != types.float32:
        return None
    return vector(value), lambda _context, builder, _signature, given: _splat(builder, given[0], _VECTOR)


@intrinsic
def pointer(_typing: Any, address: Any, kind: Any, offset: Any) -> Any:
    """Where number `offset` of a kind (np.float32, say) lies after an address (arguments.py)."""
    if not isinstance(address, types.Integer) or not isinstance(kind, types.NumberClass):
        return None
    result = types.CPointer(kind.instance_type)

    def codegen(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.gep(builder.inttoptr(given[0], context.get_value_type(result)), [given[2]])

    return result(types.intp, kind, types.intp), codegen


@intrinsic
def read(_typing: Any, base: Any, offset: Any) -> Any:
    """One number."""
    if not _holds(base):
        return None

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], *given))

    return base.dtype(base, types.intp), codegen


@intrinsic
def write(_typing: Any, base: Any, offset: Any, value: Any) -> Any:
    """Put one number, of the type that is there, into memory."""
    if not _holds(base):
        return None

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        builder.store(given[2], _address(context, builder, signature.args[0], *given[:2]))
        return context.get_dummy_value()

    return types.void(base, types.intp, base.dtype), codegen


@intrinsic
def load(_typing: Any, base: Any, offset: Any) -> Any:
    """LANES numbers of float32 from an offset on."""
    if not _holds(base, types.float32):
        return None

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _load(builder, _address(context, builder, signature.args[0], *given), _VECTOR, 4)

    return vector(base, types.intp), codegen


@intrinsic
def store(_typing: Any, base: Any, offset: Any, value: Any) -> Any:
    """Put a vector into memory of float32."""
    if not _holds(base, types.float32) or value != vector:
        return None

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _store(builder, given[2], _address(context, builder, signature.args[0], *given[:2]), 4)
        return context.get_dummy_value()

    return types.void(base, types.intp, vector), codegen


@intrinsic
def store_bytes(_typing: Any, base: Any, offset: Any, value: Any, zero: Any) -> Any:
    """Put a vector into memory of uint8 as round(v) + zero, an integer; |v| may be at most zero - 1, and zero 128."""
    if not _holds(base, types.uint8) or value != vector or not isinstance(zero, types.Integer):
        return None

    def codegen(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        shift = builder.fadd(builder.sitofp(given[3], _F32), ir.Constant(_F32, float(MAGIC)))
        rounded = builder.fadd(given[2], _splat(builder, shift, _VECTOR))
        low = builder.trunc(builder.bitcast(rounded, _INTEGERS), _BYTES)
        _store(builder, low, _address(context, builder, signature.args[0], *given[:2]), 1)
        return context.get_dummy_value()

    return types.void(base, types.intp, vector, types.intp), codegen


_add = _binary(lambda builder, a, b: builder.fadd(a, b, flags=_FUSE))
_subtract = _binary(lambda builder, a, b: builder.fsub(a, b, flags=_FUSE))
_multiply = _binary(lambda builder, a, b: builder.fmul(a, b, flags=_FUSE))
_divide = _binary(lambda builder, a, b: builder.fdiv(a, b))
minimum = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
maximum = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
absolute = _unary(lambda builder, a: _call(builder, f"llvm.fabs.v{LANES}f32", _VECTOR, a))
highest = _unary(
    lambda builder, a: _call(builder, f"llvm.vector.reduce.fmax.v{LANES}f32", _F32, a, flags=("nnan",)), types.float32
)
total = _unary(
    lambda builder, a: _call(
        builder, f"llvm.vector.reduce.fadd.v{LANES}f32", _F32, ir.Constant(_F32, 0.0), a, flags=("reassoc",)
    ),
    types.float32,
)
for _symbol, _operation in {
    operator.add: _add,
    operator.sub: _subtract,
    operator.mul: _multiply,
    operator.truediv: _divide,
}.items():
    _overload_operator(_symbol, _operation)


def _shift_exponent(builder: Any, value: Any, shifted: Any) -> Any:
    power = builder.shl(builder.bitcast(shifted, _INTEGERS), _constant(_INTEGERS, 23))
    return builder.bitcast(builder.add(builder.bitcast(value, _INTEGERS), power), _VECTOR)


shift_exponent = _binary(_shift_exponent)  # v * 2**n, where the second vector is n + MAGIC and nothing overflows


@njit(inline="always")
def constant(value: float) -> Any:
    """A number in every lane, rounded to float32."""
    return splat(np.float32(value))


@njit
def exp_negative(x: Any) -> Any:
    """exp(x) of numbers that are at most 0, within 2 units in the last place; below -87 it is about exp(-87).

    Cephes' expf: x = n ln 2 + r, a polynomial for exp(r), then n into the exponent.
    """
    x = maximum(x, constant(-87.0))
    shifted = x * constant(1.44269504088896341) + constant(MAGIC)
    n = shifted - constant(MAGIC)
    r = x - n * constant(0.693359375) - n * constant(-2.12194440e-4)
    p = constant(1.9875691500e-4)
    p = p * r + constant(1.3981999507e-3)
    p = p * r + constant(8.3334519073e-3)
    p = p * r + constant(4.1665795894e-2)
    p = p * r + constant(1.6666665459e-1)
    p = p * r + constant(5.0000001201e-1)
    return shift_exponent(p * (r * r) + (r + constant(1.0)), shifted)


@njit
def gate(a: Any, b: Any) -> Any:
    """tanh(a) * sigmoid(b), within 4e-7, with one division.

    With tanh(x) = p(x) / q(x), the rational function of Eigen's `ptanh`, and sigmoid(b) = (1 + tanh(b / 2)) / 2, the
    product is p(a) (q(b/2) + p(b/2)) / (2 q(a) q(b/2)).
    """
    p_a, q_a = _tanh_parts(a)
    p_b, q_b = _tanh_parts(b * constant(0.5))
    return p_a * (q_b + p_b) / (q_a * (q_b + q_b))


@njit
def _tanh_parts(x: Any) -> Any:
    """Numerator and denominator of tanh(x)."""
    x = minimum(maximum(x, constant(-7.90531110763549805)), constant(7.90531110763549805))
    square = x * x
    p = constant(-2.76076847742355e-16)
    p = p * square + constant(2.00018790482477e-13)
    p = p * square + constant(-8.60467152213735e-11)
    p = p * square + constant(5.12229709037114e-08)
    p = p * square + constant(1.48572235717979e-05)
    p = p * square + constant(6.37261928875436e-04)
    p = p * square + constant(4.89352455891786e-03)
    q = constant(1.19825839466702e-06)
    q = q * square + constant(1.18534705686654e-04)
    q = q * square + constant(2.26843463243900e-03)
    q = q * square + constant(4.89352518554385e-03)
    return p * x, q


@intrinsic
def multiply_panel(
    _typing: Any,
    weights: Any,
    n_rows: Any,
    scales: Any,
    starts: Any,
    x: Any,
    x_stride: Any,
    x_scales: Any,
    x_scales_stride: Any,
    y: Any,
    y_stride: Any,
    n_streams: Any,
    n_vectors: Any,
    n_steps: Any,
) -> Any:
    """y[b] += scale * (x[b] @ panel) for 8, 4, 2 or 1 streams b and 8, 4, 2 or 1 vectors of outputs.

    All arrays are pointers. `weights` holds the panel's rows (one per input) one after the other, as float32, float16
    (in uint16) or int8; y is float32 and `scales` (outputs) multiplies every sum. If x is float32, that is all. If x is
    uint8, it stands for x_scales[b] * (x - zero), where zero is `n_steps` + 1, 128 or 64; weights are int8 with rows in
    groups of four, the four of an output side by side, sums are exact in int32 and begin at -zero times the column sums
    of the rows. `starts` (outputs) is -128 times these. Strides are in elements, from stream to stream.

    The sums stay in registers, which `VectorUnit.panel_vectors` sees to. Where the CPU lacks the instructions nothing
    is emitted: the engine refuses such a precision.
    """
    of_bytes = x.dtype == types.uint8
    is_possible = can_multiply_bytes() if of_bytes else HOST.reads_float16 or weights.dtype != types.uint16

    def codegen(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        if is_possible:
            *arrays, chosen_streams, chosen_vectors, n_steps = values
            is_half = builder.icmp_signed("<=", n_steps, ir.Constant(_I64, 63))
            panel = _Panel(weights.dtype, of_bytes, builder.zext(is_half, _I32), *arrays)
            _switch_sizes(builder, panel, chosen_streams, chosen_vectors)
        return context.get_dummy_value()

    integer = types.intp
    signature = types.void(
        weights, integer, scales, starts, x, integer, x_scales, integer, y, integer, integer, integer, integer
    )  # fmt: skip
    return signature, codegen


class _Panel(NamedTuple):
    """What `multiply_panel` is given, as LLVM values, and the kinds of numbers."""

    dtype: Any  # of the weights, numba's
    of_bytes: bool
    halving: Any  # the bit by which `starts` are shifted, 0 or 1
    weights: Any
    n_rows: Any
    scales: Any
    starts: Any
    x: Any
    x_stride: Any
    x_scales: Any
    x_scales_stride: Any
    y: Any
    y_stride: Any


def _switch_sizes(builder: Any, panel: _Panel, chosen_streams: Any, chosen_vectors: Any) -> None:
    """One block of code for every size of panels; what runs is the one of the chosen size."""
    end = builder.append_basic_block("multiplied")
    nowhere = builder.append_basic_block("no_such_panel")
    size = builder.add(builder.mul(chosen_streams, ir.Constant(_I64, 16)), chosen_vectors)
    switch = builder.switch(size, nowhere)
    for n_streams in STREAM_GROUPS:
        n_vectors = HOST.panel_vectors(n_streams)
        while n_vectors:
            block = builder.append_basic_block(f"panel_{n_streams}_{n_vectors}")
            switch.add_case(ir.Constant(_I64, 16 * n_streams + n_vectors), block)
            builder.position_at_end(block)
            _multiply_one_size(builder, panel, n_streams, n_vectors)
            builder.branch(end)
            n_vectors //= 2
    builder.position_at_end(nowhere)
    builder.unreachable()
    builder.position_at_end(end)


def _multiply_one_size(builder: Any, panel: _Panel, n_streams: int, n_vectors: int) -> None:
    """A panel of known size: sums over all rows, scaled and added to y."""
    inputs = [_beyond(builder, panel.x, panel.x_stride, i) for i in range(n_streams)]
    outputs = [
        [
            builder.gep(_beyond(builder, panel.y, panel.y_stride, i), [ir.Constant(_I64, j * LANES)])
            for j in range(n_vectors)
        ]
        for i in range(n_streams)
    ]
    scale = [_vector_of(builder, panel.scales, j, _VECTOR) for j in range(n_vectors)]
    sums = _sum_rows(builder, panel, inputs, n_vectors)
    for i in range(n_streams):
        factors = scale
        if panel.of_bytes:
            x_scale = builder.load(_beyond(builder, panel.x_scales, panel.x_scales_stride, i))
            factor = _splat(builder, x_scale, _VECTOR)
            factors = [builder.fmul(own, factor) for own in scale]
        for j in range(n_vectors):
            summed = sums[i][j]
            if panel.of_bytes:
                begin = _vector_of(builder, panel.starts, j, _INTEGERS)
                begin = builder.ashr(begin, _splat(builder, panel.halving, _INTEGERS))
                summed = builder.sitofp(builder.add(begin, summed), _VECTOR)
            old = _load(builder, outputs[i][j], _VECTOR, 4)
            product = builder.fmul(factors[j], summed, flags=_FUSE)
            _store(builder, builder.fadd(old, product, flags=_FUSE), outputs[i][j], 4)


def _sum_rows(builder: Any, panel: _Panel, inputs: Sequence[Any], n_vectors: int) -> list[list[Any]]:
    """The loop over the rows: sums for every stream and vector, which stay in registers.

    `inputs` are pointers to the inputs of each stream.
    """
    products = _ByteGroups if panel.of_bytes and HAS_VNNI else _BytePairs if panel.of_bytes else _Floats
    step = products.rows
    parts = n_vectors * products.parts
    before, body, after = builder.block, builder.append_basic_block("rows"), builder.append_basic_block("summed")
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(_I64)
    index.add_incoming(ir.Constant(_I64, 0), before)
    sums = [[builder.phi(products.sums) for _ in range(parts)] for _ in inputs]
    for total in (total for of_stream in sums for total in of_stream):
        total.add_incoming(ir.Constant(products.sums, [0] * LANES), before)
    base = builder.gep(panel.weights, [builder.mul(index, ir.Constant(_I64, n_vectors * LANES))])
    n_apart = LANES * step // products.parts
    columns = [
        products.load_weights(builder, builder.gep(base, [ir.Constant(_I64, part * n_apart)]), panel.dtype)
        for part in range(parts)
    ]
    made: list[list[Any]] = []
    for at, of_stream in zip(inputs, sums, strict=True):
        x = products.load_input(builder, builder.gep(at, [index]))
        made.append([products.add(builder, *pair, x) for pair in zip(of_stream, columns, strict=True)])
        for total, grown in zip(of_stream, made[-1], strict=True):
            total.add_incoming(grown, body)
    following = builder.add(index, ir.Constant(_I64, step))
    index.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, panel.n_rows), body, after)
    builder.position_at_end(after)
    n = products.parts
    return [[products.joined(builder, own[n * j :][:n]) for j in range(n_vectors)] for own in made]


def _beyond(builder: Any, base: Any, stride: Any, index: int) -> Any:
    """A pointer that many strides after another."""
    return builder.gep(base, [builder.mul(stride, ir.Constant(_I64, index))])


def _vector_of(builder: Any, base: Any, index: int, kind: ir.Type) -> Any:
    """The vector of that number after a pointer."""
    return _load(builder, builder.gep(base, [ir.Constant(_I64, index * LANES)]), kind, 4)


class _Floats:
    """Products of float32 with weights of any kind: one row at a time."""

    rows, parts, sums = 1, 1, _VECTOR  # rows of a step, and what holds the sums of a vector

    @staticmethod
    def load_weights(builder: Any, pointer: Any, dtype: Any) -> Any:
        """A vector of weights."""
        if dtype == types.float32:
            return _load(builder, pointer, _VECTOR, 4)
        if dtype == types.uint16:
            return builder.fpext(_load(builder, pointer, ir.VectorType(ir.HalfType(), LANES), 2), _VECTOR)
        return builder.sitofp(_load(builder, pointer, _BYTES, 1), _VECTOR)

    @staticmethod
    def load_input(builder: Any, pointer: Any) -> Any:
        return _splat(builder, _load(builder, pointer, _F32, 4), _VECTOR)

    @staticmethod
    def add(builder: Any, total: Any, weights: Any, x: Any) -> Any:
        return builder.fadd(total, builder.fmul(weights, x, flags=_FUSE), flags=_FUSE)

    @staticmethod
    def joined(builder: Any, sums: Sequence[Any]) -> Any:
        return sums[0]


class _ByteGroups(_Floats):
    """Products of four unsigned and four signed bytes, summed in every lane of int32."""

    rows, parts, sums = 4, 1, _INTEGERS

    @staticmethod
    def load_weights(builder: Any, pointer: Any, dtype: Any) -> Any:
        return _load(builder, pointer, ir.VectorType(_I8, 4 * LANES), 1)

    @staticmethod
    def load_input(builder: Any, pointer: Any) -> Any:
        four = _splat(builder, _load(builder, pointer, _I32, 1), _INTEGERS)
        return builder.bitcast(four, ir.VectorType(_I8, 4 * LANES))

    @staticmethod
    def add(builder: Any, total: Any, weights: Any, x: Any) -> Any:
        return _call(builder, DOT_GROUPS, _INTEGERS, total, x, weights)


class _BytePairs(_Floats):
    """The same of bytes widened to 16 bits: each vector of outputs has two of sums, and an output two numbers in one,
    for the first two rows of four and for the last."""

    rows, parts, sums = 4, 2, _INTEGERS
    wide = ir.VectorType(_I16, 2 * LANES)

    @classmethod
    def load_weights(cls, builder: Any, pointer: Any, dtype: Any) -> Any:
        return builder.sext(_load(builder, pointer, ir.VectorType(_I8, 2 * LANES), 1), cls.wide)

    @classmethod
    def load_input(cls, builder: Any, pointer: Any) -> Any:
        four = builder.zext(_load(builder, pointer, ir.VectorType(_I8, 4), 1), ir.VectorType(_I16, 4))
        return builder.shuffle_vector(four, four, _numbers(number % 4 for number in range(2 * LANES)))

    @classmethod
    def add(cls, builder: Any, total: Any, weights: Any, x: Any) -> Any:
        return builder.add(total, _call(builder, DOT_PAIRS, _INTEGERS, weights, x))

    @staticmethod
    def joined(builder: Any, sums: Sequence[Any]) -> Any:
        halves = [builder.shuffle_vector(*sums, _numbers(range(first, 2 * LANES, 2))) for first in (0, 1)]
        return builder.add(*halves)


def _numbers(numbers: Iterable[int]) -> ir.Constant:
    """A constant vector of int32."""
    each = list(numbers)
    return ir.Constant(ir.VectorType(_I32, len(each)), each)
