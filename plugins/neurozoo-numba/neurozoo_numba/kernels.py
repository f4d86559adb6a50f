"""The loop over time, compiled: all steps of a block of neurons before the next block.

A block's states stay in the processor's cache over all steps, so each current is read once and each output is written
once. The next row of memory is fetched before a step is computed, and large results go past the cache
(``neurozoo_numba.streaming``).

There are two loops over time, :func:`forward` and :func:`backward`, compiled once for all kinds of neuron. They call a
kind's step and adjoint by address: one short loop over a block's neurons each, see ``neurozoo_numba.kinds``. These
work on rows of an array (``neurozoo_numba.block``) at constant distances, so that the compiler knows what overlaps and
vectorises. Whatever all neurons share is a compile-time constant.
"""

from __future__ import annotations

import math
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numba import types

from neurozoo_numba.block import (
    APART,
    CURRENT,
    CUT,
    GRADS,
    HEIGHTS,
    LEVEL,
    OUT,
    OUTER,
    PARAMS,
    ROWS,
    SLOPE,
    STATES,
    SUMS,
    TO_LEVEL,
    TO_PARAMS,
    number_type,
)
from neurozoo_numba.compiling import for_arguments, kept_on_disk
from neurozoo_numba.streaming import OPTIONS, call, copy, exponential, loop, put, read_ahead, row

__all__ = ["SURROGATE_NUMBERS", "loop_over_time"]

SURROGATE_NUMBERS = {"atan": 0, "sigmoid": 1, "superspike": 2, "box": 3, "triangle": 4}
ATAN, SIGMOID, SUPERSPIKE, BOX, _TRIANGLE = SURROGATE_NUMBERS.values()


@loop
def fill(x, number):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        x[i] = number


@loop
def spread(numbers, base, inner, period, start, out):  # type: ignore[no-untyped-def]
    """Expand shared numbers from neuron ``start``: neuron m has the one at ``base + m // inner % period``."""
    place, end = start, start + out.shape[0]
    while place < end:
        first = place // inner % period
        if inner == 1:
            until = min(end, place + period - first)
            copy(row(numbers, base + first, until - place), row(out, place - start, until - place))
        else:
            until = min(end, place - place % inner + inner)
            fill(row(out, place - start, until - place), numbers[base + first])
        place = until


@loop
def load_params(p, many, inner, period, own, start, count, mine):  # type: ignore[no-untyped-def]
    """Load ``many`` parameters of ``count`` neurons, or those that all share."""
    if own:
        for k in range(many):
            spread(p, k * period, inner, period, start, row(mine, PARAMS + k * APART, count))
    else:
        copy(p, row(mine, PARAMS, many))


