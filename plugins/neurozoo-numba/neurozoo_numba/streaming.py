"""Memory read before it is needed and written past the processor's cache, which numba has no words for.

Rows of memory that are far apart end the processor's own guesses of what comes next, and a number written into memory
that is in no cache has its line read first, for nothing where the whole line is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["LINE", "OPTIONS", "copy", "loop", "put", "read_ahead"]

LINE = 16
"""Numbers in a line of the processor's cache, in float32; two lines, which come together, in float64."""
VECTOR = 32
"""Bytes written at a time."""

# No fastmath: it would let the compiler reorder sums and fuse products into them.
OPTIONS: Any = {"nogil": True, "error_model": "numpy"}
loop: Any = njit(**OPTIONS, forceinline=True)
"""A piece of a kernel, whose constant arguments the compiler knows."""
_intrinsic: Any = intrinsic


@_intrinsic
def _fetch(context, array, place):  # type: ignore[no-untyped-def]
    """Ask for the line of ``array[place]`` and go on, as ``llvm.prefetch`` has it (LLVM language reference)."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, number, name = ir.IntType(8).as_pointer(), ir.IntType(32), "llvm.prefetch.p0i8"
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        address = builder.bitcast(_address(context, builder, signature, arguments, 0), byte)
        to_read, into_all_caches, data = number(0), number(3), number(1)
        builder.call(fetch, [address, to_read, into_all_caches, data])
        return context.get_dummy_value()

    return types.void(array, place), code


@_intrinsic
def _stream(context, to, place, numbers, first):  # type: ignore[no-untyped-def]
    """``to[place:] = numbers[first:]``, as many as fit :data:`VECTOR`, past the cache; ``to[place]`` is aligned so."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = signature.args[0].dtype
        vector = ir.VectorType(context.get_data_type(number), VECTOR * 8 // number.bitwidth).as_pointer()
        goal, source = (
            builder.bitcast(_address(context, builder, signature, arguments, which), vector) for which in (0, 2)
        )
        written = builder.store(builder.load(source, align=number.bitwidth // 8), goal, align=VECTOR)
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(to, place, numbers, first), code


@_intrinsic
def _misaligned(context, array):  # type: ignore[no-untyped-def]
    """Bytes from the last multiple of :data:`VECTOR` to the array's first number."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = ir.IntType(64)
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.and_(builder.ptrtoint(start, size), size(VECTOR - 1))

    return types.int64(array), code


def _address(context: Any, builder: Any, signature: Any, arguments: Any, which: int) -> Any:
    """Of the number that an array, argument ``which``, has at the place that the next argument says."""
    array = context.make_array(signature.args[which])(context, builder, arguments[which])
    return builder.gep(array.data, [arguments[which + 1]])


@loop
def read_ahead(array, start, count):  # type: ignore[no-untyped-def]
    """Begin to read ``array[start : start + count]``, as far as there is such, and do not wait for it."""
    for place in range(start, min(start + count, array.shape[0]), LINE):
        _fetch(array, place)


@loop
def copy(numbers, to):  # type: ignore[no-untyped-def]
    """``to[:] = numbers``, of which numba makes a hundred times the code."""
    for place in range(to.shape[0]):
        to[place] = numbers[place]


@loop
def put(numbers, to, past_cache):  # type: ignore[no-untyped-def]
    """``to[:] = numbers``; past the cache for what is too large to be found there by whoever reads it next."""
    size = to.shape[0]
    if not past_cache:
        copy(numbers, to)
        return
    bytes_each = to.itemsize
    some = VECTOR // bytes_each
    head = min(size, np.int64((VECTOR - _misaligned(to)) % VECTOR // bytes_each))
    body = head + (size - head) // some * some
    for place in range(head):
        to[place] = numbers[place]
    for place in range(head, body, some):
        _stream(to, place, numbers, place)
    for place in range(body, size):
        to[place] = numbers[place]
