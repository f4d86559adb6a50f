"""The loop over time in Triton: a program runs all steps of a block of neurons.

A block's membranes stay in registers over all steps, so each current is read once and each spike is written once. No
two programs write the same number: the same call gives the same bits.

The backward recomputes the membranes before the reset from the currents. T of them are too many for registers: its
first sweep, forward in time, writes them to memory, and its second, backward in time, reads them. If the gradient of
the currents is needed step by step, that memory is the gradient's: a step's membrane is read just before its gradient
replaces it. Recomputing chunks from a few kept membranes would save this traffic, and needs a chunk's membranes in
registers or each step computed several times; whether that is faster has to be measured on a GPU first.

Operations have the order of ``neurozoo.core.equations`` and of torch's derivatives, and constants are rounded to the
dtype first. The caller must not let products and sums be fused (``enable_fp_fusion=False``). Torch divides by a number
on the CPU and multiplies by its reciprocal on CUDA: with ``PRODUCT``, ``TAU`` is that reciprocal.
"""

# Triton evaluates the annotations, so no `from __future__ import annotations`.

import triton
import triton.language as tl

__all__ = ["HEIGHTS", "INTERPRETED", "SPIKES", "backward", "forward"]

SPIKES, HEIGHTS = "spikes", "heights"
"""Output of :func:`forward`: spikes, or ``SCALE`` times the height of membranes above the threshold."""


@triton.jit
def _divide(x, TAU: tl.constexpr, PRODUCT: tl.constexpr):
    """``x / tau`` as in torch; 0 for a tau of 0, which stands for no leak."""
    if TAU == 0.0:
        return tl.zeros_like(x)
    if PRODUCT:
        return x * TAU
    return x / TAU


@triton.jit
def _reciprocal(x):
    """``1 / x`` with IEEE rounding, which a plain float32 division on a GPU does not have."""
    one = tl.full(x.shape, 1.0, x.dtype)
    if x.dtype == tl.float32:
        return tl.div_rn(one, x)
    return one / x


@triton.jit
def _charge(v, x, TAU: tl.constexpr, PRODUCT: tl.constexpr, REST: tl.constexpr, DECAY_INPUT: tl.constexpr):
    """``core.equations.charge``, or the sum where nothing leaks."""
    if TAU == 0.0:
        return v + x
    leak = v - REST
    if DECAY_INPUT:
        return v + _divide(x - leak, TAU, PRODUCT)
    return v - _divide(leak, TAU, PRODUCT) + x


@triton.jit
def _fire(u, SILENT: tl.constexpr):
    """1 where ``u`` reaches 0, or exceeds it if ``SILENT``, in its dtype."""
    if SILENT:
        return (u > 0.0).to(u.dtype)
    return (u >= 0.0).to(u.dtype)


@triton.jit
def _reset(h, s, level, V_RESET: tl.constexpr, HARD: tl.constexpr):
    """``core.equations.reset``."""
    if HARD:
        return (1.0 - s) * h + s * V_RESET
    return h - s * level


@triton.jit
def _start(v0, places, inside, like, REST: tl.constexpr):
    """The membranes to start from; without ``v0`` they are at rest."""
    if v0 is not None:
        return tl.load(v0 + places, inside, other=0.0)
    return tl.full(places.shape, REST, like.dtype.element_ty)


