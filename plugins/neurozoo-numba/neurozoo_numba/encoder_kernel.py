"""Encoder blocks, compiled: a sample at a time, and all of a block while that sample is in the processor's cache.

Features come before positions, ``[D, L]``, so that every loop runs over neighbouring positions, whatever is added up.
Queries are taken :data:`CHUNK` at a time. Keys and values are made for a whole source, without the rows that its mask
leaves out. All products are of small matrices, by :func:`_product`, whose sums stay in registers.

A number's operations and their order depend on its own sample alone: it is the same in every batch, and with any
number of threads.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic

from neurozoo_numba.compiling import for_arguments, kept_on_disk

__all__ = ["COLUMNS", "INNER", "compiled"]

CHUNK = 64
"""Queries at a time."""
VECTOR = 8
"""Numbers that one instruction works on, where the processor has such ones; elsewhere it takes several."""
STRIP = 2 * VECTOR
"""Columns of a product that are made at once; rows of memory are a multiple as long."""
ROWS = 6
"""Rows of a product that are made at once: with :data:`STRIP`, as many sums as there are registers for."""

# Products may be fused with the sum that takes them, and nothing else is rearranged.
OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
_part: Any = njit(**OPTIONS)
_intrinsic: Any = intrinsic
_local: Any = cgutils.alloca_once


ASKING_X, ASKING_POSITION, ASKING_SHARED, ASKING = range(4)
ASKED_X, ASKED_POSITION, ASKED_SHARED, ASKED = range(4, 8)
MASK, OUT, FIRST_PARAMETER = 8, 9, 10
"""Columns of the table that says where a block finds everything, as addresses, see :func:`_run`."""
PARAMETERS = 18
"""Weight and bias each of three norms (embedding, attention, output) and six linears (query, key, value, out, inner,
outer)."""
COLUMNS = FIRST_PARAMETER + PARAMETERS
QUERY, KEY, VALUE, ATTENDED, INNER, OUTER = range(6, PARAMETERS, 2)
EPS, LOG2_E = np.float32(1e-12), math.log2(math.e)
LOWEST = np.float32(-126.0)
"""The least power of 2 that float32 has in full."""
TO_WHOLE = np.float32(1.5 * 2**23)
"""Added and taken away again, it rounds to whole numbers; and a sum's last bits are that number's."""
TAYLOR_0, TAYLOR_1, TAYLOR_2, TAYLOR_3, TAYLOR_4, TAYLOR_5, TAYLOR_6 = (
    np.float32(math.log(2) ** n / math.factorial(n)) for n in range(7)
)
"""Of ``2 ** x``; for ``|x| <= 1/2`` what is left out is below 1.2e-7 of it."""


def _pointer(to: Any, what: Any) -> Any:
    """Makes an address a pointer to what numba calls ``to`` and LLVM ``what``."""
    kind: Any = types.CPointer

    @_intrinsic
    def pointer(context, address):  # type: ignore[no-untyped-def]
        def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], what.as_pointer())

        return kind(to)(types.int64), code

    return pointer


_numbers, _whole, _bytes = (
    _pointer(*each)
    for each in ((types.float32, ir.FloatType()), (types.int64, ir.IntType(64)), (types.uint8, ir.IntType(8)))
)


@_intrinsic
def _times_power(context, mantissa, sum):  # type: ignore[no-untyped-def]
    """``mantissa * 2 ** n``, n the whole number that :data:`TO_WHOLE` was added to."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        bits, exponent = (builder.bitcast(x, number) for x in arguments)
        return builder.bitcast(builder.add(bits, builder.shl(exponent, number(23))), ir.FloatType())

    return types.float32(types.float32, types.float32), code


@_part
def _power_of_2(x):  # type: ignore[no-untyped-def]
    """``2 ** x`` for ``x <= 0``, within 2e-7 of it, and next to nothing below :data:`LOWEST`."""
    x = LOWEST if x < LOWEST else x  # in this order: what is no number stays none
    sum = x + TO_WHOLE
    rest = x - (sum - TO_WHOLE)
    height = TAYLOR_6 * rest + TAYLOR_5
    height = height * rest + TAYLOR_4
    height = height * rest + TAYLOR_3
    height = height * rest + TAYLOR_2
    height = height * rest + TAYLOR_1
    return _times_power(height * rest + TAYLOR_0, sum)


