"""The loop over time, compiled: neurons a block at a time, all steps of a block before the next one.

A block's membranes stay in the processor's cache over all steps, so that each current is read once
and each spike is written once. Inside a block a step is one short loop over neighbouring neurons,
which compiles to vector instructions: what it writes lies in rows of one small array, so that the
compiler sees what overlaps, and choices that are the same for all neurons are made outside of it or
when it is compiled. The next row of memory is asked for before a step is computed, and large results
go past the cache (``neurozoo_numba.streaming``).

Every operation stands where ``neurozoo.core.equations`` and torch's derivatives of it have theirs: nothing
is fused or reordered, and constants are rounded to the dtype first. A division is a division, but for
that by a power of two: the product with the reciprocal, which is exact, is the same to the bit and
takes less time. That is what makes spikes and gradients equal to the last bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types

from neurozoo_numba.compiling import for_arguments, kept_on_disk
from neurozoo_numba.streaming import LINE, OPTIONS, copy, loop, put, read_ahead

__all__ = ["ATAN", "SIGMOID", "SUPERSPIKE", "WIDEST", "compiled"]

ATAN, SIGMOID, SUPERSPIKE = range(3)
SPIKES, MEMBRANES, HEIGHTS = range(3)
"""What :func:`_step` puts out: spikes, membranes before the reset, or ``scale`` times how far these are above the
threshold."""

WIDEST = 2048
"""Neurons a block at most: what a step touches of them, in float32, nearly fits the smallest cache."""
GAP = 5 * LINE
"""Numbers between a block's rows: of rows at the same place in a page, a processor takes one for another."""
ROWS = 5
LEVEL, V, OUT, TOTAL, SIGMOIDS = range(ROWS)
"""Rows of a block's own numbers: thresholds; membranes, and then their gradient; the output of a step; the thresholds'
gradient; the surrogate's sigmoids. A backward has T more, of membranes before the reset."""


def _kernel(function: Any) -> Any:
    return kept_on_disk(function, OPTIONS)


@loop
def _fill(x, number):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        x[i] = number


@loop
def _levels(threshold, step, inner, period, start, out):  # type: ignore[no-untyped-def]
    """The thresholds of neurons ``start`` and on: neuron m has number ``m // inner % period`` of its step's."""
    base, place, end = step * period, start, start + out.shape[0]
    while place < end:
        first = place // inner % period
        if inner == 1:
            until = min(end, place + period - first)
            copy(threshold[base + first : base + first + until - place], out[place - start : until - start])
        else:
            until = min(end, place - place % inner + inner)
            _fill(out[place - start : until - start], threshold[base + first])
        place = until


@loop
def _start(v0, rest, start, v):  # type: ignore[no-untyped-def]
    """The membranes to start from; where ``v0`` is empty they are at rest."""
    if v0.shape[0]:
        copy(v0[start : start + v.shape[0]], v)
    else:
        _fill(v, rest)


@loop
def _by_tau(x, neuron, by_product):  # type: ignore[no-untyped-def]
    tau, inverse, _, _ = neuron
    return x * inverse if by_product else x / tau


@loop
def _step(v, x, level, neuron, decay_input, by_product, hard, what, scale, out):  # type: ignore[no-untyped-def]
    """One step: ``functional.lif_charge``, ``spike`` and ``lif_reset``; ``v`` goes on."""
    _, _, rest, v_reset = neuron
    zero, one = v.dtype.type(0), v.dtype.type(1)
    for i in range(out.shape[0]):
        leak = v[i] - rest
        if decay_input:
            h = v[i] + _by_tau(x[i] - leak, neuron, by_product)
        else:
            h = v[i] - _by_tau(leak, neuron, by_product) + x[i]
        u = h - level[i]
        s = one if u >= zero else zero
        if what == SPIKES:
            out[i] = s
        elif what == MEMBRANES:
            out[i] = h
        else:
            out[i] = u * scale
        if hard:
            v[i] = (one - s) * h + s * v_reset
        else:
            v[i] = h - s * level[i]