@loop
def begin(v0, rest, size, p, p_inner, p_period, own, start, count, mine):  # type: ignore[no-untyped-def]
    """Load the first states, at rest if ``v0`` is empty, and the parameters."""
    load_params(p, p.shape[0] // p_period, p_inner, p_period, own, start, count, mine)
    for k in range(rest.shape[0]):
        state = row(mine, STATES + k * APART, count)
        if v0.shape[0]:
            copy(row(v0, k * size + start, count), state)
        else:
            fill(state, rest[k])


@loop
def slopes(kind, u, scale, factor, out):  # type: ignore[no-untyped-def]
    """``core.equations.surrogate_gradient``; torch computes a number over a tensor as ``(1 / tensor) * number``."""
    zero, one = u.dtype.type(0), u.dtype.type(1)
    if kind == ATAN:
        for i in range(out.shape[0]):
            y = u[i] * scale
            out[i] = (one / (one + y * y)) * factor
    elif kind == SUPERSPIKE:
        for i in range(out.shape[0]):
            y = one + abs(u[i]) * factor
            out[i] = one / (y * y)
    elif kind == SIGMOID:
        if out.itemsize == 4:
            for i in range(out.shape[0]):
                y = one / (one + exponential(-(u[i] * factor)))
                out[i] = (y * factor) * (one - y)
        else:
            for i in range(out.shape[0]):
                y = one / (one + math.exp(-(u[i] * factor)))
                out[i] = (y * factor) * (one - y)
    elif kind == BOX:
        for i in range(out.shape[0]):
            out[i] = one if u[i] > -scale and u[i] <= scale else zero
    else:
        for i in range(out.shape[0]):
            out[i] = max(one - abs(u[i]), zero) * factor


@loop
def total(x):  # type: ignore[no-untyped-def]
    """Pairwise sum of ``x``, which it overwrites: vectorised, and with a small error."""
    size = x.shape[0]
    while size > 1:
        half = (size + 1) // 2
        for i in range(size - half):
            x[i] = x[i] + x[half + i]
        size = half
    return x[0]


def forward(  # type: ignore[no-untyped-def]
    first, last, width, steps, size, x, x_step, v0, rest, threshold, by_step, inner, period,
    p, p_inner, p_period, own, flags, step, past_cache, out, v_out,
):  # fmt: skip
    """Blocks ``first`` to ``last`` of M neurons over T steps.

    Args:
        first: First block, from 0; ``last`` is one past the last.
        width: Neurons a block, at most WIDEST.
        steps: T.
        size: M.
        x: Currents; step t starts at ``t * x_step``, and ``x_step`` is 0 if all steps have the same.
        v0: States to start from, ``[S * M]``; empty for all at rest.
        rest: The states at rest, ``[S]``.
        threshold: ``[period]`` or, if ``by_step``, ``[T * period]``; see :func:`spread` for ``inner`` and ``period``.
        p: Parameters, ``[P * p_period]``, with ``p_inner`` and ``p_period`` likewise.
        own: Whether parameters differ between neurons; if not, ``p_period`` is 1.
        flags: See :data:`FIRES_AT_TIES`.
        step: Address of the kind's step.
        past_cache: Whether to write past the cache.
        out: ``[T * M]``, written.
        v_out: The last states, ``[S * M]``, written.
    """
    mine = np.empty(ROWS, x.dtype)
    for block in range(first, last):
        start = block * width
        count = min(width, size - start)
        level, made = row(mine, LEVEL, count), row(mine, OUT, count)
        begin(v0, rest, size, p, p_inner, p_period, own, start, count, mine)
        for t in range(steps):
            if by_step or t == 0:
                spread(threshold, t * period, inner, period, start, level)
            there = t * x_step + start
            if t < steps - 1:
                read_ahead(x, there + x_step, count)
            else:
                read_ahead(x, start + width, width)
            call(step, mine, x, there, count, flags)
            put(made, row(out, t * size + start, count), past_cache)
        for k in range(rest.shape[0]):
            copy(row(mine, STATES + k * APART, count), row(v_out, k * size + start, count))


def backward(  # type: ignore[no-untyped-def]
    first, last, width, steps, size, x, x_step, v0, rest, threshold, by_step, inner, period,
    p, p_inner, p_period, own, flags, step, past_cache, adjoint, detach, late, recalled, surrogate, scale, factor,
    grad_out, grad_step, grad_each, grad_v, grad_x, summed, grad_v0, grad_threshold, grad_p,
):  # fmt: skip
    """Gradients of blocks ``first`` to ``last``; recomputes the states.

    Args, beyond those of the forward:
        adjoint: Address of the kind's adjoint.
        detach: Whether the gradient stops at the reset.
        late: See ``neurozoo_numba.kinds.Kind``.
        recalled: Whether the adjoint needs the states before a step.
        surrogate: One of :data:`SURROGATE_NUMBERS`, with ``scale`` and ``factor`` of :func:`slopes`.
        grad_out: Gradient of the outputs; step t starts at ``t * grad_step``. Empty if there is none.
        grad_each: Whether it differs between neurons.
        grad_v: Gradient of the last states, ``[S * M]``; empty if there is none.
        grad_x: Gradient of the currents, ``[T * M]``, or ``[M]`` if ``summed`` over the steps; this and the following
            are written, and empty if not needed.
        grad_v0: Gradient of the first states, ``[S * M]``.
        grad_threshold: Gradient of each neuron's threshold, ``[M]`` or with ``by_step`` ``[T * M]``; the sum of each
            block if the period is 1.
        grad_p: Gradient of the parameters, ``[P * M]``, or the sum of each block likewise.
    """
    mine, blocks = np.empty(ROWS, x.dtype), (size + width - 1) // width
    # Each step's heights, and the states before it where they are needed.
    recall, many = rest.shape[0] if recalled else 0, p.shape[0] // p_period
    kept, each = np.empty(steps * (1 + recall) * APART, x.dtype), (1 + recall) * APART
    for block in range(first, last):
        start = block * width
        count = min(width, size - start)
        level = row(mine, LEVEL, count)
        begin(v0, rest, size, p, p_inner, p_period, own, start, count, mine)
        for t in range(steps):
            if by_step or t == 0:
                spread(threshold, t * period, inner, period, start, level)
            there = t * x_step + start
            if t < steps - 1:
                read_ahead(x, there + x_step, count)
            elif grad_each:
                read_ahead(grad_out, t * grad_step + start, count)
            for k in range(recall):
                copy(row(mine, STATES + k * APART, count), row(kept, t * each + (1 + k) * APART, count))
            call(step, mine, x, there, count, flags + HEIGHTS)
            copy(row(mine, OUT, count), row(kept, t * each, count))
        for k in range(rest.shape[0]):
            if grad_v.shape[0]:
                copy(row(grad_v, k * size + start, count), row(mine, GRADS + k * APART, count))
            else:
                fill(row(mine, GRADS + k * APART, count), 0)
        for k in range(many):
            fill(row(mine, TO_PARAMS + k * APART, count), 0)
        to_x, to_level = row(mine, OUT, count), row(mine, TO_LEVEL, count)
        slope, from_out = row(mine, SLOPE, count), row(mine, OUTER, count)
        current, sums = row(mine, CURRENT, count), row(mine, SUMS, count)
        fill(sums, 0)
        fill(to_level, 0)
        fill(from_out, 0)
        for t in range(steps - 1, -1, -1):
            if by_step:
                spread(threshold, t * period, inner, period, start, level)
                fill(to_level, 0)
            for k in range(recall):
                copy(row(kept, t * each + (1 + k) * APART, count), row(mine, STATES + k * APART, count))
            if grad_p.shape[0]:
                copy(row(x, t * x_step + start, count), current)
            slopes(surrogate, row(kept, t * each, count), scale, factor, slope)
            if grad_out.shape[0]:
                if grad_each:
                    there = t * grad_step + start
                    if t > 0:
                        read_ahead(grad_out, there - grad_step, count)
                    copy(row(grad_out, there, count), from_out)
                else:
                    fill(from_out, grad_out[t * grad_step])
            if t == 0:
                read_ahead(x, start + width, width)
            # Without a gradient of the last membranes nothing flows back from them, not even 0 times infinity.
            cut = detach or (not late and t == steps - 1 and grad_v.shape[0] == 0)
            call(adjoint, mine, kept, t * each, count, flags + CUT if cut else flags)
            if grad_threshold.shape[0] and (by_step or t == 0):
                if period == 1:
                    grad_threshold[t * blocks + block] = total(to_level)
                else:
                    copy(to_level, row(grad_threshold, t * size + start, count))
            if summed:
                for i in range(count):
                    sums[i] = sums[i] + to_x[i]
            elif grad_x.shape[0]:
                put(to_x, row(grad_x, t * size + start, count), past_cache)
        if summed:
            put(sums, row(grad_x, start, count), past_cache)
        if grad_v0.shape[0]:
            for k in range(rest.shape[0]):
                copy(row(mine, GRADS + k * APART, count), row(grad_v0, k * size + start, count))
        if grad_p.shape[0]:
            for k in range(many):
                if p_period == 1:
                    grad_p[k * blocks + block] = total(row(mine, TO_PARAMS + k * APART, count))
                else:
                    copy(row(mine, TO_PARAMS + k * APART, count), row(grad_p, k * size + start, count))


def loop_over_time(name: str, bits: int) -> Any:
    """Return ``forward`` or ``backward``, compiled at the first call; later processes load it from numba's cache."""
    kernel, signature = _ready(name, bits)
    return kernel.get_overload(signature)


@cache
def _ready(name: str, bits: int) -> tuple[Any, tuple[Any, ...]]:
    number, whole, yes = number_type(bits), types.int64, types.boolean
    read, write = types.Array(number, 1, "C", readonly=True), types.Array(number, 1, "C")
    pair = (whole, whole)
    signature = (*[whole] * 5, read, whole, read, read, read, yes, *pair, read, *pair, yes, whole, whole, yes)
    template: Any = forward
    if name == "forward":
        signature += (write, write)
    else:
        template = backward
        signature += (
            whole, yes, yes, yes, whole, number, number, read, whole, yes, read, write, yes, write, write, write,
        )  # fmt: skip
    function = FunctionType(template.__code__, template.__globals__, name)
    return for_arguments(kept_on_disk(function, OPTIONS), signature), signature
