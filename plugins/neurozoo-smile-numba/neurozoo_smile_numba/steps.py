"""The steps of an encoder block besides products: layer norms, softmax, dropout, forward and backward.

Matrices ``[rows, positions]`` of float32 numbers are given by their address and the distance ``row`` between rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from neurozoo_smile_numba.products import OPTIONS, add_sums, part, product

EPS = np.float32(1e-12)
LOWEST = np.float32(-126.0)
"""The smallest exponent of normal float32 numbers."""
TO_WHOLE = np.float32(1.5 * 2**23)
"""Adding and subtracting it rounds to whole numbers; the last bits of the sum are that number."""
TAYLOR_0, TAYLOR_1, TAYLOR_2, TAYLOR_3, TAYLOR_4, TAYLOR_5, TAYLOR_6 = (
    np.float32(math.log(2) ** n / math.factorial(n)) for n in range(7)
)
"""Taylor coefficients of ``2 ** x``; the remainder is below 1.2e-7 for ``|x| <= 1/2``."""
LEVELS = 2**16
"""See :func:`neurozoo.nn.dropout.factors_of`."""

_reducing: Any = njit(**{**OPTIONS, "fastmath": {"contract", "reassoc"}})
_intrinsic: Any = intrinsic


def _pointer(to: Any, what: Any) -> Any:
    """An intrinsic that casts an address to a pointer to ``to`` (numba) or ``what`` (LLVM)."""
    kind: Any = types.CPointer

    @_intrinsic
    def pointer(context, address):  # type: ignore[no-untyped-def]
        def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], what.as_pointer())

        return kind(to)(types.int64), code

    return pointer


_numbers = _pointer(types.float32, ir.FloatType())
_whole = _pointer(types.int64, ir.IntType(64))
_short = _pointer(types.int16, ir.IntType(16))
_bytes = _pointer(types.uint8, ir.IntType(8))


@part
def numbers_at(address, count):  # type: ignore[no-untyped-def]
    """``count`` float32 numbers as an array."""
    return carray(_numbers(address), (count,))


@part
def whole_at(address, count):  # type: ignore[no-untyped-def]
    """``count`` 64-bit integers as an array."""
    return carray(_whole(address), (count,))


@part
def bytes_at(address, count):  # type: ignore[no-untyped-def]
    """``count`` bytes as an array."""
    return carray(_bytes(address), (count,))


@_intrinsic
def _times_power(context, mantissa, sum):  # type: ignore[no-untyped-def]
    """``mantissa * 2 ** n`` with ``sum = n + TO_WHOLE``."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        bits, exponent = (builder.bitcast(x, number) for x in arguments)
        return builder.bitcast(builder.add(bits, builder.shl(exponent, number(23))), ir.FloatType())

    return types.float32(types.float32, types.float32), code


@part
def _power_of_2(x):  # type: ignore[no-untyped-def]
    """``2 ** x`` for ``x <= 0``, to 2e-7, and almost 0 below :data:`LOWEST`."""
    x = LOWEST if x < LOWEST else x  # in this order NaN stays NaN
    sum = x + TO_WHOLE
    rest = x - (sum - TO_WHOLE)
    height = TAYLOR_6 * rest + TAYLOR_5
    height = height * rest + TAYLOR_4
    height = height * rest + TAYLOR_3
    height = height * rest + TAYLOR_2
    height = height * rest + TAYLOR_1
    power = _times_power(height * rest + TAYLOR_0, sum)
    return power if x == x else x


@part
def standardise(x, row, width, columns, mean, scale):  # type: ignore[no-untyped-def]
    """Each column less its mean, times its ``scale``, in place: a layer norm up to :func:`affine`."""
    one, share = np.float32(1.0), np.float32(1.0) / np.float32(width)
    means, scales = numbers_at(mean, columns), numbers_at(scale, columns)
    for i in range(columns):
        means[i] = 0
        scales[i] = 0
    for d in range(width):
        line = numbers_at(x + 4 * d * row, columns)
        for i in range(columns):
            means[i] += line[i]
    for i in range(columns):
        means[i] *= share
    for d in range(width):
        line = numbers_at(x + 4 * d * row, columns)
        for i in range(columns):
            line[i] -= means[i]
            scales[i] += line[i] * line[i]
    for i in range(columns):
        scales[i] = one / math.sqrt(scales[i] * share + EPS)
    for d in range(width):
        line = numbers_at(x + 4 * d * row, columns)
        for i in range(columns):
            line[i] *= scales[i]