@loop
def _one_step_back(kind, cut, given, neuron, form, grad, grad_x, total):  # type: ignore[no-untyped-def]
    """:func:`_step_back` with ``kind`` and ``cut`` known to the compiler, which makes a loop of each."""
    h, level, grad_spikes, sigmoid = given
    decay_input, by_product, hard, learn, scale, alpha = form
    v_reset = neuron[3]
    zero, one = h.dtype.type(0), h.dtype.type(1)
    for i in range(grad_x.shape[0]):
        u = h[i] - level[i]
        s = one if u >= zero else zero
        if kind == ATAN:
            y = u * scale
            slope = (one / (one + y * y)) * alpha
        elif kind == SUPERSPIKE:
            y = one + abs(u) * alpha
            slope = one / (y * y)
        else:
            slope = (sigmoid[i] * alpha) * (one - sigmoid[i])
        if cut:
            to_u = slope * grad_spikes[i]
        elif hard:
            to_u = slope * ((grad_spikes[i] + grad[i] * v_reset) - grad[i] * h[i])
        else:
            to_u = slope * (grad_spikes[i] - grad[i] * level[i])
        if learn:
            total[i] = (total[i] if hard else total[i] - grad[i] * s) - to_u
        to_h = (grad[i] * (one - s) if hard else grad[i]) + to_u
        part = _by_tau(to_h, neuron, by_product)
        grad_x[i] = part if decay_input else to_h
        grad[i] = to_h - part


@loop
def _step_back(kind, cut, given, neuron, form, grad, grad_x, total):  # type: ignore[no-untyped-def]
    """One step back: ``grad`` goes from the membrane after this step's reset to that after the last one's.

    What reaches the spike is added up in autograd's order: from the output, from the reset's later node, from its
    earlier one. So is the gradient of the threshold, in ``total``: of the reset, which is later, and of the spike.
    torch computes a number over a tensor as ``(1 / tensor) * number``.

    Args:
        kind: The surrogate.
        cut: Whether nothing comes back through the reset.
        given: Membranes, thresholds, gradients of spikes and, for the surrogate of that name, sigmoids.
        neuron: ``tau``, ``1 / tau``, its rest and reset.
        form: Whether the input is divided by tau, and that by a product; whether the reset is hard; whether ``total``
            is wanted; ``scale`` and ``alpha`` of the surrogate.
        grad: See above.
        grad_x: Of the current, written.
        total: Of the thresholds, added to.
    """
    if kind == ATAN and cut:
        _one_step_back(ATAN, True, given, neuron, form, grad, grad_x, total)
    elif kind == ATAN:
        _one_step_back(ATAN, False, given, neuron, form, grad, grad_x, total)
    elif kind == SUPERSPIKE and cut:
        _one_step_back(SUPERSPIKE, True, given, neuron, form, grad, grad_x, total)
    elif kind == SUPERSPIKE:
        _one_step_back(SUPERSPIKE, False, given, neuron, form, grad, grad_x, total)
    elif cut:
        _one_step_back(SIGMOID, True, given, neuron, form, grad, grad_x, total)
    else:
        _one_step_back(SIGMOID, False, given, neuron, form, grad, grad_x, total)


@loop
def _sum(x):  # type: ignore[no-untyped-def]
    """The sum of ``x`` by halves, which it spends: as vectors, and of small error."""
    size = x.shape[0]
    while size > 1:
        half = (size + 1) // 2
        for i in range(size - half):
            x[i] = x[i] + x[half + i]
        size = half
    return x[0]


