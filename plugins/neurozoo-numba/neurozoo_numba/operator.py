"""The compiled loop as operators of torch, see :mod:`neurozoo.backends.fused.operators`."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from neurozoo.backends.fused.memory import Call, each, flat
from neurozoo.backends.fused.operators import Numbers, register
from neurozoo_numba.kernels import ATAN, HEIGHTS, SIGMOID, SPIKES, SUPERSPIKE, WIDEST, compiled
from neurozoo_numba.threads import in_threads

__all__ = ["operators"]

KINDS = {"atan": ATAN, "sigmoid": SIGMOID, "superspike": SUPERSPIKE}
LARGE = 4 * 2**20
"""Bytes from which on results are written past the cache."""
KEPT = 2**20
"""Membranes that a block of the backward may keep, all steps together."""
WORTH = 2**16
"""Neurons times steps that are worth a thread."""

Array = NDArray[Any]


class _Compiled:
    """What :func:`neurozoo.backends.fused.operators.register` asks for."""

    def forward(self, call: Call, neuron: Numbers, spikes: Tensor, v: Tensor) -> None:
        _forward(call, neuron, SPIKES, 1.0, spikes, v)

    def backward(
        self,
        call: Call,
        neuron: Numbers,
        grad_spikes: Tensor | None,
        grad_v: Tensor | None,
        grad_currents: Tensor,
        grad_state: Tensor,
        learn: bool,
    ) -> Tensor:
        kind = KINDS[neuron.surrogate]
        width = max(64, min(WIDEST, KEPT // call.steps // 16 * 16))
        blocks = -(-call.size // width)
        nothing = grad_currents.new_empty(0)
        # Numbers as torch rounds them: what Python multiplies is rounded once.
        alpha = neuron.alpha
        scale, factor = (math.pi / 2 * alpha, alpha / 2) if kind == ATAN else (1.0, alpha)
        sigmoid = _sigmoid(call, neuron) if kind == SIGMOID else nothing
        (spikes, step), own = ((nothing, 0), True) if grad_spikes is None else each(grad_spikes)
        to_threshold = nothing.new_empty(call.threshold_places(blocks)) if learn else nothing
        arguments = (
            *_arguments(call, neuron, grad_currents), neuron.detach_reset, kind, scale, factor, _array(sigmoid),
            _array(spikes), step, own, _array(nothing if grad_v is None else grad_v),
            _array(grad_currents), _array(grad_state), _array(to_threshold),
        )  # fmt: skip
        _run("backward", call, neuron, width, arguments)
        return call.threshold_gradient(to_threshold, blocks) if learn else to_threshold


operators = register("neurozoo_numba", _Compiled())


def _forward(call: Call, neuron: Numbers, what: int, scale: float, out: Tensor, v: Tensor) -> None:
    """Write ``out`` ``[T, B, ...]``, what it is see the kernel, and the last membranes."""
    _run("forward", call, neuron, WIDEST, (*_arguments(call, neuron, out), what, scale, _array(out), _array(v)))


def _sigmoid(call: Call, neuron: Numbers) -> Tensor:
    """``sigmoid(alpha u)`` of every step, by torch itself: its exponential has bits of its own."""
    like = call.currents.memory
    u, v = like.new_empty(call.steps, call.size), like.new_empty(call.size)
    _forward(call, neuron, HEIGHTS, neuron.alpha, u, v)
    for row in u.unbind(0):
        row.sigmoid_()
    return u


def _arguments(call: Call, neuron: Numbers, large: Tensor) -> tuple[Any, ...]:
    """What forward and backward share; ``large`` is the largest thing to write."""
    currents, step = call.currents.memory.numpy(), call.currents.step
    state = currents[:0] if call.state is None else call.state.numpy()
    return (
        call.steps, call.size, currents, step, state,
        call.threshold.numpy(), call.by_step, call.inner, call.period,
        neuron.tau, neuron.rest, neuron.rest, neuron.decay_input,
        large.numel() * large.element_size() >= LARGE,
    )  # fmt: skip


def _run(name: str, call: Call, neuron: Numbers, width: int, arguments: tuple[Any, ...]) -> None:
    # Of a power of two the reciprocal is exact, and a product with it is rounded as the division is.
    mantissa, exponent = math.frexp(neuron.tau)
    by_product, hard = mantissa == 0.5 and abs(exponent) < 100, neuron.v_reset is not None
    kernel = compiled(name, by_product, hard, 8 * call.currents.memory.element_size())

    def blocks(first: int, last: int) -> None:
        kernel(first, last, width, *arguments)

    in_threads(blocks, -(-call.size // width), call.size * call.steps // WORTH)


def _array(x: Tensor) -> Array:
    """A tensor's numbers in a row, as numpy sees them."""
    numbers: Array = flat(x).numpy()
    return numbers
