"""Modalities as one vector a sample, and one row as a sequence: for fusions that take no sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from neurozoo.core.multimodal import Features, Tokens
from neurozoo.nn.sequence import zero_padding

__all__ = ["Pooling", "one_row", "pooled", "whole"]

Pooling = Literal["mean", "last"]
"""The mean over valid rows, or the last valid row."""


def pooled(sequence: Tokens, pooling: Pooling = "mean") -> Tensor:
    """Return one vector a sample, ``[B, D]`` of ``[B, L, D]``; 0 where there is no valid row."""
    x = zero_padding(sequence.x, sequence.mask)
    valid = sequence.valid
    if pooling == "mean":
        return x.sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
    place = torch.arange(x.shape[1], device=x.device)
    last = (place * valid).argmax(1)  # [B]; the first row, which is 0, where there is none
    return x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]


def whole(features: Mapping[str, Features], pooling: Pooling = "mean") -> tuple[list[Tensor], Tensor]:
    """Return a vector ``[B, D]`` for each of M modalities, in order, and which are present, ``[B, M]`` bool."""
    sequences = [each.enhanced for each in features.values()]
    return [pooled(each, pooling) for each in sequences], torch.stack([each.valid.any(1) for each in sequences], 1)


def one_row(x: Tensor, present: Tensor) -> Tokens:
    """Return vectors ``[B, D]`` as a sequence of one row at position 0, valid where any modality is present.

    Args:
        x: Vectors, finite.
        present: ``[B, M]`` bool.
    """
    position = torch.zeros(1, 1, dtype=torch.int64, device=x.device)
    return Tokens(x[:, None], present.any(1, keepdim=True), position)
