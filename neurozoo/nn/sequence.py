"""Sequences with padding: positions, valid rows, position codes, resampling to another sequence's times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from neurozoo.core.multimodal import Tokens

__all__ = [
    "at_relative_times",
    "code_table",
    "concatenate",
    "left_aligned",
    "pooled",
    "rank_of_rows",
    "sinusoidal_code",
    "tokens",
    "valid_first",
    "zero_padding",
]

_LOG_BASE = torch.tensor(10000.0).log().item()
"""Rounded to float32, as in the published model."""


def tokens(x: Tensor, mask: Tensor | None) -> Tokens:
    """Return a sequence whose positions count from its first valid row, so that padding does not shift them.

    Args:
        x: ``[B, L, D]``.
        mask: ``[B, L]`` bool; None if every row is valid.
    """
    if mask is None:
        return Tokens(x, None, torch.arange(x.shape[1], device=x.device)[None])
    return Tokens(x, mask, rank_of_rows(mask))


def rank_of_rows(mask: Tensor) -> Tensor:
    """Return each valid row's rank among the valid rows, ``[B, L]`` from 0; other rows have their predecessor's."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def valid_first(mask: Tensor) -> Tensor:
    """Return the permutation ``[B, L]`` that moves the valid rows to the front and keeps their order."""
    if torch.compiler.is_compiling():  # ONNX has no stable sort; these keys differ from each other
        keys = (~mask).long() * mask.shape[1] + torch.arange(mask.shape[1], device=mask.device)
        return keys.topk(mask.shape[1], dim=1, largest=False).indices
    return torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Concatenate sequences along L; each keeps its positions and segments."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.mask for part in parts if part.mask is not None]
    rows = max(part.position.shape[0] for part in parts)
    return Tokens(
        torch.cat([part.x for part in parts], dim=1),
        torch.cat(masks, dim=1) if len(masks) == len(parts) else None,
        torch.cat([part.position.expand(rows, -1) for part in parts], dim=1),
        sum((part.segments for part in parts), ()) if all(part.segments for part in parts) else (),
    )


def left_aligned(x: Tensor, mask: Tensor | None) -> Tokens:
    """Move the valid rows of ``x`` ``[B, L, D]`` to the front in their order; the other rows are zero."""
    if mask is None:
        return tokens(x, None)
    order = valid_first(mask)
    rows = torch.gather(zero_padding(x, mask), 1, order[..., None].expand_as(x))
    return tokens(rows, torch.gather(mask, 1, order))


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``x`` ``[B, L, D]`` with zeros in the rows outside ``mask`` ``[B, L]``."""
    # Not a product, as padding may hold NaN.
    return x if mask is None else x.masked_fill(~mask[..., None], 0.0)


def pooled(sequence: Tokens, pooling: Literal["mean", "last", "max"] = "mean") -> Tensor:
    """Return one vector a sample, ``[B, D]`` of ``[B, L, D]``; 0 where there is no valid row.

    Args:
        sequence: Its padding may hold any values.
        pooling: The mean over valid rows, the last valid row, or the largest value of each feature over valid rows.
    """
    valid = sequence.valid
    if pooling == "max":
        # Not minus infinity: a sample may have no valid row.
        masked = sequence.x.masked_fill(~valid[..., None], torch.finfo(sequence.x.dtype).min)
        return masked.amax(1).masked_fill(~valid.any(1, keepdim=True), 0.0)
    x = zero_padding(sequence.x, sequence.mask)
    if pooling == "mean":
        return x.sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
    place = torch.arange(x.shape[1], device=x.device)
    last = (place * valid).argmax(1)  # [B]; the first row, which is 0, where there is none
    return x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]


def sinusoidal_code(position: Tensor, length: int, width: int, dtype: torch.dtype) -> Tensor:
    """Return the sinusoidal position code (Vaswani et al. 2017, section 3.5), base 10,000.

    Args:
        position: Any shape, int64, below ``length``.
        length: Largest number of positions.
        width: Features D of the code.
        dtype: Of the result.

    Returns:
        ``[*position.shape, D]``, sine on even and cosine on odd features.
    """
    # torch.compile warns of lru_cache, and a dispatch mode may make fake tensors that must not be cached.
    uncached = torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
    table = _code if uncached else code_table
    return table(length, width, dtype, position.device)[position]


@lru_cache(maxsize=32)
def code_table(length: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the code of positions 0 to ``length - 1``, ``[length, width]``; cached, so do not change it in place."""
    with torch.inference_mode(False), torch.no_grad():
        return _code(length, width, dtype, device)


def _code(length: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-_LOG_BASE / width))
    angle = torch.arange(length, device=device)[:, None] * rate
    table = torch.zeros(length, width, device=device)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : width // 2]
    return table.to(dtype)


def at_relative_times(source: Tensor, source_mask: Tensor | None, mask: Tensor | None, length: int) -> Tensor:
    """Resample a sequence to another one's relative times by the nearest valid row.

    Valid row i of n of the other sequence is at the time (i + 1/2) / n. If both have equally many valid
    rows, this pairs them one by one, wherever the padding is.

    Args:
        source: ``[..., B, L', D]``, the sequence to resample.
        source_mask: ``[B, L']`` bool or None.
        mask: ``[B, L]`` bool or None, the valid rows of the other sequence.
        length: L.

    Returns:
        ``[..., B, L, D]``; undefined in rows outside ``mask``, and if ``source`` has no valid row.
    """
    batch, rows, device = source.shape[-3], source.shape[-2], source.device
    if source_mask is None and mask is None and rows == length:
        return source
    valid = torch.ones(batch, length, dtype=torch.bool, device=device) if mask is None else mask
    source_valid = torch.ones(batch, rows, dtype=torch.bool, device=device) if source_mask is None else source_mask
    n, source_n = valid.sum(1, keepdim=True).clamp(min=1), source_valid.sum(1, keepdim=True).clamp(min=1)
    rank = rank_of_rows(valid)
    # floor((rank + 1/2) / n * source_n), exact in integers.
    nearest = torch.minimum((2 * rank + 1) * source_n // (2 * n), source_n - 1)
    row = torch.gather(valid_first(source_valid), 1, nearest)
    return torch.gather(source, -2, row[..., None].expand(*source.shape[:-2], length, source.shape[-1]))
