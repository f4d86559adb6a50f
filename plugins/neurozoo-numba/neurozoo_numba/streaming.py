"""Intrinsics that numba lacks: prefetching, writing past the processor's cache, rows without bounds checks, C calls.

The processor does not prefetch across rows that are far apart, and it reads a line of memory before it writes to it,
which is wasted if the whole line is overwritten.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "LINE",
    "OPTIONS",
    "added_rows",
    "call",
    "copy",
    "loop",
    "lowest_bit",
    "not_zero",
    "pointed",
    "put",
    "read_ahead",
    "row",
    "rows",
    "values",
    "written_out",
]

LINE = 16
"""Numbers in a line of the processor's cache, in float32; two lines, which come together, in float64."""
VECTOR = 32
"""Bytes written at a time."""
WORD = 64
"""Numbers that :func:`not_zero` looks at."""

# No fastmath: it would let the compiler reorder sums and fuse products into them.
OPTIONS: Any = {"nogil": True, "error_model": "numpy"}
loop: Any = njit(**OPTIONS, forceinline=True)
"""A piece of a kernel; constant arguments are propagated into it."""
written_out: Any = njit(**OPTIONS, inline="always")
"""The same, inlined before compilation: compiled separately, an in-place loop is vectorised for arrays that do not
overlap, and falls back to scalar code."""
_intrinsic: Any = intrinsic
_counted: Any = intrinsic(prefer_literal=True)


@_intrinsic
def _fetch(context, array, place):  # type: ignore[no-untyped-def]
    """Prefetch the line of ``array[place]`` (``llvm.prefetch`` of the LLVM language reference)."""

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


@_intrinsic
def row(context, array, place, count):  # type: ignore[no-untyped-def]
    """``array[place : place + count]`` without a bounds check, and with distances that the compiler knows."""
    form = _row_type(array)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _row(context, builder, signature, arguments, arguments[1], arguments[2])

    return form(array, place, count), code