def _tile(rows: int) -> Any:
    """Makes ``rows`` rows and :data:`STRIP` columns of a product, see :func:`_product`."""

    @_intrinsic
    def tile(context, left, down, along, count, right, right_row, bias, out, out_row):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            size, lane, number = ir.IntType(64), ir.IntType(32), ir.FloatType()
            vector = ir.VectorType(number, VECTOR)
            nothing, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(lane, VECTOR), None)
            strips = range(STRIP // VECTOR)
            left, down, along, count, right, right_row, bias, out, out_row = arguments

            def place(address: Any, row: Any, of: Any) -> Any:
                """The number that is ``row * of`` numbers behind an address."""
                start = builder.inttoptr(address, number.as_pointer())
                return builder.gep(start, [builder.mul(row, of)])

            def strip(row: Any, which: int) -> Any:
                return builder.bitcast(builder.gep(row, [size(which * VECTOR)]), vector.as_pointer())

            def repeated(x: Any) -> Any:
                return builder.shuffle_vector(builder.insert_element(nothing, x, lane(0)), nothing, first)

            name = f"llvm.fmuladd.v{VECTOR}f32"  # fused where the processor does that
            kind = ir.FunctionType(vector, [vector] * 3)
            multiply_add = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            sums = [[_local(builder, vector) for _ in strips] for _ in range(rows)]
            with builder.if_else(builder.icmp_signed("==", bias, size(0))) as (without, with_bias):
                with without:
                    for each in (each for row in sums for each in row):
                        builder.store(ir.Constant(vector, None), each)
                with with_bias:
                    for row in range(rows):
                        start = repeated(builder.load(place(bias, size(row), size(1))))
                        for each in sums[row]:
                            builder.store(start, each)
            with cgutils.for_range(builder, count) as loop:
                from_right = place(right, loop.index, right_row)
                x = [builder.load(strip(from_right, which), align=4) for which in strips]
                from_left = place(left, loop.index, along)
                for row in range(rows):
                    factor = repeated(builder.load(builder.gep(from_left, [builder.mul(size(row), down)])))
                    for which in strips:
                        sum_so_far = builder.load(sums[row][which])
                        builder.store(builder.call(multiply_add, [factor, x[which], sum_so_far]), sums[row][which])
            for row in range(rows):
                to = place(out, size(row), out_row)
                for which in strips:
                    builder.store(builder.load(sums[row][which]), strip(to, which), align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), code

    return tile


_many_rows, _one_row = _tile(ROWS), _tile(1)


@_part
def _product(left, down, along, right, right_row, bias, out, out_row, shape):  # type: ignore[no-untyped-def]
    """``out[o, i] = bias[o] + sum_k left[o, k] right[k, i]``.

    Args:
        left: Address of float32 numbers, as all of them are.
        down: Numbers from a row of it to the next one.
        along: Numbers from a column of it to the next one.
        right: Address.
        right_row: Numbers from a row to the next one.
        bias: Address; 0 for none.
        out: Address.
        out_row: As ``right_row``.
        shape: How many o, k and i there are, the last a multiple of :data:`STRIP`.
    """
    rows, count, columns = shape
    row = 0
    while row < rows:
        many = row + ROWS <= rows
        of_left, of_bias = left + 4 * row * down, bias + 4 * row if bias else bias
        for column in range(0, columns, STRIP):
            of_right, to = right + 4 * column, out + 4 * (row * out_row + column)
            if many:
                _many_rows(of_left, down, along, count, of_right, right_row, of_bias, to, out_row)
            else:
                _one_row(of_left, down, along, count, of_right, right_row, of_bias, to, out_row)
        row += ROWS if many else 1


@_part
def _normed(x, weight, bias, columns, mean, scale):  # type: ignore[no-untyped-def]
    """The layer norm of each column of ``x`` ``[D, columns]``, in place."""
    width = x.shape[0]
    one, share = np.float32(1.0), np.float32(1.0) / np.float32(width)
    for i in range(columns):
        mean[i] = 0
        scale[i] = 0
    for d in range(width):
        row = x[d]
        for i in range(columns):
            mean[i] += row[i]
    for i in range(columns):
        mean[i] *= share
    for d in range(width):
        row = x[d]
        for i in range(columns):
            row[i] -= mean[i]
            scale[i] += row[i] * row[i]
    for i in range(columns):
        scale[i] = one / math.sqrt(scale[i] * share + EPS)
    for d in range(width):
        row, factor, offset = x[d], weight[d], bias[d]
        for i in range(columns):
            row[i] = row[i] * scale[i] * factor + offset


@_part
def _embedded(x, position, code, weight, bias, out, columns, mean, scale):  # type: ignore[no-untyped-def]
    """``LayerNorm(2 x + code)`` of rows ``[L, D]``, as columns of ``out`` ``[D, columns]``; False for a position that
    the code does not have."""
    length, width = x.shape
    for i in range(length):
        if not 0 <= position[i] < code.shape[0]:
            return False
        row, place = x[i], code[position[i]]
        for d in range(width):
            out[d, i] = np.float32(2) * row[d] + place[d]
    for d in range(width):
        for i in range(length, columns):
            out[d, i] = 0
    _normed(out, weight, bias, columns, mean, scale)
    return True


@_part
def _add(x, to, columns):  # type: ignore[no-untyped-def]
    for d in range(to.shape[0]):
        row, other = to[d], x[d]
        for i in range(columns):
            row[i] += other[i]


@_part
def _larger(a, b):  # type: ignore[no-untyped-def]
    return a if a > b else b


@_part
def _powers(scores, columns, most, total):  # type: ignore[no-untyped-def]
    """2 to the scores less each column's largest, in place, with the columns' sums."""
    for i in range(columns):
        most[i] = scores[0, i]
        total[i] = 0
    s, rows = 1, scores.shape[0]
    while s < rows:
        a, b, c, d = scores[s], scores[min(s + 1, rows - 1)], scores[min(s + 2, rows - 1)], scores[min(s + 3, rows - 1)]
        for i in range(columns):
            one, other = _larger(a[i], b[i]), _larger(c[i], d[i])
            most[i] = _larger(_larger(one, other), most[i])
        s += 4
    for s in range(scores.shape[0]):
        row = scores[s]
        for i in range(columns):
            row[i] = _power_of_2(row[i] - most[i])
            total[i] += row[i]


def _run(first, last, samples, width, inner, heads, code, table):  # type: ignore[no-untyped-def]
    """Blocks and samples ``first`` to ``last``: number ``n`` is sample ``n % samples`` of block ``n // samples``.

    Args:
        first: From 0.
        last: One past the last.
        samples: B.
        width: D.
        inner: Width of the feed-forward.
        heads: H, divides D.
        code: Address of the position code ``[longest sequence, D]``.
        table: ``[G, COLUMNS]``, a row a block: of what asks (the query) and what is asked (the source) the addresses
            of ``[B, L, D]`` and of positions ``[B, L]``, whether these are ``[1, L]`` for all, and L; the address
            of the source's mask ``[B, S]`` or 0, and of the result; and those of its :data:`PARAMETERS`.

    Returns:
        False where it stopped at a position that is not in its sequence.
    """
    longest = 0
    for g in range(first // samples, (last - 1) // samples + 1):
        longest = max(longest, table[g, ASKED])
    keys_row = (longest + STRIP - 1) // STRIP * STRIP
    of_source = np.empty((3 * width + 2, keys_row), np.float32)
    source, mean_s, scale_s = of_source[:width], of_source[3 * width], of_source[3 * width + 1]
    keys, values = of_source[width:].ctypes.data, of_source[2 * width :].ctypes.data
    kept = np.empty((longest, width), np.float32)
    kept_position = np.empty(longest, np.int64)
    of_query = np.empty((3 * width + inner + longest + 4, CHUNK), np.float32)
    embedded, query, attended = of_query[:width], of_query[width : 2 * width], of_query[2 * width : 3 * width]
    fed, scores = of_query[3 * width : 3 * width + inner], of_query[3 * width + inner :]
    mean, scale, most, total = of_query[-4], of_query[-3], of_query[-2], of_query[-1]
    head = width // heads
    sharpness = np.float32(LOG2_E / math.sqrt(head))  # the scores are in powers of 2

    for n in range(first, last):
        b, row = n % samples, table[n // samples]
        parameters = row[FIRST_PARAMETER:]
        asking, asked = row[ASKING], row[ASKED]
        x = carray(_numbers(row[ASKED_X] + 4 * b * asked * width), (asked, width))
        shift = 0 if row[ASKED_SHARED] else 8 * b * asked
        position = carray(_whole(row[ASKED_POSITION] + shift), (asked,))
        heard = asked
        if row[MASK]:
            mask = carray(_bytes(row[MASK] + b * asked), (asked,))
            heard = 0
            for s in range(asked):
                if mask[s]:
                    kept[heard] = x[s]
                    kept_position[heard] = position[s]
                    heard += 1
            x, position = kept[:heard], kept_position[:heard]
        norm = carray(_numbers(parameters[0]), (width,)), carray(_numbers(parameters[1]), (width,))
        columns = (heard + STRIP - 1) // STRIP * STRIP
        codes = carray(_numbers(code), (asked, width))
        if not _embedded(x, position, codes, norm[0], norm[1], source, columns, mean_s, scale_s):
            return False
        for which, to in ((KEY, keys), (VALUE, values)):
            _product(
                parameters[which], width, 1, source.ctypes.data, keys_row, parameters[which + 1], to, keys_row,
                (width, width, columns),
            )  # fmt: skip

        shift = 0 if row[ASKING_SHARED] else 8 * b * asking
        x = carray(_numbers(row[ASKING_X] + 4 * b * asking * width), (asking, width))
        position = carray(_whole(row[ASKING_POSITION] + shift), (asking,))
        out = carray(_numbers(row[OUT] + 4 * b * asking * width), (asking, width))
        codes = carray(_numbers(code), (asking, width))
        for start in range(0, asking, CHUNK):
            count = min(CHUNK, asking - start)
            columns = (count + STRIP - 1) // STRIP * STRIP
            if not _embedded(
                x[start : start + count], position[start : start + count], codes, norm[0], norm[1], embedded, columns,
                mean, scale,
            ):  # fmt: skip
                return False
            if heard:
                _product(
                    parameters[QUERY], width, 1, embedded.ctypes.data, CHUNK, parameters[QUERY + 1],
                    query.ctypes.data, CHUNK, (width, width, columns),
                )  # fmt: skip
                for d in range(width):
                    for i in range(columns):
                        query[d, i] *= sharpness
                for h in range(heads):
                    behind = 4 * h * head
                    _product(
                        keys + behind * keys_row, 1, keys_row, query.ctypes.data + behind * CHUNK, CHUNK, 0,
                        scores.ctypes.data, CHUNK, (heard, head, columns),
                    )  # fmt: skip
                    _powers(scores[:heard], columns, most, total)
                    _product(
                        values + behind * keys_row, keys_row, 1, scores.ctypes.data, CHUNK, 0,
                        attended.ctypes.data + behind * CHUNK, CHUNK, (head, heard, columns),
                    )  # fmt: skip
                    for d in range(h * head, (h + 1) * head):
                        for i in range(columns):
                            attended[d, i] /= total[i]
                _product(
                    parameters[ATTENDED], width, 1, attended.ctypes.data, CHUNK, parameters[ATTENDED + 1],
                    query.ctypes.data, CHUNK, (width, width, columns),
                )  # fmt: skip
                _add(query, embedded, columns)
            norm_1 = carray(_numbers(parameters[2]), (width,)), carray(_numbers(parameters[3]), (width,))
            _normed(embedded, norm_1[0], norm_1[1], columns, mean, scale)
            _product(
                parameters[INNER], width, 1, embedded.ctypes.data, CHUNK, parameters[INNER + 1], fed.ctypes.data,
                CHUNK, (inner, width, columns),
            )  # fmt: skip
            for d in range(inner):
                line = fed[d]
                for i in range(columns):
                    line[i] = np.float32(0) if line[i] < 0 else line[i]
            _product(
                parameters[OUTER], inner, 1, fed.ctypes.data, CHUNK, parameters[OUTER + 1], query.ctypes.data, CHUNK,
                (width, inner, columns),
            )  # fmt: skip
            _add(embedded, query, columns)
            norm_2 = carray(_numbers(parameters[4]), (width,)), carray(_numbers(parameters[5]), (width,))
            _normed(query, norm_2[0], norm_2[1], columns, mean, scale)
            for i in range(count):
                for d in range(width):
                    out[start + i, d] = query[d, i]
    return True


@cache
def compiled() -> Any:
    """The kernel, compiled when first asked for; in later processes it comes from numba's cache."""
    table = types.Array(types.int64, 2, "C", readonly=True)
    return for_arguments(kept_on_disk(_run, OPTIONS), (*[types.int64] * 7, table))
