"""Single steps of all neurons, compiled: for loops over time with products of matrices between the steps.

:func:`advance` runs one step, :func:`replay` runs some again and writes what the adjoint needs, and :func:`retreat` is
the adjoint of one step. They share their pieces with the loops of ``neurozoo_numba.kernels``, so that both give the
same numbers. Each is called once a step, so that what a call costs counts: all but the step is in one ``table``.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numba import types

from neurozoo_numba.block import (
    ALONE,
    APART,
    CURRENT,
    CUT,
    FIRES_AT_TIES,
    GRADS,
    HEIGHTS,
    LEVEL,
    OUT,
    OUTER,
    ROWS,
    SLOPE,
    STATES,
    TO_LEVEL,
    TO_PARAMS,
    number_type,
)
from neurozoo_numba.compiling import for_arguments, kept_on_disk
from neurozoo_numba.kernels import fill, load_params, slopes, spread, total
from neurozoo_numba.streaming import OPTIONS, call, copy, loop, pointed, row

__all__ = ["ARRAYS", "CONSTANTS", "single_step"]

CONSTANTS = (
    "width", "size", "states", "params", "by_step", "inner", "period", "p_inner", "p_period", "own", "flags", "step",
    "adjoint", "detach", "late", "surrogate", "learns_levels", "learns_params", "apart", "ends",
)  # fmt: skip
"""Names of the whole numbers in a ``table``: neurons of a block and all, M; states S and parameters P; then see
``neurozoo_numba.kernels.forward`` and ``backward``, and what of them is learned; the distance of two steps' currents,
and whether nothing comes from the states after the step."""
ARRAYS = (
    "levels", "p", "x", "back", "now", "driven", "heights", "fired", "out", "spikes", "befores", "to_out", "to_now",
    "to_x", "to_levels", "to_params",
)  # fmt: skip
"""Names of the addresses that follow; 0 for no array."""
TABLE = (*CONSTANTS, *ARRAYS)
(
    WIDTH, SIZE, MANY_STATES, MANY_PARAMS, BY_STEP, INNER, PERIOD, P_INNER, P_PERIOD, OWN, FLAGS, STEP, ADJOINT, DETACH,
    LATE, SURROGATE, LEARNS_LEVELS, LEARNS_PARAMS, X_APART, ENDS, LEVELS, P, X, BACK, NOW, DRIVEN, AT_HEIGHTS, FIRED,
    OUTPUTS, SPIKES, BEFORES, TO_OUT, TO_NOW, TO_X, TO_LEVELS, TO_P,
) = range(len(TABLE))  # fmt: skip
BIG = 2**62
"""The size of arrays of which the address alone is known."""


@loop
def _at(table, place, numbers):  # type: ignore[no-untyped-def]
    """The array at an address of the table."""
    return pointed(table, place, BIG, numbers)


@loop
def _level(table, t, start, out, numbers):  # type: ignore[no-untyped-def]
    """Load the thresholds of step ``t``."""
    first = t * table[PERIOD] if table[BY_STEP] else 0
    spread(_at(table, LEVELS, numbers), first, table[INNER], table[PERIOD], start, out)


@loop
def _params(table, start, count, mine, numbers):  # type: ignore[no-untyped-def]
    """Load the parameters."""
    p, inner, period = _at(table, P, numbers), table[P_INNER], table[P_PERIOD]
    load_params(p, table[MANY_PARAMS], inner, period, table[OWN], start, count, mine)


@loop
def _load(table, states, place, at, count, mine):  # type: ignore[no-untyped-def]
    """Load ``[S * M]`` from ``place`` on into the rows from ``at`` on."""
    for k in range(table[MANY_STATES]):
        copy(row(states, place + k * table[SIZE], count), row(mine, at + k * APART, count))


@loop
def _store(table, states, place, at, count, mine):  # type: ignore[no-untyped-def]
    """The inverse of :func:`_load`."""
    for k in range(table[MANY_STATES]):
        copy(row(mine, at + k * APART, count), row(states, place + k * table[SIZE], count))


def advance(first, last, t, table, numbers, whole):  # type: ignore[no-untyped-def]
    """Step ``t`` of blocks ``first`` to ``last``.

    Args:
        first: First block, from 0; ``last`` is one past the last.
        t: The step.
        table: See :data:`CONSTANTS`, then the addresses of thresholds and parameters (``neurozoo_numba.kernels``);
            ``x``, currents of all steps; ``back``, currents ``[M]`` that are added; ``now``, the states ``[S * M]``,
            replaced. Written are ``driven``, the whole currents ``[T * M]``, and ``heights``, those that suffice for
            the adjoint, each of which may be ``x``; ``fired``, the outputs ``[M]``, and all steps' as ``out``
            ``[T * M]`` and as bytes in ``spikes``. All but ``x``, ``now`` and ``fired`` may be missing.
        numbers: The surrogate's scale and factor.
        whole: Any bytes.
    """
    size, mine = table[SIZE], np.empty(ROWS, numbers.dtype)
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    silent, keeps = table[FLAGS] & FIRES_AT_TIES == 0, table[AT_HEIGHTS] != 0
    flags = table[FLAGS] + HEIGHTS + ALONE if keeps else table[FLAGS]
    x, back, states = _at(table, X, numbers), _at(table, BACK, numbers), _at(table, NOW, numbers)
    for block in range(first, last):
        start = block * table[WIDTH]
        count, place = min(table[WIDTH], size - start), t * size + start
        level, now, made = row(mine, LEVEL, count), row(mine, CURRENT, count), row(mine, OUT, count)
        _level(table, t, start, level, numbers)
        _params(table, start, count, mine, numbers)
        _load(table, states, start, STATES, count, mine)
        given = row(x, t * table[X_APART] + start, count)
        if table[BACK]:
            added = row(back, start, count)
            for i in range(count):
                now[i] = given[i] + added[i]
        else:
            copy(given, now)
        if table[DRIVEN]:
            copy(now, row(_at(table, DRIVEN, numbers), place, count))
        call(table[STEP], mine, mine, CURRENT, count, flags)
        if keeps:
            copy(made, row(_at(table, AT_HEIGHTS, numbers), place, count))
            for i in range(count):
                made[i] = one if (made[i] > zero) | ((made[i] == zero) & (not silent)) else zero
        copy(made, row(_at(table, FIRED, numbers), start, count))
        if table[OUTPUTS]:
            copy(made, row(_at(table, OUTPUTS, numbers), place, count))
        if table[SPIKES]:
            spikes = row(_at(table, SPIKES, whole), place, count)
            for i in range(count):
                spikes[i] = np.uint8(made[i])
        _store(table, states, start, STATES, count, mine)


def replay(first, last, begin, end, table, numbers):  # type: ignore[no-untyped-def]
    """Run steps ``begin`` to ``end`` of blocks ``first`` to ``last`` again.

    Args, beyond those of :func:`advance`:
        table: ``x`` are the whole currents of all steps, ``now`` the states before step ``begin``, which stay. Written
            are ``befores``, the states before each step, ``[(end - begin) * S * M]``, and ``heights`` likewise.
    """
    size, mine, x = table[SIZE], np.empty(ROWS, numbers.dtype), _at(table, X, numbers)
    befores, heights = _at(table, BEFORES, numbers), _at(table, AT_HEIGHTS, numbers)
    for block in range(first, last):
        start = block * table[WIDTH]
        count = min(table[WIDTH], size - start)
        _params(table, start, count, mine, numbers)
        _load(table, _at(table, NOW, numbers), start, STATES, count, mine)
        for t in range(begin, end):
            if table[BY_STEP] or t == begin:
                _level(table, t, start, row(mine, LEVEL, count), numbers)
            n = t - begin
            _store(table, befores, n * table[MANY_STATES] * size + start, STATES, count, mine)
            call(table[STEP], mine, x, t * size + start, count, table[FLAGS] + HEIGHTS)
            copy(row(mine, OUT, count), row(heights, n * size + start, count))


def retreat(first, last, t, n, table, numbers):  # type: ignore[no-untyped-def]
    """The adjoint of step ``t`` of blocks ``first`` to ``last``.

    Args, beyond those of :func:`advance`:
        n: Which of the heights, and of the states before a step, are the step's.
        table: ``x`` are the whole currents, used if parameters are learned; ``befores`` may be missing where the
            heights suffice. ``to_out`` is the gradient of the step's outputs, ``[M]``; ``to_now`` that of the states
            after the step, ``[S * M]``, replaced by that of those before it. ``to_x`` gets the gradient of the
            currents, ``[T * M]``; it may be ``x`` or ``heights``. To ``to_levels`` and ``to_params`` the step's
            gradients are added, if learned: ``[rows * places]``, ``places`` being the number of blocks if all neurons
            share one, else M.
    """
    size, mine = table[SIZE], np.empty(ROWS, numbers.dtype)
    many, period = table[MANY_PARAMS], table[P_PERIOD]
    blocks = (size + table[WIDTH] - 1) // table[WIDTH]
    heights, to_states = _at(table, AT_HEIGHTS, numbers), _at(table, TO_NOW, numbers)
    # Without a gradient of the last membranes nothing flows back from them, not even 0 times infinity.
    flags = table[FLAGS] + CUT if table[DETACH] or (table[ENDS] and not table[LATE]) else table[FLAGS]
    for block in range(first, last):
        start = block * table[WIDTH]
        count = min(table[WIDTH], size - start)
        to_level, place, there = row(mine, TO_LEVEL, count), t * size + start, n * size + start
        _level(table, t, start, row(mine, LEVEL, count), numbers)
        _params(table, start, count, mine, numbers)
        if table[BEFORES]:
            _load(table, _at(table, BEFORES, numbers), n * table[MANY_STATES] * size + start, STATES, count, mine)
        else:
            for k in range(table[MANY_STATES]):
                fill(row(mine, STATES + k * APART, count), 0)
        _load(table, to_states, start, GRADS, count, mine)
        fill(to_level, 0)
        for k in range(many):
            fill(row(mine, TO_PARAMS + k * APART, count), 0)
        if table[LEARNS_PARAMS]:
            copy(row(_at(table, X, numbers), place, count), row(mine, CURRENT, count))
        copy(row(_at(table, TO_OUT, numbers), start, count), row(mine, OUTER, count))
        slopes(table[SURROGATE], row(heights, there, count), numbers[0], numbers[1], row(mine, SLOPE, count))
        call(table[ADJOINT], mine, heights, there, count, flags)
        copy(row(mine, OUT, count), row(_at(table, TO_X, numbers), place, count))
        _store(table, to_states, start, GRADS, count, mine)
        if table[LEARNS_LEVELS]:
            own = table[PERIOD] > 1
            first_place = (size if own else blocks) * t if table[BY_STEP] else 0
            _add(to_level, _at(table, TO_LEVELS, numbers), first_place, start, block, own)
        if table[LEARNS_PARAMS]:
            places = size if period > 1 else blocks
            for k in range(many):
                to_param = row(mine, TO_PARAMS + k * APART, count)
                _add(to_param, _at(table, TO_P, numbers), k * places, start, block, period > 1)


@loop
def _add(numbers, to, place, start, block, whole):  # type: ignore[no-untyped-def]
    """Add a block's gradients at their place, or their sum at the block's."""
    if whole:
        goal = row(to, place + start, numbers.shape[0])
        for i in range(numbers.shape[0]):
            goal[i] = goal[i] + numbers[i]
    else:
        to[place + block] = to[place + block] + total(numbers)


@cache
def single_step(name: str, bits: int) -> Any:
    """Return ``advance``, ``replay`` or ``retreat``, compiled at the first call, or loaded from numba's cache."""
    whole, byte = types.int64, types.Array(types.uint8, 1, "C", readonly=True)
    table, numbers = (types.Array(kind, 1, "C", readonly=True) for kind in (whole, number_type(bits)))
    template, signature = {
        "advance": (advance, (*[whole] * 3, table, numbers, byte)),
        "replay": (replay, (*[whole] * 4, table, numbers)),
        "retreat": (retreat, (*[whole] * 4, table, numbers)),
    }[name]
    function = FunctionType(template.__code__, template.__globals__, name)
    return for_arguments(kept_on_disk(function, OPTIONS), signature).get_overload(signature)