@triton.jit
def forward(
    steps, size, x, x_step, v0, threshold, level_step, inner, period, out, v_out,
    TAU: tl.constexpr, PRODUCT: tl.constexpr, REST: tl.constexpr, V_RESET: tl.constexpr,
    DECAY_INPUT: tl.constexpr, HARD: tl.constexpr, SILENT: tl.constexpr,
    WHAT: tl.constexpr, SCALE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of M neurons over T steps.

    Args:
        steps: T.
        size: M.
        x: Currents; step t starts at ``t * x_step``.
        x_step: Distance between steps; 0 if all steps have the same currents.
        v0: Membranes to start from, ``[M]``, or None.
        threshold: Step t starts at ``t * level_step``; with ``inner`` and ``period`` of
            ``neurozoo.backends.fused.memory.Spread``.
        level_step: ``period``, or 0 if all steps have the same.
        out: ``[T * M]``, written.
        v_out: The last membranes, ``[M]``, written.
        TAU: Time constant, in steps, or its reciprocal if ``PRODUCT``; 0 for a neuron without a leak.
        REST: Resting membrane.
        V_RESET: Membrane after a spike, if ``HARD``.
        DECAY_INPUT: Whether the input is divided by tau.
        HARD: Whether the reset is.
        SILENT: Whether a membrane at its threshold does not fire.
        WHAT: Output, with SCALE for heights.
        BLOCK: Neurons a program, a power of 2.
    """
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < size
    v = _start(v0, places, inside, x, REST)
    row, levels, to = x + places, threshold + places // inner % period, out + places
    for _ in range(steps):
        level = tl.load(levels, inside, other=0.0)
        h = _charge(v, tl.load(row, inside, other=0.0), TAU, PRODUCT, REST, DECAY_INPUT)
        u = h - level
        s = _fire(u, SILENT)
        if WHAT == "spikes":
            tl.store(to, s, inside)
        else:
            tl.store(to, u * SCALE, inside)
        v = _reset(h, s, level, V_RESET, HARD)
        row += x_step
        levels += level_step
        to += size
    tl.store(v_out + places, v, inside)


@triton.jit
def _slope(u, sigmoid, KIND: tl.constexpr, SCALE: tl.constexpr, ALPHA: tl.constexpr):
    """``core.equations.surrogate_gradient``; torch computes a number over a tensor as ``(1 / tensor) * number``."""
    if KIND == "atan":
        y = u * SCALE
        return _reciprocal(1.0 + y * y) * ALPHA
    if KIND == "superspike":
        y = 1.0 + tl.abs(u) * ALPHA
        return _reciprocal(y * y)
    if KIND == "box":
        return ((u > -SCALE) & (u <= SCALE)).to(u.dtype)
    if KIND == "triangle":
        return tl.maximum(1.0 - tl.abs(u), 0.0) * ALPHA
    return sigmoid * ALPHA * (1.0 - sigmoid)


@triton.jit
def backward(
    steps, size, x, x_step, v0, threshold, level_step, inner, period,
    membranes, sigmoid, grad_spikes, grad_step, grad_v, grad_x, grad_v0, grad_threshold,
    TAU: tl.constexpr, PRODUCT: tl.constexpr, REST: tl.constexpr, V_RESET: tl.constexpr,
    DECAY_INPUT: tl.constexpr, HARD: tl.constexpr, SILENT: tl.constexpr, DETACH: tl.constexpr,
    KIND: tl.constexpr, SCALE: tl.constexpr, ALPHA: tl.constexpr,
    OWN_GRAD: tl.constexpr, BY_STEP: tl.constexpr, ONE_LEVEL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of a block of neurons; recomputes the membranes.

    Args, beyond those of :func:`forward`:
        membranes: ``[T * M]`` to write them to; may be ``grad_x``.
        sigmoid: The sigmoid ``[T * M]`` for the surrogate of that name; else None.
        grad_spikes: Gradient of the spikes, step t starts at ``t * grad_step``; or None.
        grad_v: Gradient of the last membranes, ``[M]``, or None.
        grad_x: Gradient of the currents, ``[T * M]``, or None if not needed. Written.
        grad_v0: Gradient of the first membranes, ``[M]``, or None if not needed. Written.
        grad_threshold: Gradient of each neuron's threshold, ``[M]`` or with ``BY_STEP`` ``[T * M]``; with ``ONE_LEVEL``
            the sum of each block. None if not needed. Written.
        DETACH: Whether the gradient stops at the reset.
        KIND: The surrogate's name, with SCALE and ALPHA of :func:`_slope`.
        OWN_GRAD: Whether the gradient of spikes differs between neurons.
        BY_STEP: Whether thresholds differ between steps.
        ONE_LEVEL: Whether all neurons of a step share a threshold.
    """
    block, blocks = tl.program_id(0), tl.num_programs(0)
    places = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = places < size
    v = _start(v0, places, inside, x, REST)
    row, levels, kept = x + places, threshold + places // inner % period, membranes + places
    for _ in range(steps):
        level = tl.load(levels, inside, other=0.0)
        h = _charge(v, tl.load(row, inside, other=0.0), TAU, PRODUCT, REST, DECAY_INPUT)
        tl.store(kept, h, inside)
        v = _reset(h, _fire(h - level, SILENT), level, V_RESET, HARD)
        row += x_step
        levels += level_step
        kept += size
    tl.debug_barrier()  # the membranes are read below

    zeros = tl.zeros([BLOCK], x.dtype.element_ty)
    grad, grad_row = zeros, zeros
    if grad_v is not None:
        grad = tl.load(grad_v + places, inside, other=0.0)
    # Without a gradient of the last membranes nothing flows back from them, not even 0 times infinity.
    heard = tl.full([BLOCK], grad_v is not None, tl.int1)
    total = zeros
    last = tl.zeros([BLOCK], tl.int64) + (steps - 1)
    from_spikes = last * grad_step
    if OWN_GRAD:
        from_spikes += places
    here = last * size + places
    to_level = (steps - 1) * blocks + block
    for _ in range(steps):
        levels -= level_step
        level = tl.load(levels, inside, other=0.0)
        h = tl.load(membranes + here, inside, other=0.0)
        u = h - level
        s = _fire(u, SILENT)
        if grad_spikes is not None:
            grad_row = tl.load(grad_spikes + from_spikes, inside, other=0.0)
        if KIND == "sigmoid":
            slope = _slope(u, tl.load(sigmoid + here, inside, other=0.0), KIND, SCALE, ALPHA)
        else:
            slope = _slope(u, u, KIND, SCALE, ALPHA)
        # The spike's gradients are added in autograd's order: from the output, the reset's later and its earlier node.
        to_spike = grad_row
        if not DETACH:
            if HARD:
                to_spike = tl.where(heard, (grad_row + grad * V_RESET) - grad * h, grad_row)
            else:
                to_spike = tl.where(heard, grad_row - grad * level, grad_row)
        w = slope * to_spike
        if grad_threshold is not None:
            # Of the reset, which is later, and of the spike.
            after_reset = total if HARD else total - grad * s
            total = after_reset - w
            if BY_STEP:
                if ONE_LEVEL:
                    tl.store(grad_threshold + to_level, tl.sum(tl.where(inside, total, 0.0), 0))
                else:
                    tl.store(grad_threshold + here, total, inside)
                total = zeros
        to_h = grad + w
        if HARD:
            to_h = grad * (1.0 - s) + w
        part = _divide(to_h, TAU, PRODUCT)
        to_x = to_h
        if DECAY_INPUT:
            to_x = part
        if grad_x is not None:
            tl.store(grad_x + here, to_x, inside)
        grad = to_h - part
        heard = tl.full([BLOCK], True, tl.int1)
        from_spikes -= grad_step
        here -= size
        to_level -= blocks
    if grad_v0 is not None:
        tl.store(grad_v0 + places, grad, inside)
    if grad_threshold is not None and not BY_STEP:
        if ONE_LEVEL:
            tl.store(grad_threshold + block, tl.sum(tl.where(inside, total, 0.0), 0))
        else:
            tl.store(grad_threshold + places, total, inside)


INTERPRETED = not isinstance(forward, triton.JITFunction)
"""Whether Triton's interpreter runs the kernels: ``TRITON_INTERPRET=1`` was set when this was imported."""
