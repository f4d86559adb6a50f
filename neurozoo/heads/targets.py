"""Targets as labels that are there or not, for heads that learn from them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from neurozoo.errors import DataError

__all__ = ["as_labels", "counted_labels"]


def as_labels(target: Tensor, outputs: int, like: Tensor) -> Tensor:
    """Return targets as labels ``[B, K]`` in the dtype of ``like``.

    Args:
        target: Labels ``[B, K]`` from 0 to 1, or class numbers ``[B]``.
        outputs: K.
        like: A tensor.
    """
    return (F.one_hot(target, outputs) if target.dim() == 1 else target).to(like.dtype)


def counted_labels(target: Tensor, outputs: int, head: str) -> Tensor:
    """Return the training split's targets as labels ``[S, K]`` 0 or 1, int64.

    Args:
        target: Labels ``[S, K]``, or class numbers ``[S]``.
        outputs: K.
        head: Name of the head, for errors.

    Raises:
        DataError: The targets are neither labels nor classes.
    """
    if target.dim() == 1 and not target.is_floating_point():
        return F.one_hot(target, outputs)
    labels = target > 0
    if not bool((target == labels).all()):
        raise DataError(
            f"the label head {head} takes labels, which are there or not, and the targets are other numbers; choose "
            "pooled, label-decoder, label-attention, lsan or query2label"
        )
    return labels.long()
