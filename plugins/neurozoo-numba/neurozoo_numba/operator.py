"""The compiled loop as operators of torch, see :mod:`neurozoo.backends.fused.operators`."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.backends.fused.memory import Call, each, flat
from neurozoo.backends.fused.operators import Gradients, register
from neurozoo.backends.fused.pages import LARGE
from neurozoo_numba.block import FIRES_AT_TIES, WIDEST, Form, address
from neurozoo_numba.kernels import SURROGATE_NUMBERS, loop_over_time
from neurozoo_numba.kinds import BY_DIVISION, BY_PRODUCT, KERNEL_KINDS, NO_LEAK, OTHER_ORDER, PARAMETERS
from neurozoo_numba.threads import in_threads

__all__ = ["WORTH", "Array", "form_of", "operators", "shared_arguments", "spiking_arguments"]

CACHED = 2**18
"""Limit for the numbers that a block of the backward keeps over all steps: half of a usual L2 cache, in float32."""
WORTH = 2**16
"""Neurons times steps per thread, at least."""

Array = NDArray[Any]


def _forward(call: Call, out: Tensor, after: Tensor) -> None:
    form = form_of(call)
    _run("forward", call, WIDEST, (*shared_arguments(call, form, out), _array(out), _array(after)))


def _backward(call: Call, gradients: Gradients) -> tuple[Tensor, Tensor]:
    learn = gradients.learn
    learned = PARAMETERS if learn[1] else int(learn[0])
    form = form_of(call)
    kind, nothing = KERNEL_KINDS[form.kind], gradients.currents.new_empty(0)
    recalled = kind.recalled or learned == PARAMETERS
    kept = 1 + (kind.states if recalled else 0)
    width = max(64, min(WIDEST, CACHED // (call.steps * kept) // 16 * 16))
    blocks = -(-call.size // width)
    (outs, step), own = ((nothing, 0), True) if gradients.out is None else each(gradients.out)
    to_threshold = nothing.new_empty(call.threshold.places(blocks)) if learn[0] else nothing
    to_params = nothing.new_empty(call.params.places(blocks)) if call.params and learn[1] else nothing
    arguments = (
        *shared_arguments(call, form, gradients.currents), address("adjoint", form._replace(learn=learned)),
        *spiking_arguments(call, kind.late, recalled), _array(outs), step, own,
        _array(nothing if gradients.after is None else gradients.after), _array(gradients.currents),
        0 < len(gradients.currents) < call.steps, _array(gradients.state), _array(to_threshold), _array(to_params),
    )  # fmt: skip
    _run("backward", call, width, arguments)
    return (
        call.threshold.gradient(to_threshold, blocks) if learn[0] else to_threshold,
        call.params.gradient(to_params, blocks) if call.params and learn[1] else to_params,
    )


operators = register("neurozoo_numba", _forward, _backward)


def form_of(call: Call) -> Form:
    """The form to compile for a call."""
    spec: Any = call.spec
    leak = {"lif": BY_DIVISION, "plif": BY_PRODUCT, "if": NO_LEAK}.get(spec.kind, 0)
    if spec.kind == "lif" and call.params is None and _inverts(call.numbers[0]):
        leak = BY_PRODUCT
    other = (
        not getattr(spec, "decay_input", True)
        or getattr(spec, "order", "charge-first") == "fire-first"
        or getattr(spec, "refractory", 0) > 0
    )
    return Form(
        kind={"if": "lif", "plif": "lif"}.get(spec.kind, spec.kind),
        hard=getattr(spec, "v_reset", None) is not None,
        mode=leak + (OTHER_ORDER if other else 0),
        own=call.params is not None and call.params.period > 1,
        bits=8 * call.currents.memory.element_size(),
    )


@cache
def _inverts(tau: float) -> bool:
    """Whether multiplying by ``1 / tau`` equals dividing by ``tau`` to the bit: for powers of two."""
    mantissa, exponent = math.frexp(tau)
    return mantissa == 0.5 and abs(exponent) < 100


def spiking_arguments(call: Call, late: bool, recalled: bool) -> tuple[bool, bool, bool, int, float, float]:
    """The backward's arguments from ``detach`` to ``factor``."""
    spec: Any = call.spec
    if not spec.spiking:
        return False, late, recalled, SURROGATE_NUMBERS["box"], 0.0, 0.0
    # Python's products are rounded once, as torch's.
    alpha = float(spec.alpha)
    scale = {"atan": math.pi / 2 * alpha, "box": alpha / 2}.get(spec.surrogate, 1.0)
    factor = alpha / 2 if spec.surrogate == "atan" else alpha
    return spec.detach_reset, late, recalled, SURROGATE_NUMBERS[spec.surrogate], scale, factor


def shared_arguments(call: Call, form: Form, large: Tensor) -> tuple[Any, ...]:
    """The arguments that forward and backward share; ``large`` is the largest result."""
    currents, step = call.currents.memory.numpy(), call.currents.step
    state = currents[:0] if call.state is None else call.state.numpy()
    numbers = np.array(call.numbers, currents.dtype)
    many = KERNEL_KINDS[form.kind].parameters
    if call.params is None:
        if call.spec.kind == "lif" and form.mode % OTHER_ORDER == BY_PRODUCT:
            numbers[0] = 1 / call.numbers[0]
        params, inner, period = numbers[:many], 1, 1
    else:
        params, inner, period = call.params.numbers.numpy(), call.params.inner, call.params.period
    threshold = call.threshold
    return (
        call.steps, call.size, currents, step, state, numbers[many:],
        threshold.numbers.numpy(), call.by_step, threshold.inner, threshold.period, params, inner, period,
        form.own, 0 if getattr(call.spec, "tie", "fires") == "silent" else FIRES_AT_TIES, address("step", form),
        large.numel() * large.element_size() >= LARGE,
    )  # fmt: skip


def _run(name: str, call: Call, width: int, arguments: tuple[Any, ...]) -> None:
    kernel = loop_over_time(name, 8 * call.currents.memory.element_size())

    def blocks(first: int, last: int) -> None:
        kernel(first, last, width, *arguments)

    in_threads(blocks, -(-call.size // width), call.size * call.steps // WORTH)


def _array(x: Tensor) -> Array:
    """A tensor as a flat array."""
    numbers: Array = flat(x).numpy()
    return numbers
