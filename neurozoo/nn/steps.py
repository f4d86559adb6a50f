"""Signals as steps of the simulation, and readouts of the outputs over the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from neurozoo.core.signals import Signal
from neurozoo.nn.sequence import rank_of_rows, valid_first

__all__ = [
    "Readout", "StepReadout", "as_steps", "drawn_steps", "last_steps", "merged", "read_out", "reversed_steps",
    "to_positions",
]  # fmt: skip

Readout = Literal["mean", "max", "last", "softmax"]


@dataclass(frozen=True)
class StepReadout:
    """How an answer follows from the outputs of the steps so far, for those who run a model step by step.

    Attributes:
        how: As of :func:`read_out`.
        last: Number of steps at the end that answer; None for all.
        first: Number of steps at the beginning that do not, because no input has reached the output.
        zero: Of ``max``: whether a 0 before the first step is among the outputs.
        reached: Name of the layer whose spikes the output needs: the steps up to its first spike do not answer. None
            if all do.
    """

    how: Readout
    last: int | None = None
    first: int = 0
    zero: bool = False
    reached: str | None = None


def merged(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a module without state, such as a pool, to ``[T, B, ...]`` with T and B merged."""
    rows = module(x.flatten(0, 1))
    return rows.view(*x.shape[:2], *rows.shape[1:])


def as_steps(signal: Signal) -> tuple[Tensor, Tensor | None]:
    """Convert a signal ``[B, L, *shape]`` to steps, valid positions first.

    Returns:
        ``[T = L, B, *shape]`` with zeros after the valid positions, and the valid steps ``[T, B]``; None if all are.
    """
    if signal.valid is None:
        return signal.values.transpose(0, 1), None
    order = valid_first(signal.valid)
    valid, trailing = signal.valid.gather(1, order), [1] * (signal.values.dim() - 2)
    rows = signal.values.gather(1, order.reshape(*order.shape, *trailing).expand_as(signal.values))
    return rows.masked_fill(~valid.reshape(*valid.shape, *trailing), 0).transpose(0, 1), valid.T


def drawn_steps(x: Tensor, valid: Tensor | None, count: int) -> tuple[Tensor, Tensor | None]:
    """Draw steps of each sample at random, without repetition, and keep their order.

    Args:
        x: ``[T, B, ...]``.
        valid: ``[T, B]``; None if all are. Invalid steps are drawn only where the valid ones do not suffice.
        count: Number of steps to draw; all are returned if there are no more.

    Returns:
        ``[count, B, ...]``, and which of the steps are valid, ``[count, B]``; None if all are.
    """
    if count >= len(x):
        return x, valid
    rank = torch.rand(x.shape[:2], device=x.device)
    if valid is not None:
        rank = rank.masked_fill(~valid, 2.0)
    steps = rank.topk(count, 0, largest=False).indices.sort(0).values
    samples = torch.arange(x.shape[1], device=x.device)
    return x[steps, samples], None if valid is None else valid[steps, samples]


def reversed_steps(x: Tensor, valid: Tensor | None) -> Tensor:
    """Reverse the valid steps of each sample; applied twice, it changes nothing.

    Args:
        x: ``[T, B, ...]``.
        valid: ``[T, B]``, the valid steps, which come first; None if all are.

    Returns:
        ``[T, B, ...]``; the steps after the valid ones are unchanged.
    """
    if valid is None:
        return x.flip(0)
    steps, at = valid.sum(0), torch.arange(len(x), device=x.device)[:, None]
    source = torch.where(at < steps, steps - 1 - at, at)
    return x.gather(0, source.reshape(*source.shape, *[1] * (x.dim() - 2)).expand_as(x))


def to_positions(outputs: Tensor, valid: Tensor | None) -> Tensor:
    """Move outputs of steps to their positions in the signal; the inverse of :func:`as_steps`.

    Args:
        outputs: ``[T, B, K]``.
        valid: ``[B, L]`` of the signal; None if every position is valid.

    Returns:
        ``[B, L, K]``, zeros at invalid positions.
    """
    rows = outputs.transpose(0, 1)
    if valid is None:
        return rows
    step = rank_of_rows(valid)
    return rows.gather(1, step[..., None].expand_as(rows)).masked_fill(~valid[..., None], 0.0)


def last_steps(outputs: Tensor, valid: Tensor | None, count: int | None) -> tuple[Tensor, Tensor | None]:
    """Return a sample's last valid steps, for a decision at its end.

    Args:
        outputs: ``[T, B, K]``.
        valid: ``[T, B]``, the valid steps, which come first; None if all are.
        count: Number of steps, or all that are valid if there are fewer; None for all.

    Returns:
        Outputs ``[T', B, K]`` and which of them are among the steps, ``[T', B]``; None if all are.
    """
    if count is None:
        return outputs, valid
    if valid is None:
        return outputs[-count:], None
    place = torch.arange(len(valid), device=valid.device)[:, None]
    return outputs, valid & (place >= valid.sum(0) - count)


def read_out(outputs: Tensor, valid: Tensor | None, how: Readout) -> Tensor:
    """Reduce the outputs of all steps to one output per sample.

    Args:
        outputs: ``[T, B, K]``.
        valid: ``[T, B]``, the valid steps, which come first; None if all are.
        how: The ``mean``, the ``max`` or the ``last`` of the valid steps, or the sum of each one's ``softmax`` over the
            outputs (Bittar & Garner 2022).

    Returns:
        ``[B, K]``; zeros if no step is valid.
    """
    if how == "softmax":
        shares = torch.softmax(outputs, -1)
        return shares.sum(0) if valid is None else shares.masked_fill(~valid[..., None], 0.0).sum(0)
    if valid is None:
        if how == "mean":
            return outputs.mean(0)
        return outputs.amax(0) if how == "max" else outputs[-1]
    steps = valid.sum(0)[:, None]
    if how == "mean":
        return (outputs * valid[..., None]).sum(0) / steps.clamp(min=1)
    if how == "max":
        result = outputs.masked_fill(~valid[..., None], torch.finfo(outputs.dtype).min).amax(0)
    else:
        result = outputs.gather(0, (steps - 1).clamp(min=0).expand_as(outputs[0])[None])[0]
    return torch.where(steps > 0, result, 0.0)
