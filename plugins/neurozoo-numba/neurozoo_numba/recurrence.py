"""Neurons whose outputs return a step later: one function of autograd for all steps.

The compiled loop runs one step at a time, and torch multiplies by the recurrent weights in between, in the same
operations as the loop of ``neurozoo.core.neuron``, so that currents and spikes are equal to the bit. The backward gets
the spikes in bytes, and the neurons' heights where these suffice for it; else the whole currents and every few steps'
states, and it recomputes those between.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurozoo_numba.returning import Back, Fixed, Forth, Loop, apart, reusable, spans, used_again, weight_gradient

__all__ = ["recurrence"]


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
        fixed: Fixed,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return outputs ``[T, B, ..., N]``, the last states ``[S, B, ..., N]``, and the driven currents."""
        wanted = ctx.needs_input_grad
        learns = any(wanted)
        loop = Loop(currents, threshold, params, fixed, (wanted[4], wanted[5] and params is not None))
        by_heights = learns and loop.by_heights and not fixed.driven and not wanted[2]
        outputs = currents.new_empty(currents.shape)
        kept = currents.new_empty(currents.shape) if learns or fixed.driven else None
        spikes = outputs.new_empty(currents.shape, dtype=torch.uint8) if learns and loop.spec.spiking else None
        states = loop.resting(currents) if state is None else state.clone(memory_format=torch.contiguous_format)
        x = currents
        if not x[0].is_contiguous():
            x = currents.contiguous() if kept is None else kept.copy_(currents)
        driven, heights = (None, kept) if by_heights else (kept, None)
        fired = None if initial is None else initial.clone(memory_format=torch.contiguous_format)
        forth = Forth(
            loop, x, states, fired, fixed.used(weight), driven=driven, heights=heights, out=outputs, spikes=spikes
        )
        between, checkpoints = apart(loop.steps), []
        for t in range(loop.steps):
            if learns and not by_heights and t % between == 0:
                checkpoints.append(None if t == 0 and state is None else states.clone())
            forth.step(t)
        if learns:
            ctx.save_for_backward(
                weight, initial, threshold, params, kept if fixed.driven else None, outputs if spikes is None else None
            )
            ctx.fixed, ctx.loop, ctx.by_heights, ctx.checkpoints = fixed, loop, by_heights, checkpoints
            ctx.kept, ctx.spikes = None if fixed.driven else kept, spikes
        ctx.set_materialize_grads(False)
        return outputs, states, kept if fixed.driven else None

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_outputs: Tensor | None, to_after: Tensor | None, to_driven: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        weight, initial, _, params, driven, outputs = ctx.saved_tensors
        kept, loop, fixed, wanted = ctx.kept if driven is None else driven, ctx.loop, ctx.fixed, ctx.needs_input_grad
        if kept is None:
            raise used_again()
        returned, checkpoints = ctx.spikes if outputs is None else outputs, ctx.checkpoints
        again = not reusable()
        if not again:
            ctx.kept = ctx.spikes = ctx.checkpoints = None
        grad = torch.empty_like(kept) if again or driven is not None else kept
        through = torch.zeros_like(kept[0])  # gradient of a step's outputs
        x, heights = (None, kept) if ctx.by_heights else (kept, None)
        after = None if to_after is None else to_after.clone(memory_format=torch.contiguous_format)
        back = Back(loop, x, heights, grad, after, through)
        used, rows, total, between = fixed.used(weight), loop.rows(through), loop.steps, apart(loop.steps)
        by_row = grad.view(total, *rows.shape).unbind(0)
        to_out = None if to_outputs is None else to_outputs.reshape(total, *rows.shape).unbind(0)
        for span in reversed(spans(total, between)):
            begin, end = span.start, span.stop
            if heights is None:
                start = checkpoints[begin // between]
                back.replay(begin, end, loop.resting(kept) if start is None else start)
            for t in reversed(range(begin, end)):
                if t + 1 < total and not fixed.detach:
                    if to_out is None:
                        torch.mm(by_row[t + 1], used, out=rows)
                    else:
                        torch.addmm(to_out[t], by_row[t + 1], used, out=rows)
                elif to_out is not None:
                    rows.copy_(to_out[t])
                back.step(t)
                if to_driven is not None:
                    grad[t] += to_driven[t]
        to_initial = None
        if wanted[3]:
            to_initial = torch.zeros_like(through)
            if not fixed.detach:
                torch.mm(loop.rows(grad[0]), used, out=loop.rows(to_initial))
        learned, to_first = back.learned(params), back.after if wanted[2] else None
        del back, used, kept, heights, x, to_out  # before the gradient of the weights
        to_weight = weight_gradient(weight, grad, returned, initial, fixed) if wanted[1] else None
        return grad if wanted[0] else None, to_weight, to_first, to_initial, *learned, None


def recurrence(
    currents: Tensor,
    weight: Tensor,
    state: Tensor | None,
    initial: Tensor | None,
    threshold: Tensor,
    params: Tensor | None,
    fixed: Fixed,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run all steps.

    Args:
        currents: ``[T, B, ..., N]`` without the recurrent ones.
        weight: ``[N, N]``, see ``neurozoo.core.neuron.Neuron.recur``.
        state: States to start from, ``[S, B, ..., N]``; at rest if None.
        initial: Outputs before the first step, ``[B, ..., N]``; 0 if None.
        threshold: 0-d, or with as many axes as the currents; of their dtype.
        params: ``[P, *shape]`` or None if numbers.
        fixed: See :class:`~neurozoo_numba.returning.Fixed`.

    Returns:
        Outputs ``[T, B, ..., N]``, the last states ``[S, B, ..., N]``, and the whole currents if they are to be
        returned.
    """
    made: tuple[Tensor, Tensor, Tensor | None] = _Recurrence.apply(  # type: ignore[no-untyped-call]
        currents, weight, state, initial, threshold, params, fixed
    )
    return made
