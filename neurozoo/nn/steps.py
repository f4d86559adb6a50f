"""Signals as steps of the simulation, and readouts of the outputs over the steps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from neurozoo.core.signals import Signal
from neurozoo.nn.sequence import rank_of_rows, valid_first

__all__ = ["Readout", "as_steps", "read_out", "to_positions"]

Readout = Literal["mean", "max", "last", "softmax"]


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