@_intrinsic
def call(context, address, mine, x, place, count, flags):  # type: ignore[no-untyped-def]
    """Call the C function at ``address`` with pointers to ``mine`` and ``x[place]``, a count and flags."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole, number = ir.IntType(64), context.get_data_type(signature.args[1].dtype).as_pointer()
        form = ir.FunctionType(ir.VoidType(), [number, number, whole, whole])
        function = builder.inttoptr(arguments[0], form.as_pointer())
        there = context.make_array(signature.args[1])(context, builder, arguments[1]).data
        builder.call(function, [there, _address(context, builder, signature, arguments, 2), *arguments[4:]])
        return context.get_dummy_value()

    return types.void(types.int64, mine, x, types.int64, types.int64, types.int64), code


@_intrinsic
def not_zero(context, array, place):  # type: ignore[no-untyped-def]
    """The bits of those of the :data:`WORD` numbers from ``array[place]`` on that are not 0, the first one lowest."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = signature.args[0].dtype
        vector = ir.VectorType(context.get_data_type(number), WORD)
        address = builder.bitcast(_address(context, builder, signature, arguments, 0), vector.as_pointer())
        # Unordered: NaN is not 0.
        found = builder.fcmp_unordered("!=", builder.load(address, align=number.bitwidth // 8), vector(None))
        return builder.bitcast(found, ir.IntType(WORD))

    return types.uint64(array, place), code


@_intrinsic
def lowest_bit(context, bits):  # type: ignore[no-untyped-def]
    """The place of the lowest bit that is set; there must be one."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), code


@_intrinsic
def pointed(context, table, place, count, like):  # type: ignore[no-untyped-def]
    """An array of ``count`` numbers, of the dtype of ``like``, at the address ``table[place]``."""
    form = types.Array(like.dtype, 1, "C")

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.load(_address(context, builder, signature, arguments, 0))
        size = ir.IntType(64)(context.get_abi_sizeof(context.get_data_type(like.dtype)))
        made = context.make_array(form)(context, builder)
        context.populate_array(
            made,
            data=builder.inttoptr(address, context.get_data_type(like.dtype).as_pointer()),
            shape=cgutils.pack_array(builder, [arguments[2]]),  # type: ignore[no-untyped-call]
            strides=cgutils.pack_array(builder, [size]),  # type: ignore[no-untyped-call]
            itemsize=size,
            meminfo=None,
        )
        return made._getvalue()

    return form(table, types.int64, types.int64, like), code


@_counted
def rows(context, array, place, apart, count, number):  # type: ignore[no-untyped-def]
    """A tuple of ``number`` rows of ``count`` numbers, ``apart`` from each other; ``number`` is a constant."""
    how_many = number.literal_value

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, place, apart, count, _ = arguments
        each = []
        for _ in range(how_many):
            each.append(_row(context, builder, signature, arguments, place, count, signature.return_type.dtype))
            place = builder.add(place, apart)
        return context.make_tuple(builder, signature.return_type, each)

    return types.UniTuple(_row_type(array), how_many)(array, types.int64, types.int64, types.int64, number), code  # type: ignore[no-untyped-call]


@_counted
def values(context, array, number):  # type: ignore[no-untyped-def]
    """The first ``number`` numbers of an array as a tuple; ``number`` is a constant."""
    how_many = number.literal_value

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        each = [builder.load(builder.gep(data, [ir.IntType(64)(k)])) for k in range(how_many)]
        return context.make_tuple(builder, signature.return_type, each)

    return types.UniTuple(array.dtype, how_many)(array, number), code  # type: ignore[no-untyped-call]


@_counted
def added_rows(context, goal, to, given, starts, at, factors, first, last, lanes, vectors):  # type: ignore[no-untyped-def]
    """``goal[to:] += factors[k] * given[starts[k] + at:]`` of ``lanes * vectors`` numbers, for k from first to last.

    There is at least one k; ``lanes`` and ``vectors`` are constants. Sums stay in registers; they are in ascending k,
    and each product is rounded before it is added.
    """
    width, many = lanes.literal_value, vectors.literal_value

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(signature.args[0].dtype)
        vector, whole, small = ir.VectorType(number, width), ir.IntType(64), ir.IntType(32)
        align = signature.args[0].dtype.bitwidth // 8

        def data(which: int) -> Any:
            return context.make_array(signature.args[which])(context, builder, arguments[which]).data

        def spots(start: Any) -> list[Any]:
            each = [builder.gep(start, [whole(k * width)]) for k in range(many)]
            return [builder.bitcast(one, vector.as_pointer()) for one in each]

        goals = spots(_address(context, builder, signature, arguments, 0))
        weights, starts_of, factors_of = data(2), data(3), data(5)
        before = [builder.load(one, align=align) for one in goals]
        here, body, done = builder.block, builder.append_basic_block("rows"), builder.append_basic_block("added")
        builder.branch(body)
        builder.position_at_end(body)
        k, sums = builder.phi(whole), [builder.phi(vector) for _ in range(many)]
        factor = builder.load(builder.gep(factors_of, [k]))
        one = builder.insert_element(vector(ir.Undefined), factor, small(0))
        spread = builder.shuffle_vector(one, vector(ir.Undefined), ir.VectorType(small, width)(None))
        start = builder.add(builder.sext(builder.load(builder.gep(starts_of, [k])), whole), arguments[4])
        rows = [builder.load(one, align=align) for one in spots(builder.gep(weights, [start]))]
        after = [builder.fadd(total, builder.fmul(spread, each)) for total, each in zip(sums, rows, strict=True)]
        following = builder.add(k, whole(1))
        builder.cbranch(builder.icmp_signed("<", following, arguments[7]), body, done)
        for phi, first_value, next_value in zip((k, *sums), (arguments[6], *before), (following, *after), strict=True):
            phi.add_incoming(first_value, here)
            phi.add_incoming(next_value, body)
        builder.position_at_end(done)
        for total, one in zip(after, goals, strict=True):
            builder.store(total, one, align=align)
        return context.get_dummy_value()

    whole, small = types.int64, types.Array(types.int32, 1, "C")
    return types.void(goal, whole, given, small, whole, factors, whole, whole, lanes, vectors), code


def _row_type(array: Any) -> Any:
    return types.Array(array.dtype, 1, "C", readonly=not array.mutable)


def _row(context: Any, builder: Any, signature: Any, arguments: Any, place: Any, count: Any, form: Any = None) -> Any:
    form = form or signature.return_type
    whole = context.make_array(signature.args[0])(context, builder, arguments[0])
    made = context.make_array(form)(context, builder)
    context.populate_array(
        made,
        data=builder.gep(whole.data, [place]),
        shape=cgutils.pack_array(builder, [count]),  # type: ignore[no-untyped-call]
        strides=cgutils.pack_array(builder, [whole.itemsize]),  # type: ignore[no-untyped-call]
        itemsize=whole.itemsize,
        meminfo=None,
    )
    return made._getvalue()


def _address(context: Any, builder: Any, signature: Any, arguments: Any, which: int) -> Any:
    """The address of an element: argument ``which`` is the array, the next one the index."""
    array = context.make_array(signature.args[which])(context, builder, arguments[which])
    return builder.gep(array.data, [arguments[which + 1]])


@_intrinsic
def _power_of_two(context, biased):  # type: ignore[no-untyped-def]
    """``2 ** (biased - 127)`` as float32, by its bits."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.shl(arguments[0], ir.IntType(32)(23)), ir.FloatType())

    return types.float32(types.int32), code


@loop
def exponential(x):  # type: ignore[no-untyped-def]
    """``exp(x)`` of a float32, within 2 units in the last place: a loop over it is vectorised, one over libm's is not.

    ``x = n log 2 + r`` with r between -0.35 and 0.35, and a polynomial for ``exp(r)`` (S. L. Moshier, Cephes, expf).
    """
    number = np.float32
    within = min(max(x, number(-87.0)), number(88.0))
    n = np.floor(within * number(1.44269504) + number(0.5))
    r = within - n * number(0.693359375) + n * number(2.12194440e-4)
    y = number(1.9875691500e-4)
    y = y * r + number(1.3981999507e-3)
    y = y * r + number(8.3334519073e-3)
    y = y * r + number(4.1665795894e-2)
    y = y * r + number(1.6666665459e-1)
    y = y * r + number(5.0000001201e-1)
    y = (y * (r * r) + r + number(1.0)) * _power_of_two(np.int32(n) + np.int32(127))
    y = number(np.inf) if x > number(88.0) else y
    return y if x == x else x


@loop
def read_ahead(array, start, count):  # type: ignore[no-untyped-def]
    """Prefetch ``array[start : start + count]``, as far as it exists."""
    for place in range(start, min(start + count, array.shape[0]), LINE):
        _fetch(array, place)


@loop
def copy(numbers, to):  # type: ignore[no-untyped-def]
    """``to[:] = numbers``, for which numba generates a hundred times the code."""
    for place in range(to.shape[0]):
        to[place] = numbers[place]


@loop
def put(numbers, to, past_cache):  # type: ignore[no-untyped-def]
    """``to[:] = numbers``; ``past_cache`` for results that do not fit the cache until they are read."""
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
