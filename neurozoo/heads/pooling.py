"""A sequence as one vector a sample, for label heads."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from neurozoo.core.multimodal import Tokens

__all__ = ["Pooling", "pooled"]

Pooling = Literal["mean", "max"]
"""Mean, or largest value of each feature, over valid rows."""


def pooled(sequence: Tokens, pooling: Pooling = "mean") -> Tensor:
    """Return ``[B, D]`` of ``[B, L, D]``; 0 for a sample without a valid row."""
    if sequence.mask is None:
        return sequence.x.mean(1) if pooling == "mean" else sequence.x.amax(1)
    mask = sequence.mask[..., None]
    if pooling == "mean":
        return (sequence.x * mask).sum(1) / mask.sum(1).clamp(min=1)
    largest = sequence.x.masked_fill(~mask, torch.finfo(sequence.x.dtype).min).amax(1)
    return largest.masked_fill(~mask.any(1), 0.0)
