"""The loop over time, compiled: neurons a block at a time, all steps of a block before the next one.

A block's membranes stay in the processor's cache over all steps, so that each current is read once
and each spike is written once. Inside a block a step is one short loop over neighbouring neurons,
of a form that compiles to vector instructions: few arrays, and choices that are the same for all.

Rows of memory are far apart, and the processor's guesses of what comes next end with each: so one
number of each cache line is read ahead of the loop that needs it (:func:`_fetch`).

Every operation stands where ``neurozoo.functional`` and torch's derivatives of it have theirs: a
division is a division, nothing is fused or reordered, and constants are rounded to the dtype first.
That is what makes spikes and gradients equal to the last bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

__all__ = ["ATAN", "SIGMOID", "SUPERSPIKE", "compiled"]

ATAN, SIGMOID, SUPERSPIKE = range(3)
SPIKES, MEMBRANES, HEIGHTS = range(3)
"""What :func:`_step` puts out: spikes, membranes before the reset, or ``scale`` times how far these are above the
threshold."""

LINE = 16
"""Numbers in a line of the processor's cache, in float32; two lines, which come together, in float64."""

# No fastmath: it would let the compiler reorder sums and fuse products into them.
_loop: Any = njit(nogil=True, error_model="numpy")


def _kernel(function: Any) -> Any:
    """As a loop, and kept on disk where some folder can be written."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # there is none
        return _loop(function)


@_loop
def _fetch(row, sink):  # type: ignore[no-untyped-def]
    """Have a row in the cache, one that is going to be written too; what is read is added up and forgotten."""
    total = row.dtype.type(0)
    for i in range(0, row.shape[0], LINE):
        total += row[i]
    sink[0] = total


@_loop
def _levels(threshold, step, inner, period, start, out):  # type: ignore[no-untyped-def]
    """The thresholds of neurons ``start`` and on: neuron m has number ``m // inner % period`` of its step's."""
    done, base, size = 0, step * period, out.shape[0]
    while done < size:
        place = start + done
        if inner == 1:
            first = place % period
            run = min(size - done, period - first)
            out[done : done + run] = threshold[base + first : base + first + run]
        else:
            run = min(size - done, inner - place % inner)
            out[done : done + run] = threshold[base + place // inner % period]
        done += run


@_loop
def _start(v0, rest, start, v):  # type: ignore[no-untyped-def]
    """The membranes to start from; where ``v0`` is empty they are at rest."""
    if v0.shape[0]:
        v[:] = v0[start : start + v.shape[0]]
    else:
        v[:] = rest


@_loop
def _step(v, x, level, tau, rest, v_reset, decay_input, hard, what, scale, out):  # type: ignore[no-untyped-def]
    """One step: ``functional.lif_charge``, ``spike`` and ``lif_reset``; ``v`` goes on."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    for i in range(out.shape[0]):
        leak = v[i] - rest
        h = v[i] + (x[i] - leak) / tau if decay_input else v[i] - leak / tau + x[i]
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


@_loop
def _through_spike(h, level, grad_spikes, grad, kind, scale, alpha, v_reset, hard, detach, w):  # type: ignore[no-untyped-def]
    """``w``: the gradient of membrane minus threshold; ``grad`` is that of the membrane after the reset.

    What reaches the spike is added up in autograd's order: from the output, from the reset's later
    node, from its earlier one. torch computes a number over a tensor as ``(1 / tensor) * number``.
    """
    one = h.dtype.type(1)
    for i in range(w.shape[0]):
        u = h[i] - level[i]
        if kind == ATAN:
            y = u * scale
            slope = (one / (one + y * y)) * alpha
        elif kind == SUPERSPIKE:
            y = one + abs(u) * alpha
            slope = one / (y * y)
        else:  # w has the sigmoid
            slope = (w[i] * alpha) * (one - w[i])
        if detach:
            w[i] = slope * grad_spikes[i]
        elif hard:
            w[i] = slope * ((grad_spikes[i] + grad[i] * v_reset) - grad[i] * h[i])
        else:
            w[i] = slope * (grad_spikes[i] - grad[i] * level[i])


@_loop
def _through_threshold(h, level, grad, w, hard, total):  # type: ignore[no-untyped-def]
    """Add the gradient of the threshold to ``total``: of the reset, which is later, and of the spike."""
    zero, one = h.dtype.type(0), h.dtype.type(1)
    for i in range(total.shape[0]):
        s = one if h[i] - level[i] >= zero else zero
        if hard:
            total[i] = total[i] - w[i]
        else:
            total[i] = (total[i] - grad[i] * s) - w[i]


@_loop
def _through_step(h, level, w, tau, decay_input, hard, add, grad, grad_x):  # type: ignore[no-untyped-def]
    """``grad`` goes from the membrane after this step's reset to that after the last one's."""
    zero, one = h.dtype.type(0), h.dtype.type(1)
    for i in range(grad_x.shape[0]):
        s = one if h[i] - level[i] >= zero else zero
        kept = grad[i] * (one - s) if hard else grad[i]
        to_h = kept + w[i]
        part = to_h / tau
        to_x = part if decay_input else to_h
        grad[i] = to_h - part
        if add:
            grad_x[i] = grad_x[i] + to_x
        else:
            grad_x[i] = to_x


@_loop
def _sum(x):  # type: ignore[no-untyped-def]
    """The sum of ``x`` by halves, which it spends: as vectors, and of small error."""
    size = x.shape[0]
    while size > 1:
        half = (size + 1) // 2
        for i in range(size - half):
            x[i] = x[i] + x[half + i]
        size = half
    return x[0]


@_kernel
def _forward(  # type: ignore[no-untyped-def]
    first, last, width, steps, size, x, x_step, v0, threshold, by_step, inner, period,
    tau, rest, v_reset, decay_input, hard, what, scale, out, v_out,
):  # fmt: skip
    """Blocks ``first`` to ``last`` of M neurons over T steps.

    Args:
        first: Number of the first block, from 0.
        last: One past the last block's.
        width: Neurons a block.
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
        hard: Whether the reset is.
        what: What to put out, see :func:`_step`.
        scale: For heights.
        out: ``[T * M]``, written.
        v_out: The last membranes, ``[M]``, written.
    """
    levels, sink = np.empty(width, x.dtype), np.empty(1, x.dtype)
    for block in range(first, last):
        start = block * width
        count = min(width, size - start)
        level, v = levels[:count], v_out[start : start + count]
        _start(v0, rest, start, v)
        for t in range(steps):
            if by_step or t == 0:
                _levels(threshold, t, inner, period, start, level)
            there, here = t * x_step + start, t * size + start
            row, to = x[there : there + count], out[here : here + count]
            _fetch(row, sink)
            _fetch(to, sink)
            _step(v, row, level, tau, rest, v_reset, decay_input, hard, what, scale, to)


@_kernel
def _backward(  # type: ignore[no-untyped-def]
    first, last, width, steps, size, x, x_step, v0, threshold, by_step, inner, period,
    tau, rest, v_reset, decay_input, hard, detach, kind, scale, alpha, sigmoid,
    grad_spikes, grad_step, grad_each, grad_v, grad_x, summed, grad_v0, grad_threshold,
):  # fmt: skip
    """Gradients of blocks ``first`` to ``last``, whose membranes are computed anew.

    Args, beyond those of :func:`_forward`:
        detach: Whether the gradient stops at the reset.
        kind: The surrogate, one of the numbers above.
        scale: Of the surrogate, see :func:`_through_spike`.
        alpha: Likewise.
        sigmoid: For the surrogate of that name its sigmoid, ``[T * M]``; else empty.
        grad_spikes: Of the spikes, those of step t from ``t * grad_step`` on; empty where there is none.
        grad_step: From step to step.
        grad_each: Whether each neuron has its own, or each step one number.
        grad_v: Of the last membranes, ``[M]``; empty where there is none.
        grad_x: Of the currents, ``[T * M]``, or ``[M]`` where ``summed``; empty where not wanted. Written.
        summed: Whether it is added up over the steps.
        grad_v0: Of the first membranes, ``[M]``; empty where not wanted. Written.
        grad_threshold: Of every neuron's threshold, ``[M]``, or ``[T * M]`` if ``by_step``; where the period is 1,
            of every block's, added up. Empty where not wanted. Written.
    """
    zero, blocks, wanted = x.dtype.type(0), (size + width - 1) // width, grad_threshold.shape[0] > 0
    membranes, scratch = np.empty(steps * width, x.dtype), np.empty((6, width), x.dtype)
    sink = np.empty(1, x.dtype)
    for block in range(first, last):
        start = block * width
        count = min(width, size - start)
        grad, level, w = scratch[0, :count], scratch[1, :count], scratch[2, :count]
        flat, total, unused = scratch[3, :count], scratch[4, :count], scratch[5, :count]
        v = grad
        _start(v0, rest, start, v)
        for t in range(steps):
            if by_step or t == 0:
                _levels(threshold, t, inner, period, start, level)
            there, h = t * x_step + start, membranes[t * width : t * width + count]
            row = x[there : there + count]
            _fetch(row, sink)
            _step(v, row, level, tau, rest, v_reset, decay_input, hard, MEMBRANES, scale, h)
        if grad_v.shape[0]:
            grad[:] = grad_v[start : start + count]
        else:
            grad[:] = zero
        total[:] = zero
        for t in range(steps - 1, -1, -1):
            if by_step:
                _levels(threshold, t, inner, period, start, level)
                total[:] = zero
            h, here = membranes[t * width : t * width + count], t * size + start
            if grad_spikes.shape[0] == 0:
                flat[:] = zero
                row = flat
            elif grad_each:
                there = t * grad_step + start
                row = grad_spikes[there : there + count]
                _fetch(row, sink)
            else:
                flat[:] = grad_spikes[t * grad_step]
                row = flat
            if kind == SIGMOID:
                w[:] = sigmoid[here : here + count]
            # Membranes of which nobody uses the last send nothing back, not even 0 times an infinity.
            cut = detach or (t == steps - 1 and grad_v.shape[0] == 0)
            _through_spike(h, level, row, grad, kind, scale, alpha, v_reset, hard, cut, w)
            if wanted:
                _through_threshold(h, level, grad, w, hard, total)
                if by_step or t == 0:
                    if period == 1:
                        grad_threshold[t * blocks + block] = _sum(total)
                    else:
                        there = t * size + start
                        grad_threshold[there : there + count] = total
            if grad_x.shape[0] == 0:
                to_x = unused
            elif summed:
                to_x = grad_x[start : start + count]
            else:
                to_x = grad_x[here : here + count]
                _fetch(to_x, sink)
            _through_step(h, level, w, tau, decay_input, hard, summed and t < steps - 1, grad, to_x)
        if grad_v0.shape[0]:
            grad_v0[start : start + count] = grad


def compiled(name: str, number: Any) -> Any:
    """A kernel for a dtype, compiled when first asked for; in later processes it comes from numba's cache.

    Args:
        name: ``forward`` or ``backward``.
        number: numba's float32 or float64.
    """
    kernel, signature = _signature(name, number)
    if signature not in kernel.overloads:
        try:
            kernel.compile(signature)
        except OSError:  # it is compiled before it is written to the cache, which a full disk hinders
            if signature not in kernel.overloads:
                raise
    return kernel.get_overload(signature)


@cache
def _signature(name: str, number: Any) -> tuple[Any, tuple[Any, ...]]:
    read, write = types.Array(number, 1, "C", readonly=True), types.Array(number, 1, "C")
    common = (*[types.int64] * 5, read, types.int64, read, read, types.boolean, types.int64, types.int64)
    neuron = (*[number] * 3, *[types.boolean] * 2)
    if name == "forward":
        return _forward, (*common, *neuron, types.int64, number, write, write)
    rest = (types.boolean, types.int64, number, number, read, read, types.int64, types.boolean, read)
    return _backward, (*common, *neuron, *rest, write, types.boolean, write, write)