@cache
def _forward(by_product: bool, hard: bool) -> Any:
    """The kernel for a tau and a reset, see :func:`compiled`."""

    @_kernel
    def run(  # type: ignore[no-untyped-def]
        first, last, width, steps, size, x, x_step, v0, threshold, by_step, inner, period,
        tau, rest, v_reset, decay_input, past_cache, what, scale, out, v_out,
    ):  # fmt: skip
        """Blocks ``first`` to ``last`` of M neurons over T steps.

        Args:
            first: Number of the first block, from 0.
            last: One past the last block's.
            width: Neurons a block, at most WIDEST.
            steps: T.
            size: M.
            x: Currents, those of step t from ``t * x_step`` on.
            x_step: From a step's currents to the next one's; 0 where all have the same.
            v0: Membranes to start from, ``[M]``; empty for all at rest.
            threshold: See :func:`_levels`, ``[period]`` or ``[T * period]``.
            by_step: Whether each step has its own.
            inner: See :func:`_levels`.
            period: See :func:`_levels`.
            tau: Time constant, in steps.
            rest: Resting membrane.
            v_reset: Membrane after a spike, if ``hard``.
            decay_input: Whether the input is divided by tau.
            past_cache: Whether to write past the cache.
            what: What to put out, SPIKES or HEIGHTS.
            scale: For heights.
            out: ``[T * M]``, written.
            v_out: The last membranes, ``[M]``, written.
        """
        rows, neuron = np.empty((ROWS, width + GAP), x.dtype), (tau, x.dtype.type(1) / tau, rest, v_reset)
        for block in range(first, last):
            start = block * width
            count = min(width, size - start)
            level, v, made = rows[LEVEL, :count], rows[V, :count], rows[OUT, :count]
            _start(v0, rest, start, v)
            for t in range(steps):
                if by_step or t == 0:
                    _levels(threshold, t, inner, period, start, level)
                there, here = t * x_step + start, t * size + start
                if t < steps - 1:
                    read_ahead(x, there + x_step, count)
                else:
                    read_ahead(x, start + width, width)
                row = x[there : there + count]
                if what == SPIKES:
                    _step(v, row, level, neuron, decay_input, by_product, hard, SPIKES, scale, made)
                else:
                    _step(v, row, level, neuron, decay_input, by_product, hard, HEIGHTS, scale, made)
                put(made, out[here : here + count], past_cache)
            copy(v, v_out[start : start + count])

    return run


