"""The loop over time in Triton: a program has a block of neurons, and takes them through all steps.

A block's membranes stay in registers over all steps, so that each current is read once and each
spike is written once. No two programs write the same number, and none adds to another's: the same
call gives the same bits.

The backward needs the membranes before the reset, from the last step to the first, and computes
them anew from the currents. T of them are too many for registers, so its first sweep, forward in
time, writes them to memory, and its second, backward in time, reads them. Where the gradient of
the currents is wanted step by step, that memory is the gradient's own: a step's membrane is read
just before its gradient takes the place, and no memory is taken beyond the result. Computing them
again from a few kept ones, chunk by chunk, would save the two journeys through memory, and needs
either a chunk's membranes in registers, by code written out for each step of it, or each step
computed several times; whether that is faster has to be measured on a GPU first.

Every operation stands where ``neurozoo.core.equations`` and torch's derivatives of it have theirs:
nothing is reordered, and constants are rounded to the dtype first. Two things are up to whoever
launches them. Products and sums must not be fused (``enable_fp_fusion=False``). And torch divides
by a number on the CPU, while on CUDA it multiplies by the number's reciprocal: ``PRODUCT`` says
which, and ``TAU`` is that reciprocal then.
"""

# Triton reads the annotations, which have to be what they say and not text.

import triton
import triton.language as tl

__all__ = ["HEIGHTS", "INTERPRETED", "SPIKES", "backward", "forward"]

SPIKES, HEIGHTS = "spikes", "heights"
"""What :func:`forward` puts out: spikes, or ``SCALE`` times how far membranes are above the threshold."""


@triton.jit
def _divide(x, TAU: tl.constexpr, PRODUCT: tl.constexpr):
    """``x / tau`` as torch has it; 0 without a leak, which a tau of 0 stands for."""
    if TAU == 0.0:
        return tl.zeros_like(x)
    if PRODUCT:
        return x * TAU
    return x / TAU


@triton.jit
def _reciprocal(x):
    """``1 / x``, rounded as IEEE has it; a plain division in float32 is not, on a GPU."""
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
        x: Currents, those of step t from ``t * x_step`` on.
        x_step: From a step's currents to the next one's; 0 where all have the same.
        v0: Membranes to start from, ``[M]``, or None.
        threshold: Those of step t from ``t * level_step`` on, see ``neurozoo.backends.fused.memory.Call``.
        level_step: ``period``, or 0 where all steps have the same.
        inner: See there.
        period: See there.
        out: ``[T * M]``, written.
        v_out: The last membranes, ``[M]``, written.
        TAU: Time constant, in steps, or its reciprocal if ``PRODUCT``; 0 for a neuron without a leak.
        PRODUCT: See above.
        REST: Resting membrane.
        V_RESET: Membrane after a spike, if ``HARD``.
        DECAY_INPUT: Whether the input is divided by tau.
        HARD: Whether the reset is.
        SILENT: Whether a membrane at its threshold does not fire.
        WHAT: What to put out.
        SCALE: For heights.
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
    """Gradients of a block of neurons, whose membranes are computed anew.

    Args, beyond those of :func:`forward`:
        membranes: ``[T * M]`` to write them to; may be ``grad_x``.
        sigmoid: For the surrogate of that name its sigmoid, ``[T * M]``; else None.
        grad_spikes: Of the spikes, those of step t from ``t * grad_step`` on, or None.
        grad_step: From step to step.
        grad_v: Of the last membranes, ``[M]``, or None.
        grad_x: Of the currents, ``[T * M]``; None where not wanted. Written.
        grad_v0: Of the first membranes, ``[M]``; None where not wanted. Written.
        grad_threshold: Of every neuron's threshold, ``[M]``, or ``[T * M]`` if ``BY_STEP``; if ``ONE_LEVEL``, of every
            block's, added up. None where not wanted. Written.
        DETACH: Whether the gradient stops at the reset.
        KIND: The surrogate's name.
        SCALE: Of the surrogate, see :func:`_slope`.
        ALPHA: Likewise.
        OWN_GRAD: Whether each neuron has its own gradient of spikes, or each step one number.
        BY_STEP: Whether each step has thresholds of its own.
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
    tl.debug_barrier()  # what was written is read from here on

    zeros = tl.zeros([BLOCK], x.dtype.element_ty)
    grad, grad_row = zeros, zeros
    if grad_v is not None:
        grad = tl.load(grad_v + places, inside, other=0.0)
    # Membranes of which nobody uses the last send nothing back, not even 0 times an infinity.
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
        # What reaches the spike is added up in autograd's order: from the output, from the reset's later node, from its
        # earlier one.
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
