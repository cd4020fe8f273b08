"""Tuples of numbers and addresses as compiled code takes them: of what kind they are, and how they lie in memory.

`kernel.Network` and the like are tuples of tuples, of whole numbers, booleans and arrays, and reach compiled code with
an address in place of every array. Here they are 64-bit integers one after the other, the leaves of the tuple in their
order: so what Python has laid out is read by code that runs without Python.
"""

from typing import Any, get_type_hints

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I64 = ir.IntType(64)


def kind_of(cls: Any) -> types.Type:
    """numba's type of a tuple, by its class, whose arrays are addresses."""
    if cls is bool:
        return types.boolean
    if not (isinstance(cls, type) and issubclass(cls, tuple)):
        return types.intp
    hints = get_type_hints(cls)
    return types.NamedTuple([kind_of(hints[name]) for name in cls._fields], cls)  # type: ignore[attr-defined]


def reader(cls: type[tuple]) -> Any:
    """What compiled code calls with an address to have the tuple of that class that lies there."""
    whole = kind_of(cls)

    @intrinsic
    def read_tuple(_typing: Any, address: Any) -> Any:
        if not isinstance(address, types.Integer):
            return None

        def codegen(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            base = builder.inttoptr(given[0], _I64.as_pointer())
            n_read = 0

            def build(kind: types.Type) -> Any:
                nonlocal n_read
                if isinstance(kind, types.BaseNamedTuple):
                    return context.make_tuple(builder, kind, [build(one) for one in kind.types])
                value = builder.load(builder.gep(base, [ir.Constant(_I64, n_read)]))
                n_read += 1
                return builder.trunc(value, ir.IntType(1)) if kind == types.boolean else value

            return build(whole)

        return whole(types.intp), codegen

    return read_tuple