@cache
def _backward(by_product: bool, hard: bool) -> Any:
    """The kernel for a tau and a reset, see :func:`compiled`."""

    @_kernel
    def run(  # type: ignore[no-untyped-def]
        first, last, width, steps, size, x, x_step, v0, threshold, by_step, inner, period,
        tau, rest, v_reset, decay_input, past_cache, detach, kind, scale, alpha, sigmoid,
        grad_spikes, grad_step, grad_each, grad_v, grad_x, grad_v0, grad_threshold,
    ):  # fmt: skip
        """Gradients of blocks ``first`` to ``last``, whose membranes are computed anew.

        Args, beyond those of the forward:
            detach: Whether the gradient stops at the reset.
            kind: The surrogate, one of the numbers above.
            scale: Of the surrogate, see :func:`_one_step_back`.
            alpha: Likewise.
            sigmoid: For the surrogate of that name its sigmoid, ``[T * M]``; else empty.
            grad_spikes: Of the spikes, those of step t from ``t * grad_step`` on; empty where there is none.
            grad_step: From step to step.
            grad_each: Whether each neuron has its own, or each step one number.
            grad_v: Of the last membranes, ``[M]``; empty where there is none.
            grad_x: Of the currents, ``[T * M]``; empty where not wanted. Written.
            grad_v0: Of the first membranes, ``[M]``; empty where not wanted. Written.
            grad_threshold: Of every neuron's threshold, ``[M]``, or ``[T * M]`` if ``by_step``; where the period is 1,
                of every block's, added up. Empty where not wanted. Written.
        """
        rows, neuron = np.empty((ROWS + steps, width + GAP), x.dtype), (tau, x.dtype.type(1) / tau, rest, v_reset)
        blocks, learn = (size + width - 1) // width, grad_threshold.shape[0] > 0
        form = decay_input, by_product, hard, learn, scale, alpha
        flat = np.zeros(width, x.dtype)
        for block in range(first, last):
            start = block * width
            count = min(width, size - start)
            level, v = rows[LEVEL, :count], rows[V, :count]
            _start(v0, rest, start, v)
            for t in range(steps):
                if by_step or t == 0:
                    _levels(threshold, t, inner, period, start, level)
                there, h = t * x_step + start, rows[ROWS + t, :count]
                if t < steps - 1:
                    read_ahead(x, there + x_step, count)
                elif grad_each:
                    read_ahead(grad_spikes, t * grad_step + start, count)
                row = x[there : there + count]
                _step(v, row, level, neuron, decay_input, by_product, hard, MEMBRANES, scale, h)
            grad, to_x, sigmoids = rows[V, :count], rows[OUT, :count], rows[SIGMOIDS, :count]
            total = rows[TOTAL, :count]
            if grad_v.shape[0]:
                copy(grad_v[start : start + count], grad)
            else:
                _fill(grad, 0)
            _fill(total, 0)
            for t in range(steps - 1, -1, -1):
                if by_step:
                    _levels(threshold, t, inner, period, start, level)
                    _fill(total, 0)
                h, here = rows[ROWS + t, :count], t * size + start
                from_spikes = flat[:count]
                if grad_spikes.shape[0] and grad_each:
                    there = t * grad_step + start
                    from_spikes = grad_spikes[there : there + count]
                    if t > 0:
                        read_ahead(grad_spikes, there - grad_step, count)
                elif grad_spikes.shape[0]:
                    _fill(from_spikes, grad_spikes[t * grad_step])
                if t == 0:
                    read_ahead(x, start + width, width)
                if kind == SIGMOID:
                    copy(sigmoid[here : here + count], sigmoids)
                # Membranes of which nobody uses the last send nothing back, not even 0 times an infinity.
                cut = detach or (t == steps - 1 and grad_v.shape[0] == 0)
                given = h, level, from_spikes, sigmoids
                _step_back(kind, cut, given, neuron, form, grad, to_x, total)
                if learn and (by_step or t == 0):
                    if period == 1:
                        grad_threshold[t * blocks + block] = _sum(total)
                    else:
                        there = t * size + start
                        copy(total, grad_threshold[there : there + count])
                if grad_x.shape[0]:
                    put(to_x, grad_x[here : here + count], past_cache)
            if grad_v0.shape[0]:
                copy(grad, grad_v0[start : start + count])

    return run


def compiled(name: str, by_product: bool, hard: bool, bits: int) -> Any:
    """A kernel for a reset and a dtype, compiled when first asked for; in later processes it comes from numba's cache.

    Args:
        name: ``forward`` or ``backward``.
        by_product: Whether to multiply with ``1 / tau`` where it says to divide by tau.
        hard: Whether the reset is.
        bits: Of a number, 32 or 64.
    """
    kernel, signature = _ready(name, by_product, hard, bits)
    return kernel.get_overload(signature)


@cache
def _ready(name: str, by_product: bool, hard: bool, bits: int) -> tuple[Any, tuple[Any, ...]]:
    kernel, signature = _signature(name, by_product, hard, types.float32 if bits == 32 else types.float64)
    return for_arguments(kernel, signature), signature


def _signature(name: str, by_product: bool, hard: bool, number: Any) -> tuple[Any, tuple[Any, ...]]:
    read, write = types.Array(number, 1, "C", readonly=True), types.Array(number, 1, "C")
    common = (*[types.int64] * 5, read, types.int64, read, read, types.boolean, types.int64, types.int64)
    neuron = (*[number] * 3, *[types.boolean] * 2)
    if name == "forward":
        return _forward(by_product, hard), (*common, *neuron, types.int64, number, write, write)
    rest = (types.boolean, types.int64, number, number, read, read, types.int64, types.boolean, read)
    return _backward(by_product, hard), (*common, *neuron, *rest, *[write] * 3)
