"""Products of small matrices, with the sums in registers.

Matrices are addresses of float32 numbers ``[rows, positions]``: numba compiles integers quickly, and arrays slowly.
Every loop runs over neighbouring positions, and the order of each sum does not depend on the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["OPTIONS", "STRIP", "add_sums", "part", "product"]

VECTOR = 8
"""Numbers in a vector; processors with shorter ones take several instructions."""
STRIP = 2 * VECTOR
"""Columns of a product that are computed together."""
ROWS = 6
"""Rows of a product that are computed together: with :data:`STRIP`, as many sums as there are registers."""
SIDE = 3
"""Rows and columns of :func:`add_sums` that are computed together."""

# Products may be fused with the sums they are added to; nothing else is reordered.
OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
part: Any = njit(**OPTIONS)
"""A piece of a kernel."""
_intrinsic: Any = intrinsic
_local: Any = cgutils.alloca_once

_SIZE, _NUMBER = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_NUMBER, VECTOR)


class _Code:
    """Vector instructions of LLVM (see its language reference), emitted by a builder."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        fused = f"llvm.fmuladd.v{VECTOR}f32"  # one operation where the processor has it
        self._multiply_add = self._function(fused, _VECTOR, [_VECTOR] * 3)
        self._total = self._function(f"llvm.vector.reduce.fadd.v{VECTOR}f32", _NUMBER, [_NUMBER, _VECTOR])

    def _function(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)

    def place(self, address: Any, steps: Any, step: Any) -> Any:
        """A pointer to the number ``steps * step`` numbers after an address."""
        start = self.builder.inttoptr(address, _NUMBER.as_pointer())
        return self.builder.gep(start, [self.builder.mul(steps, step)])

    def load(self, place: Any, which: int = 0) -> Any:
        """The vector ``which`` vectors after a place."""
        return self.builder.load(self._vector(place, which), align=4)

    def store(self, vector: Any, place: Any, which: int = 0) -> None:
        self.builder.store(vector, self._vector(place, which), align=4)

    def _vector(self, place: Any, which: int) -> Any:
        return self.builder.bitcast(self.builder.gep(place, [_SIZE(which * VECTOR)]), _VECTOR.as_pointer())

    def repeated(self, number: Any) -> Any:
        """A vector with all elements equal."""
        nothing, lane = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
        first = ir.Constant(ir.VectorType(lane, VECTOR), None)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, number, lane(0)), nothing, first)

    def sums(self, rows: int, columns: int) -> list[list[Any]]:
        """``rows`` times ``columns`` vectors of zeros."""
        made = [[_local(self.builder, _VECTOR) for _ in range(columns)] for _ in range(rows)]
        for each in (each for row in made for each in row):
            self.builder.store(ir.Constant(_VECTOR, None), each)
        return made

    def multiply_add(self, a: Any, b: Any, sum: Any) -> None:
        """``sum += a * b``."""
        self.builder.store(self.builder.call(self._multiply_add, [a, b, self.builder.load(sum)]), sum)

    def total(self, vector: Any) -> Any:
        """The sum of a vector's elements."""
        return self.builder.call(self._total, [_NUMBER(0.0), vector], fastmath=("reassoc",))


def _product_tile(rows: int) -> Any:
    """``rows`` rows and :data:`STRIP` columns of a product, see :func:`product`."""

    @_intrinsic
    def tile(context, left, down, along, count, right, right_row, out, out_row):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            left, down, along, count, right, right_row, out, out_row = arguments
            code, strips = _Code(builder), range(STRIP // VECTOR)
            sums = code.sums(rows, len(strips))
            with cgutils.for_range(builder, count) as loop:
                from_right, from_left = code.place(right, loop.index, right_row), code.place(left, loop.index, along)
                x = [code.load(from_right, which) for which in strips]
                for row in range(rows):
                    factor = code.repeated(builder.load(builder.gep(from_left, [builder.mul(_SIZE(row), down)])))
                    for which in strips:
                        code.multiply_add(factor, x[which], sums[row][which])
            for row in range(rows):
                to = code.place(out, _SIZE(row), out_row)
                for which in strips:
                    code.store(builder.load(sums[row][which]), to, which)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), code

    return tile


