"""Modalities as one vector a sample, and one row as a sequence: for fusions that take no sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from neurozoo.core.multimodal import Features, Tokens
from neurozoo.nn.sequence import pooled

__all__ = ["Pooling", "one_row", "whole"]

Pooling = Literal["mean", "last"]
"""The mean over valid rows, or the last valid row."""


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
