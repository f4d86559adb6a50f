"""A recurrent layer and what a linear reads of its spikes: one function of autograd, without their numbers in full.

The input's currents, the heights that take their place and, in a backward that is the last of its graph, the gradients
that take the heights' place, are one tensor. The spikes are bytes; their gradient is made step by step of that of what
is read. So at no time are there two tensors of ``[T, B, N]`` numbers, except for a copy in another order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from neurozoo_numba.returning import (
    PIECES,
    Back,
    Fixed,
    Forth,
    Loop,
    Sums,
    apart,
    reusable,
    spans,
    used_again,
    weight_gradient,
)

__all__ = ["reading"]


class _Reading(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        synapse: Tensor,
        weight: Tensor,
        reader: Tensor,
        state: Tensor | None,
        initial: Tensor | None,
        threshold: Tensor,
        params: Tensor | None,
        valid: Tensor | None,
        fixed: Fixed,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is read ``[T, B, K]``, the counts ``[B, N]``, and the spikes ``[T, B, N]`` in bytes."""
        learns = any(ctx.needs_input_grad)
        shape = (len(x) + fixed.late, x.shape[1], len(synapse))
        currents = x.new_empty(shape)
        _weigh(x, synapse, currents[: len(x)])
        currents[len(x) :].zero_()
        loop = Loop(currents, threshold, params, fixed, (False, False))
        states = loop.resting(currents) if state is None else state.clone(memory_format=torch.contiguous_format)
        fired = None if initial is None else initial.clone(memory_format=torch.contiguous_format)
        spikes = torch.empty(shape, dtype=torch.uint8, device=x.device)
        forth = Forth(
            loop, currents, states, fired, fixed.used(weight), heights=currents if learns else None, spikes=spikes
        )
        for t in range(loop.steps):
            forth.step(t)
        del forth, states, fired
        read, counts = x.new_empty((*shape[:2], len(reader))), x.new_zeros(shape[1:])
        mask = None if valid is None else valid.to(x.dtype).expand(shape[:2])[..., None]
        for span in spans(loop.steps, -(-loop.steps // PIECES)):
            numbers = spikes[span].to(x.dtype)
            torch.mm(loop.rows(numbers), reader.T, out=read[span].view(-1, len(reader)))
            counts += (numbers if mask is None else numbers.mul_(mask[span])).sum(0)
            del numbers
        ctx.save_for_backward(x, synapse, weight, reader, initial, threshold, params, valid)
        ctx.fixed, ctx.loop, ctx.heights, ctx.spikes = fixed, loop, currents if learns else None, spikes
        ctx.mark_non_differentiable(spikes)
        ctx.set_materialize_grads(False)
        return read, counts, spikes

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_read: Tensor | None, to_counts: Tensor | None, _: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, synapse, weight, reader, initial, _, _, valid = ctx.saved_tensors
        heights, spikes, loop, fixed, wanted = ctx.heights, ctx.spikes, ctx.loop, ctx.fixed, ctx.needs_input_grad
        if heights is None:
            raise used_again()
        again = not reusable()
        if not again:
            ctx.heights = ctx.spikes = None
        grad = torch.empty_like(heights) if again else heights
        through = torch.zeros_like(grad[0])  # gradient of a step's outputs
        back = Back(loop, None, heights, grad, None, through)
        used, total = fixed.used(weight), loop.steps
        mask = None if valid is None else valid.to(x.dtype).expand(grad.shape[:2])[..., None]
        by_step, between = grad.unbind(0), apart(total)
        for span in reversed(spans(total, between)):
            to_out = grad.new_zeros((span.stop - span.start, *through.shape))
            if to_read is not None:
                torch.mm(to_read[span].flatten(0, 1), reader, out=loop.rows(to_out))
            if to_counts is not None:
                to_out += to_counts if mask is None else to_counts * mask[span]
            for t in reversed(range(span.start, span.stop)):
                if t + 1 < total and not fixed.detach:
                    torch.addmm(to_out[t - span.start], by_step[t + 1], used, out=through)
                else:
                    through.copy_(to_out[t - span.start])
                back.step(t)
            del to_out
        del heights, back, used, through, by_step  # before the gradients of weights
        to_weight = weight_gradient(weight, grad, spikes, initial, fixed) if wanted[2] else None
        to_reader = Sums(reader) if wanted[3] else None
        if to_reader is not None and to_read is not None:
            for span in spans(total, -(-total // PIECES)):
                to_reader.add(to_read[span].flatten(0, 1), spikes[span].to(grad.dtype).flatten(0, 1))
        del spikes
        first = grad[: len(x)]
        to_x = nn.functional.linear(first, synapse.T) if wanted[0] else None
        to_synapse = None
        if wanted[1]:
            given = x
            if _by_sample(x) and x.shape[2] > first.shape[2]:  # the smaller one is copied into the other's order
                given, first = x.transpose(0, 1), first.transpose(0, 1).contiguous()
                del grad
            to_synapse = torch.mm(first.flatten(0, 1).T, given.flatten(0, 1), out=torch.empty_like(synapse))
        read_weight = None if to_reader is None else to_reader.result()
        return to_x, to_synapse, to_weight, read_weight, None, None, None, None, None, None


def _by_sample(x: Tensor) -> bool:
    """Whether steps ``[T, B, D]`` are in memory sample by sample."""
    return not x.is_contiguous() and x.transpose(0, 1).is_contiguous()


def _weigh(x: Tensor, weight: Tensor, out: Tensor) -> None:
    """Write the currents ``[T, B, N]`` of inputs ``[T, B, D]``, as ``SpikingLayer.currents`` multiplies."""
    if _by_sample(x):
        out.copy_(nn.functional.linear(x.transpose(0, 1), weight).transpose(0, 1))
    else:
        torch.mm(x.reshape(-1, x.shape[-1]), weight.T, out=out.view(-1, len(weight)))


def reading(
    x: Tensor,
    synapse: Tensor,
    weight: Tensor,
    reader: Tensor,
    state: Tensor | None,
    initial: Tensor | None,
    threshold: Tensor,
    params: Tensor | None,
    valid: Tensor | None,
    fixed: Fixed,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run all steps.

    Args:
        x: Inputs ``[T, B, D]``; the loop runs ``fixed.late`` steps more.
        synapse: ``[N, D]``, from inputs to currents.
        weight: ``[N, N]``, see ``neurozoo.core.neuron.Neuron.recur``.
        reader: ``[K, N]``, of what reads the spikes.
        state: See :func:`~neurozoo_numba.recurrence.recurrence`, also for all up to ``params``; without gradients.
        initial: Likewise.
        threshold: Likewise.
        params: Likewise.
        valid: ``[T or 1, B]``, the steps whose spikes are counted; None for all.
        fixed: See :class:`~neurozoo_numba.returning.Fixed`.

    Returns:
        What is read ``[T, B, K]``, the counts of spikes ``[B, N]``, and the spikes ``[T, B, N]`` in bytes, which have
        no gradient.
    """
    made: tuple[Tensor, Tensor, Tensor] = _Reading.apply(  # type: ignore[no-untyped-call]
        x, synapse, weight, reader, state, initial, threshold, params, valid, fixed
    )
    return made
