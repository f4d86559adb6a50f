"""Neurons whose outputs return a step later: one function of autograd for all steps.

The compiled loop runs one step at a time, and torch multiplies by the recurrent weights in between, in the same
operations as the loop of ``neurozoo.core.neuron``, so that currents and spikes are equal to the bit. Of the states, the
backward gets every few steps' and recomputes those between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from neurozoo.backends.fused.memory import Call, Spread, flat
from neurozoo.backends.fused.operators import spec_of
from neurozoo_numba.block import WIDEST, address
from neurozoo_numba.kernels import loop_over_time
from neurozoo_numba.kinds import KERNEL_KINDS, PARAMETERS
from neurozoo_numba.operator import WORTH, Array, form_of, shared_arguments, spiking_arguments
from neurozoo_numba.threads import in_threads

__all__ = ["recurrence"]


class _Fixed(NamedTuple):
    """What the parameters of a call are, for autograd to pass through."""

    numbers: Sequence[float]
    text: str
    detach: bool


class _Steps:
    """A call's constants, and the compiled loop of one step.

    Args:
        currents: ``[T, B, ..., N]``, for its shape and dtype.
        threshold: 0-d, or with as many axes as the currents.
        params: ``[P, *shape]`` or None.
        fixed: See :class:`_Fixed`.
    """

    def __init__(self, currents: Tensor, threshold: Tensor, params: Tensor | None, fixed: _Fixed) -> None:
        spec = spec_of(fixed.text)
        # One current for all steps, which is not copied.
        self.call = Call(currents[:1].expand(currents.shape), None, threshold, params, fixed.numbers, spec)
        self.form = form_of(self.call)
        self.kind = KERNEL_KINDS[self.form.kind]
        self.size, self.bits = self.call.size, 8 * currents.element_size()
        self.width = WIDEST
        self.blocks = -(-self.size // self.width)
        self.nothing = currents.new_empty(0).numpy()
        *self.first, self.levels, _, inner, period, p, p_inner, p_period, own, ties, step, _ = shared_arguments(
            self.call, self.form, currents[:0]
        )
        self.rest, self.period = self.first[5], period
        self.after = (False, inner, period, p, p_inner, p_period, own, ties, step, False)
        self.kernel = loop_over_time("forward", self.bits)

    def shared(self, t: int, x: Array, state: Array | None) -> tuple[Any, ...]:
        """Return the arguments that forward and backward of step ``t`` share."""
        level = self.levels[t * self.period : (t + 1) * self.period] if self.call.by_step else self.levels
        before = self.nothing if state is None else state
        return (1, self.size, x, self.size, before, self.rest, level, *self.after)

    def run(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        """Run a kernel on all neurons."""

        def some(first: int, last: int) -> None:
            kernel(first, last, self.width, *arguments)

        in_threads(some, self.blocks, self.size // WORTH)

    def step(self, t: int, x: Array, state: Array | None, out: Array, after: Array) -> None:
        """Run step ``t``: write its outputs and the states after it, which may be those before it."""
        self.run(self.kernel, (*self.shared(t, x, state), out, after))


def _apart(steps: int) -> int:
    """Return how many steps are between two whose states are kept."""
    return max(1, math.isqrt(steps))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        currents: Tensor,
        weight: Tensor,
        state: Tensor | None,
        initial: Tensor | None,
        threshold: Tensor,
        params: Tensor | None,
        fixed: _Fixed,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs ``[T, B, ..., N]``, the last states ``[S, B, ..., N]``, and the driven currents."""
        steps = _Steps(currents, threshold, params, fixed)
        learns, states = any(ctx.needs_input_grad), (len(steps.rest), *currents.shape[1:])
        outputs, driven, after = (currents.new_empty(shape) for shape in (currents.shape, currents.shape, states))
        apart = _apart(len(currents))
        kept = currents.new_empty((-(-len(currents) // apart) if learns else 0, *states))
        x, out, last = (flat(each).numpy() for each in (driven, outputs, after))
        fired, before = initial, None if state is None else flat(state).numpy()
        for t, current in enumerate(currents.unbind(0)):
            if fired is None:
                driven[t].copy_(current)
            else:
                torch.add(current, nn.functional.linear(fired, weight), out=driven[t])
            if learns and t % apart == 0 and before is not None:
                flat(kept[t // apart]).numpy()[:] = before
            span = slice(t * steps.size, (t + 1) * steps.size)
            steps.step(t, x[span], before, out[span], last)
            # Products can depend on how memory is aligned, in their last bit; that of the loop's steps is.
            before, fired = last, outputs[t].clone()
        ctx.save_for_backward(driven, outputs, weight, initial, threshold, params, kept)
        ctx.fixed, ctx.at_rest = fixed, state is None
        ctx.set_materialize_grads(False)
        return outputs, after, driven

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_outputs: Tensor | None, to_after: Tensor | None, to_driven: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        driven, outputs, weight, initial, threshold, params, kept = ctx.saved_tensors
        wanted, detach = ctx.needs_input_grad, ctx.fixed.detach
        steps = _Steps(driven, threshold, params, ctx.fixed)
        learn = (wanted[4], params is not None and wanted[5])
        adjoint = _Adjoint(steps, ctx.fixed, learn)
        total, apart, grad = len(driven), _apart(len(driven)), torch.empty_like(driven)
        x, to_x = flat(driven).numpy(), flat(grad).numpy()
        states = driven.new_empty((min(apart, total), *kept.shape[1:]))
        to_state = None if to_after is None else flat(to_after).clone().numpy()
        through = torch.zeros_like(driven[0])  # gradient of a step's outputs
        to_out = flat(through).numpy()
        for segment in reversed(range(len(kept))):
            begin, end = segment * apart, min(total, (segment + 1) * apart)
            start = None if segment == 0 and ctx.at_rest else flat(kept[segment]).numpy()
            within = [flat(states[t - begin]).numpy() for t in range(begin, end - 1)]
            befores = [start, *within]
            for t in range(begin, end - 1):
                span = slice(t * steps.size, (t + 1) * steps.size)
                steps.step(t, x[span], befores[t - begin], adjoint.unused, within[t - begin])
            for t in reversed(range(begin, end)):
                returns = t + 1 < total and not detach
                if returns:
                    by_row = grad[t + 1].flatten(0, -2)
                    rows = through.view(by_row.shape)
                    if to_outputs is None:
                        torch.mm(by_row, weight, out=rows)
                    else:
                        torch.addmm(to_outputs[t].reshape(rows.shape), by_row, weight, out=rows)
                elif to_outputs is not None:
                    through.copy_(to_outputs[t])
                span = slice(t * steps.size, (t + 1) * steps.size)
                to_state = adjoint.step(t, x[span], befores[t - begin], to_out, to_state, to_x[span])
                if to_driven is not None:
                    grad[t] += to_driven[t]
        by_row = grad.flatten(1, -2).flatten(0, 1) if grad.dim() > 2 else grad
        to_weight = to_initial = None
        if wanted[1]:
            one = grad[0].numel() // grad.shape[-1]
            to_weight = by_row[one:].T @ outputs[:-1].reshape(-1, grad.shape[-1])
            if initial is not None:
                to_weight += by_row[:one].T @ initial.reshape(one, -1)
        if wanted[3]:
            to_initial = torch.zeros_like(grad[0]) if detach else grad[0] @ weight
        to_first = torch.from_numpy(to_state).view(kept.shape[1:]) if wanted[2] and to_state is not None else None
        to_threshold, to_params = adjoint.learned(params)
        return grad if wanted[0] else None, to_weight, to_first, to_initial, to_threshold, to_params, None


class _Adjoint:
    """Runs the backward of single steps, and sums the gradients of threshold and parameters.

    Args:
        steps: The call.
        fixed: Its constants.
        learn: Whether the gradients of threshold and parameters are needed.
    """

    def __init__(self, steps: _Steps, fixed: _Fixed, learn: tuple[bool, bool]) -> None:
        call, dtype = steps.call, steps.nothing.dtype
        self.steps, self.call, self.learn = steps, call, learn
        learned = PARAMETERS if learn[1] else int(learn[0])
        recalled = steps.kind.recalled or learned == PARAMETERS
        self.kernel = loop_over_time("backward", steps.bits)
        self.middle = (
            address("adjoint", steps.form._replace(learn=learned)),
            *spiking_arguments(call, steps.kind.late, recalled),
        )
        places = call.threshold.places(steps.blocks) // call.threshold.rows if learn[0] else 0
        many = call.params.places(steps.blocks) if call.params is not None and learn[1] else 0
        self.to_threshold, self._levels = np.zeros((call.threshold.rows, places), dtype), np.empty(places, dtype)
        self.to_params, self._params = np.zeros(many, dtype), np.empty(many, dtype)
        self.unused = np.empty(steps.size, dtype)

    def step(self, t: int, x: Array, before: Array | None, to_out: Array, to_state: Array | None, to_x: Array) -> Array:
        """Write the gradient of step ``t``'s currents, and return that of the states before it.

        Args:
            t: The step; the last one comes first.
            x: Its currents.
            before: The states before it; None at rest.
            to_out: Gradient of its outputs.
            to_state: Gradient of the states after it, which is overwritten; None for none.
            to_x: Written.
        """
        steps = self.steps
        after = steps.nothing if to_state is None else to_state
        made = np.empty(len(steps.rest) * steps.size, x.dtype) if to_state is None else to_state
        shared = steps.shared(t, x, before)
        outer = (to_out, steps.size, True, after, to_x, False, made, self._levels, self._params)
        steps.run(self.kernel, (*shared, *self.middle, *outer))
        if self.learn[0]:
            self.to_threshold[t if self.call.by_step else 0] += self._levels
        if self.learn[1]:
            self.to_params += self._params
        return made

    def learned(self, params: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of threshold and parameters; None if not needed."""
        to_threshold = self._sum(self.call.threshold, self.to_threshold) if self.learn[0] else None
        if not self.learn[1] or self.call.params is None or params is None:
            return to_threshold, None
        return to_threshold, self._sum(self.call.params, self.to_params).reshape(params.shape)

    def _sum(self, spread: Spread, written: Array) -> Tensor:
        return spread.gradient(torch.from_numpy(written).flatten(), self.steps.blocks)


def recurrence(
    currents: Tensor,
    weight: Tensor,
    state: Tensor | None,
    initial: Tensor | None,
    threshold: Tensor,
    params: Tensor | None,
    numbers: Sequence[float],
    text: str,
    detach: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run all steps.

    Args:
        currents: ``[T, B, ..., N]`` without the recurrent ones.
        weight: ``[N, N]``, see ``neurozoo.core.neuron.Neuron.recur``.
        state: States to start from, ``[S, B, ..., N]``; at rest if None.
        initial: Outputs before the first step, ``[B, ..., N]``; 0 if None.
        threshold: 0-d, or with as many axes as the currents; of their dtype.
        params: ``[P, *shape]`` or None if numbers.
        numbers: See ``neurozoo.backends.fused.operators``.
        text: The specification, likewise.
        detach: Whether the gradient stops at the outputs that return.

    Returns:
        Outputs ``[T, B, ..., N]``, the last states ``[S, B, ..., N]``, and the driven currents.
    """
    made: tuple[Tensor, Tensor, Tensor] = _Recurrence.apply(  # type: ignore[no-untyped-call]
        currents, weight, state, initial, threshold, params, _Fixed(numbers, text, detach)
    )
    return made
