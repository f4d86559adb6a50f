"""The fused loop as operators of torch: it is one node of a graph, in eager mode and compiled.

The backward operator computes the membranes anew from the currents. Nothing is kept for it but what came in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numba import float32, float64
from numpy.typing import NDArray
from torch import Tensor

from neurozoo_numba.kernels import ATAN, HEIGHTS, SIGMOID, SPIKES, SUPERSPIKE, compiled
from neurozoo_numba.pages import empty
from neurozoo_numba.repeated import repeated_gradient
from neurozoo_numba.threads import in_threads

__all__ = ["NUMBERS", "lif", "lif_backward"]

NUMBERS = {torch.float32: float32, torch.float64: float64}
"""The dtypes that the kernels are compiled for."""

KINDS = {"atan": ATAN, "sigmoid": SIGMOID, "superspike": SUPERSPIKE}
WIDEST = 8192
"""Neurons a block at most: long rows of memory, that fit a cache."""
KEPT = 2**20
"""Membranes that a block of the backward may keep, all steps together."""
WORTH = 2**16
"""Neurons times steps that are worth a thread."""

Array = NDArray[Any]
Neuron = tuple[float, bool, float | None, bool, str, float]
"""tau, decay_input, v_reset, detach_reset, surrogate, alpha: the fields of a ``LIFSpec`` in their order."""


@torch.library.custom_op("neurozoo_numba::lif", mutates_args=())
def lif(
    currents: Tensor,
    state: Tensor | None,
    threshold: Tensor,
    tau: float,
    decay_input: bool,
    v_reset: float | None,
    detach_reset: bool,
    surrogate: str,
    alpha: float,
    sum_steps: bool,
) -> tuple[Tensor, Tensor]:
    """All time steps of a LIF neuron.

    Args:
        currents: ``[T, B, ...]``, float32 or float64 on the CPU, T >= 1; dimensionless.
        state: Membranes to start from, ``[B, ...]``; at rest if None.
        threshold: 0-d, or with as many axes as the currents, each of their size or 1; of their dtype.
        tau: See :class:`neurozoo.interfaces.LIFSpec`, as for the next five.
        decay_input: As said.
        v_reset: As said.
        detach_reset: As said.
        surrogate: As said.
        alpha: As said.
        sum_steps: Whether the gradient of the currents is added up over the steps at once: for currents that are one
            current, expanded. See :mod:`neurozoo_numba.repeated`.

    Returns:
        Spikes ``[T, B, ...]`` and the last membranes ``[B, ...]``.
    """
    call = _Call(currents, state, threshold)
    spikes, v = empty(currents, *currents.shape), empty(currents, *currents.shape[1:])
    call.forward((tau, decay_input, v_reset, detach_reset, surrogate, alpha), SPIKES, 1.0, spikes, v)
    return spikes, v


@torch.library.custom_op("neurozoo_numba::lif_backward", mutates_args=())
def lif_backward(
    grad_spikes: Tensor | None,
    grad_v: Tensor | None,
    currents: Tensor,
    state: Tensor | None,
    threshold: Tensor,
    tau: float,
    decay_input: bool,
    v_reset: float | None,
    detach_reset: bool,
    surrogate: str,
    alpha: float,
    wanted: Sequence[bool],
    sum_steps: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of currents, state and threshold.

    Args:
        grad_spikes: Of the spikes; None where they are not used.
        grad_v: Of the last membranes; likewise.
        currents: As for :func:`lif`, and so for all up to ``alpha``.
        state: As said.
        threshold: As said.
        tau: As said.
        decay_input: As said.
        v_reset: As said.
        detach_reset: As said.
        surrogate: As said.
        alpha: As said.
        wanted: For each of the three whether it is; one that is not has no elements.
        sum_steps: Whether that of the currents is added up over the steps, ``[B, ...]``.
    """
    call = _Call(currents, state, threshold)
    neuron = (tau, decay_input, v_reset, detach_reset, surrogate, alpha)
    batch = currents.shape[1:]
    grad_currents = empty(currents, *(batch if sum_steps else currents.shape)) if wanted[0] else currents.new_empty(0)
    grad_state = empty(currents, *batch) if wanted[1] else currents.new_empty(0)
    grad_threshold = call.backward(neuron, grad_spikes, grad_v, grad_currents, grad_state, wanted[2], sum_steps)
    return grad_currents, grad_state, grad_threshold