def _sums_tile(side: int) -> Any:
    """``side`` rows and columns of :func:`add_sums`."""

    @_intrinsic
    def tile(context, left, left_row, right, right_row, vectors, out, out_row):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            left, left_row, right, right_row, vectors, out, out_row = arguments
            code = _Code(builder)
            sums = code.sums(side, side)
            with cgutils.for_range(builder, vectors) as loop:
                behind = builder.mul(loop.index, _SIZE(VECTOR))

                def vector(address: Any, row: int, step: Any) -> Any:
                    return code.load(builder.gep(code.place(address, _SIZE(row), step), [behind]))

                x = [vector(right, column, right_row) for column in range(side)]
                for row in range(side):
                    factor = vector(left, row, left_row)
                    for column in range(side):
                        code.multiply_add(factor, x[column], sums[row][column])
            for row in range(side):
                to = code.place(out, _SIZE(row), out_row)
                for column in range(side):
                    there = builder.gep(to, [_SIZE(column)])
                    total = code.total(builder.load(sums[row][column]))
                    builder.store(builder.fadd(builder.load(there), total), there)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), code

    return tile


_many_rows, _one_row = _product_tile(ROWS), _product_tile(1)
_many_sums, _one_sum = _sums_tile(SIDE), _sums_tile(1)


@part
def product(left, down, along, right, right_row, out, out_row, rows, count, columns):  # type: ignore[no-untyped-def]
    """``out[o, i] = sum_k left[o, k] right[k, i]``.

    Args:
        left: Address of ``[rows, count]``.
        down: Numbers from a row of it to the next one.
        along: Numbers from a column of it to the next one.
        right: Address of ``[count, columns]``.
        right_row: Numbers from a row of it to the next one.
        out: Address of ``[rows, columns]``, written.
        out_row: As ``right_row``.
        rows: How many o.
        count: How many k.
        columns: How many i, a multiple of :data:`STRIP`.
    """
    row = 0
    while row < rows:
        many = row + ROWS <= rows
        of_left = left + 4 * row * down
        for column in range(0, columns, STRIP):
            of_right, to = right + 4 * column, out + 4 * (row * out_row + column)
            if many:
                _many_rows(of_left, down, along, count, of_right, right_row, to, out_row)
            else:
                _one_row(of_left, down, along, count, of_right, right_row, to, out_row)
        row += ROWS if many else 1


@part
def add_sums(left, left_row, right, right_row, out, out_row, rows, count, columns):  # type: ignore[no-untyped-def]
    """``out[o, k] += sum_i left[o, i] right[k, i]``.

    Args:
        left: Address of ``[rows, columns]``.
        left_row: Numbers from a row of it to the next one.
        right: Address of ``[count, columns]``.
        right_row: As ``left_row``.
        out: Address of ``[rows, count]``, added to.
        out_row: As ``left_row``.
        rows: How many o.
        count: How many k.
        columns: How many i, a multiple of :data:`VECTOR`.
    """
    vectors = columns // VECTOR
    for row in range(0, rows, SIDE):
        for column in range(0, count, SIDE):
            of_left, of_right = left + 4 * row * left_row, right + 4 * column * right_row
            to = out + 4 * (row * out_row + column)
            if row + SIDE <= rows and column + SIDE <= count:
                _many_sums(of_left, left_row, of_right, right_row, vectors, to, out_row)
                continue
            for o in range(min(SIDE, rows - row)):
                for k in range(min(SIDE, count - column)):
                    _one_sum(
                        of_left + 4 * o * left_row, left_row, of_right + 4 * k * right_row, right_row, vectors,
                        to + 4 * (o * out_row + k), out_row,
                    )  # fmt: skip