@part
def affine(x, row, width, columns, parameters, which, out):  # type: ignore[no-untyped-def]
    """The rest of a layer norm; its weight and bias are at ``parameters[which]`` and the next one."""
    factors, offsets = numbers_at(parameters[which], width), numbers_at(parameters[which + 1], width)
    for d in range(width):
        line, to = numbers_at(x + 4 * d * row, columns), numbers_at(out + 4 * d * row, columns)
        factor, offset = factors[d], offsets[d]
        for i in range(columns):
            to[i] = line[i] * factor + offset


@part
def embed(x, position, length, width, code, codes, out, row, columns):  # type: ignore[no-untyped-def]
    """``2 x + code`` of rows ``[length, width]`` as columns, padded by zeros; False for a position without a code."""
    places = whole_at(position, length)
    for i in range(length):
        if not 0 <= places[i] < codes:
            return False
    for d in range(width):
        to = numbers_at(out + 4 * d * row, columns)
        given, table = numbers_at(x, length * width), numbers_at(code, codes * width)
        for i in range(length):
            to[i] = np.float32(2) * given[i * width + d] + table[places[i] * width + d]
        for i in range(length, columns):
            to[i] = 0
    return True


@part
def clear(x, row, rows, columns):  # type: ignore[no-untyped-def]
    """Zeros."""
    for d in range(rows):
        line = numbers_at(x + 4 * d * row, columns)
        for i in range(columns):
            line[i] = 0


@part
def copy(x, row, rows, columns, out):  # type: ignore[no-untyped-def]
    """``out = x``."""
    for d in range(rows):
        line, to = numbers_at(x + 4 * d * row, columns), numbers_at(out + 4 * d * row, columns)
        for i in range(columns):
            to[i] = line[i]


@part
def add(x, row, rows, columns, out):  # type: ignore[no-untyped-def]
    """``out += x``."""
    for d in range(rows):
        line, to = numbers_at(x + 4 * d * row, columns), numbers_at(out + 4 * d * row, columns)
        for i in range(columns):
            to[i] += line[i]


@part
def scale_by(factor, x, row, rows, columns):  # type: ignore[no-untyped-def]
    """``x *= factor``."""
    for d in range(rows):
        line = numbers_at(x + 4 * d * row, columns)
        for i in range(columns):
            line[i] *= factor