@lif.register_fake
def _(currents: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return currents.new_empty(currents.shape), currents.new_empty(currents.shape[1:])


@lif_backward.register_fake
def _(
    grad_spikes: Tensor | None,
    grad_v: Tensor | None,
    currents: Tensor,
    state: Tensor | None,
    threshold: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    wanted, sum_steps = rest[-2:]
    batch = currents.shape[1:]
    shapes: tuple[Sequence[int], ...] = (batch if sum_steps else currents.shape, batch, threshold.shape)
    first, second, third = (
        currents.new_empty(shape if want else (0,)) for shape, want in zip(shapes, wanted, strict=True)
    )
    return first, second, third


def _remember(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    currents, state, threshold, *ctx.neuron, ctx.sum_steps = inputs
    ctx.save_for_backward(currents, state, threshold)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, grad_spikes: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor | None, ...]:
    nothing = (None,) * 7
    if grad_spikes is None and grad_v is None:
        return (None, None, None, *nothing)
    wanted = list(ctx.needs_input_grad[:3])
    _, _, v_reset, detach, *_ = ctx.neuron
    # Without the spikes' gradient a threshold is heard of through the reset alone, which a detached hard one hides.
    wanted[2] &= grad_spikes is not None or v_reset is None or not detach

    given = (grad_spikes, grad_v, *ctx.saved_tensors)
    arguments = (*given, *ctx.neuron)
    sum_steps = ctx.sum_steps and not torch.is_grad_enabled()  # a second derivative, which there is not, must say so
    sums: tuple[Tensor, ...] = lif_backward(*arguments, wanted, sum_steps)
    found: list[Tensor | None] = [gradient if want else None for gradient, want in zip(sums, wanted, strict=True)]
    if sum_steps and wanted[0]:

        def whole() -> Tensor:
            every: Tensor = lif_backward(*arguments, [True, False, False], False)[0]
            return every

        steps = ctx.saved_tensors[0].shape[0]
        found[0] = repeated_gradient(sums[0], steps, whole, [tensor for tensor in given if tensor is not None])
    return (*found, *nothing)


lif.register_autograd(_gradients, setup_context=_remember)


class _Rows(NamedTuple):
    """What has T steps of M numbers, as memory: those of step t from ``t * step`` on."""

    memory: Array
    step: int


class _Call:
    """Arguments of one call as the kernels take them.

    Args:
        currents: ``[T, B, ...]``.
        state: ``[B, ...]`` or None.
        threshold: As for :func:`lif`.
    """

    def __init__(self, currents: Tensor, state: Tensor | None, threshold: Tensor) -> None:
        self.steps = currents.shape[0]
        self.size = math.prod(currents.shape[1:])
        self.number = NUMBERS[currents.dtype]
        self.nothing = _array(currents.new_empty(0))
        self.currents = _rows(currents)
        self.state = self.nothing if state is None else _array(state)
        self.shape = currents.shape
        self.form = threshold.shape
        self.by_step = threshold.dim() > 0 and threshold.shape[0] > 1
        compact, self.inner, self.period = _periodic(threshold, currents.shape)
        self.threshold = _array(compact)

    def forward(self, neuron: Neuron, what: int, scale: float, out: Tensor, v: Tensor) -> None:
        """Write ``out`` ``[T, B, ...]``, what it is see the kernel, and the last membranes."""
        arguments = (*self._arguments(neuron), what, scale, _array(out), _array(v))
        self._run(compiled("forward", self.number), WIDEST, arguments)

    def backward(
        self,
        neuron: Neuron,
        grad_spikes: Tensor | None,
        grad_v: Tensor | None,
        grad_currents: Tensor,
        grad_state: Tensor,
        learn: bool,
        sum_steps: bool,
    ) -> Tensor:
        """Write the gradients of currents and state, and return the threshold's; without elements if not wanted."""
        *_, detach, surrogate, alpha = neuron
        kind = KINDS[surrogate]
        width = max(64, min(WIDEST, KEPT // self.steps // 16 * 16))
        blocks = -(-self.size // width)
        like = grad_currents
        # Numbers as torch rounds them: what Python multiplies is rounded once.
        scale, factor = (math.pi / 2 * alpha, alpha / 2) if kind == ATAN else (1.0, alpha)
        sigmoid = self._sigmoid(neuron, like) if kind == SIGMOID else self.nothing
        spikes, each = (_Rows(self.nothing, 0), True) if grad_spikes is None else _each(grad_spikes)
        places = (self.steps if self.by_step else 1) * (blocks if self.period == 1 else self.size)
        to_threshold = empty(like, places) if learn else like.new_empty(0)
        arguments = (
            *self._arguments(neuron), detach, kind, scale, factor, sigmoid,
            *spikes, each, self.nothing if grad_v is None else _array(grad_v),
            _array(grad_currents), sum_steps, _array(grad_state), _array(to_threshold),
        )  # fmt: skip
        self._run(compiled("backward", self.number), width, arguments)
        if not learn:
            return to_threshold
        if self.period == 1:
            total = to_threshold.view(-1, blocks).sum(1)
            return total.reshape(self.form)
        return to_threshold.view(-1, *self.shape[1:]).sum_to_size(self.form)

    def _arguments(self, neuron: Neuron) -> tuple[Any, ...]:
        tau, decay_input, v_reset, *_ = neuron
        rest = 0.0 if v_reset is None else v_reset
        return (
            self.steps, self.size, *self.currents, self.state, self.threshold, self.by_step, self.inner, self.period,
            tau, rest, rest, decay_input, v_reset is not None,
        )  # fmt: skip

    def _run(self, kernel: Any, width: int, arguments: tuple[Any, ...]) -> None:
        def blocks(first: int, last: int) -> None:
            kernel(first, last, width, *arguments)

        in_threads(blocks, -(-self.size // width), self.size * self.steps // WORTH)

    def _sigmoid(self, neuron: Neuron, like: Tensor) -> Array:
        """``sigmoid(alpha u)`` of every step, by torch itself: its exponential has bits of its own."""
        u, v = empty(like, self.steps, self.size), empty(like, self.size)
        self.forward(neuron, HEIGHTS, neuron[-1], u, v)
        for row in u.unbind(0):
            row.sigmoid_()
        return _array(u)


def _array(x: Tensor) -> Array:
    """A tensor's numbers in a row, as numpy sees them; copied only where they are not in a row."""
    flat: Array = x.detach().contiguous().view(-1).numpy()
    return flat


def _rows(x: Tensor) -> _Rows:
    """``[T, B, ...]`` without a copy where each step's numbers lie in a row, and of one step where all are the same."""
    x = x.detach()
    if x.shape[0] > 1 and x.stride(0) == 0:
        return _Rows(_array(x[0]), 0)
    size = x[0].numel()
    if not x[0].is_contiguous() or size == 0:
        return _Rows(_array(x), size)
    step = x.stride(0)
    return _Rows(x.as_strided(((x.shape[0] - 1) * step + size,), (1,)).numpy(), step)


def _each(grad: Tensor) -> tuple[_Rows, bool]:
    """As :func:`_rows`, and whether each neuron has its own number: of a plain sum all have one."""
    if grad.numel() and not any(
        stride for size, stride in zip(grad.shape[1:], grad.stride()[1:], strict=True) if size > 1
    ):
        return _Rows(_array(grad.flatten(1)[:, 0]), 1), False
    return _rows(grad), True


def _periodic(threshold: Tensor, shape: torch.Size) -> tuple[Tensor, int, int]:
    """A threshold without what only repeats: neuron m of a step has number ``m // inner % period`` of its row.

    Returns:
        The threshold, ``[T or 1, period]``; inner; period.
    """
    sizes = threshold.shape[1:]
    own = [axis for axis, size in enumerate(sizes) if size > 1]
    if not own:
        return threshold.reshape(-1, 1), max(1, math.prod(shape[1:])), 1
    first, last = own[0], own[-1]
    # What repeats between axes of its own is written out.
    middle = [full if first <= axis <= last else 1 for axis, full in enumerate(shape[1:])]
    written = threshold.expand(-1, *middle)
    return written.flatten(1), math.prod(shape[last + 2 :]), math.prod(middle)
