"""Tuples of numbers and addresses as compiled code takes them: of what kind they are, and how they lie in memory.

Those of arguments.py and the like are tuples of tuples, of whole numbers, booleans and arrays, and reach compiled code
with an address in place of every array. Here they are 64-bit integers one after the other, the leaves of the tuple in
their order: so what Python has laid out is read by code that runs without Python.
"""

from typing import Any, get_type_hints

import numpy as np
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


def nothing(cls: Any) -> Any:
    """A tuple of a class with nothing in it: zeros, and arrays without a number."""
    if not (isinstance(cls, type) and issubclass(cls, tuple)):
        return 0 if cls is int else cls is not bool and np.zeros(0, dtype=np.float32)
    hints = get_type_hints(cls)
    return cls(*(nothing(hints[name]) for name in cls._fields))  # type: ignore[attr-defined]


def n_leaves(cls: Any) -> int:
    """How many numbers and arrays a tuple of a class holds."""
    if not (isinstance(cls, type) and issubclass(cls, tuple)):
        return 1
    return sum(map(n_leaves, get_type_hints(cls).values()))


def load_leaves(builder: Any, kind: types.Type, address: Any) -> list[Any]:
    """What lies of a tuple at an address, as the LLVM values that compiled code is called with: its leaves in order."""
    base, values = builder.inttoptr(address, _I64.as_pointer()), []
    for index, leaf in enumerate(_leaf_kinds(kind)):
        value = builder.load(builder.gep(base, [ir.Constant(_I64, index)]))
        values.append(builder.trunc(value, ir.IntType(1)) if leaf == types.boolean else value)
    return values


def _leaf_kinds(kind: types.Type) -> list[types.Type]:
    if isinstance(kind, types.BaseNamedTuple):
        return [leaf for one in kind.types for leaf in _leaf_kinds(one)]
    return [kind]


def reader(cls: Any, name: str) -> Any:
    """What compiled code calls with the address of a tuple of that class, as it lies in memory, to have one of its
    fields, which may be a tuple. Only what is used of it is read: large tuples take long to compile."""
    hints = get_type_hints(cls)
    kind = kind_of(hints[name])
    n_bytes_before = 8 * sum(n_leaves(hints[other]) for other in cls._fields[: cls._fields.index(name)])

    @intrinsic
    def read_field(_typing: Any, address: Any) -> Any:
        if not isinstance(address, types.Integer):
            return None

        def codegen(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            leaves = iter(load_leaves(builder, kind, builder.add(given[0], ir.Constant(_I64, n_bytes_before))))

            def build(kind: types.Type) -> Any:
                if isinstance(kind, types.BaseNamedTuple):
                    return context.make_tuple(builder, kind, [build(one) for one in kind.types])
                return next(leaves)

            return build(kind)

        return kind(types.intp), codegen

    return read_field