@part
def drop(x, row, rows, count, bits, bits_row, lost):  # type: ignore[no-untyped-def]
    """Dropout in place, by random bits; nothing where none is lost."""
    if lost == 0:
        return
    factor, level = np.float32(LEVELS / (LEVELS - lost)), np.int16(lost - LEVELS // 2)
    for d in range(rows):
        line, random = numbers_at(x + 4 * d * row, count), carray(_short(bits + 2 * d * bits_row), (count,))
        for i in range(count):
            line[i] = line[i] * (factor if random[i] >= level else np.float32(0))


@part
def linear(parameters, which, x, row, out, rows, count, columns):  # type: ignore[no-untyped-def]
    """``weight x + bias``, the weight ``[rows, count]``; see :func:`affine`."""
    product(parameters[which], count, np.int64(1), x, row, out, row, rows, count, columns)
    offsets = numbers_at(parameters[which + 1], rows)
    for d in range(rows):
        line, offset = numbers_at(out + 4 * d * row, columns), offsets[d]
        for i in range(columns):
            line[i] += offset


@part
def linear_relu(parameters, which, x, row, out, rows, count, columns):  # type: ignore[no-untyped-def]
    """A ReLU after :func:`linear`; NaN stays NaN."""
    product(parameters[which], count, np.int64(1), x, row, out, row, rows, count, columns)
    offsets, zero = numbers_at(parameters[which + 1], rows), np.float32(0)
    for d in range(rows):
        line, offset = numbers_at(out + 4 * d * row, columns), offsets[d]
        # In the same loop: a choice between a number and what is there already would become a branch, and no vector
        # instruction.
        for i in range(columns):
            number = line[i] + offset
            line[i] = zero if number < zero else number


@part
def relu_back(result, row, rows, columns, grad):  # type: ignore[no-untyped-def]
    """From the gradient of a ReLU's result to that of its input, in place."""
    zero = np.float32(0)
    for d in range(rows):
        line, to = numbers_at(result + 4 * d * row, columns), numbers_at(grad + 4 * d * row, columns)
        for i in range(columns):
            to[i] = to[i] if line[i] > zero else zero


@part
def _larger(a, b):  # type: ignore[no-untyped-def]
    return a if a > b else b


@part
def softmax(x, row, rows, columns, most, total):  # type: ignore[no-untyped-def]
    """Softmax of each column, with powers of 2, in place."""
    largest, totals = numbers_at(most, columns), numbers_at(total, columns)
    first = numbers_at(x, columns)
    for i in range(columns):
        largest[i] = first[i]
        totals[i] = 0
    for s in range(1, rows, 3):
        a = numbers_at(x + 4 * s * row, columns)
        b = numbers_at(x + 4 * min(s + 1, rows - 1) * row, columns)
        c = numbers_at(x + 4 * min(s + 2, rows - 1) * row, columns)
        for i in range(columns):
            largest[i] = _larger(_larger(a[i], b[i]), _larger(c[i], largest[i]))
    for s in range(rows):
        line = numbers_at(x + 4 * s * row, columns)
        for i in range(columns):
            line[i] = _power_of_2(line[i] - largest[i])
            totals[i] += line[i]
    for i in range(columns):
        totals[i] = np.float32(1.0) / totals[i]
    for s in range(rows):
        line = numbers_at(x + 4 * s * row, columns)
        for i in range(columns):
            line[i] *= totals[i]


@part
def softmax_back(weights, row, rows, columns, grad, total):  # type: ignore[no-untyped-def]
    """From the gradient of a softmax's result to that of its input, without the factor of the base, in place."""
    totals = numbers_at(total, columns)
    for i in range(columns):
        totals[i] = 0
    for s in range(rows):
        weight, to = numbers_at(weights + 4 * s * row, columns), numbers_at(grad + 4 * s * row, columns)
        for i in range(columns):
            to[i] *= weight[i]
            totals[i] += to[i]
    for s in range(rows):
        weight, to = numbers_at(weights + 4 * s * row, columns), numbers_at(grad + 4 * s * row, columns)
        for i in range(columns):
            to[i] -= weight[i] * totals[i]


@_reducing
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@_reducing
def _sum(a):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += a[i]
    return total


@part
def through_norm(parameters, to, which, grad, row, width, columns, hat, scale, mean, along):  # type: ignore[no-untyped-def]
    """From the gradient of a layer norm's result to that of its input, in place; adds those of its parameters.

    ``hat`` and ``scale`` are what :func:`standardise` made, ``to`` has the addresses of the parameters' gradients, and
    ``mean`` and ``along`` are room for a row.
    """
    share, factors = np.float32(1.0) / np.float32(width), numbers_at(parameters[which], width)
    to_factors, to_offsets = numbers_at(to[which], width), numbers_at(to[which + 1], width)
    means, alongs, scales = numbers_at(mean, columns), numbers_at(along, columns), numbers_at(scale, columns)
    for i in range(columns):
        means[i] = 0
        alongs[i] = 0
    for d in range(width):
        line, other = numbers_at(grad + 4 * d * row, columns), numbers_at(hat + 4 * d * row, columns)
        to_factors[d] += _dot(line, other)
        to_offsets[d] += _sum(line)
        factor = factors[d]
        for i in range(columns):
            line[i] *= factor
            means[i] += line[i]
            alongs[i] += line[i] * other[i]
    for d in range(width):
        line, other = numbers_at(grad + 4 * d * row, columns), numbers_at(hat + 4 * d * row, columns)
        for i in range(columns):
            line[i] = scales[i] * (line[i] - share * (means[i] + other[i] * alongs[i]))


@part
def through_linear(parameters, to, which, x, row, grad, to_x, rows, count, columns):  # type: ignore[no-untyped-def]
    """From the gradient of :func:`linear`'s result to that of its input; adds those of its parameters."""
    add_sums(grad, row, x, row, to[which], count, rows, count, columns)
    offsets = numbers_at(to[which + 1], rows)
    for d in range(rows):
        offsets[d] += _sum(numbers_at(grad + 4 * d * row, columns))
    product(parameters[which], np.int64(1), count, grad, row, to_x, row, count, rows, columns)
