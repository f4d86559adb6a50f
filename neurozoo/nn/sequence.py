"""Sequences with padding: positions, valid rows, and reading one sequence at another's times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from neurozoo.core.interfaces import Tokens

__all__ = [
    "at_relative_times",
    "code_table",
    "concatenate",
    "left_aligned",
    "sinusoidal_code",
    "tokens",
    "zero_padding",
]

_LOG_BASE = torch.tensor(10000.0).log().item()
"""In float32, in which the published model has it."""


def tokens(x: Tensor, mask: Tensor | None) -> Tokens:
    """A sequence whose positions count from its first valid row, so that padding shifts nothing.

    Args:
        x: ``[B, L, D]``.
        mask: ``[B, L]`` bool, or None where every row counts.
    """
    if mask is None:
        return Tokens(x, None, torch.arange(x.shape[1], device=x.device)[None])
    return Tokens(x, mask, (mask.long().cumsum(1) - 1).clamp(min=0))


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Sequences one after another along L, each keeping its own positions and segments."""
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
    """The valid rows of ``x`` ``[B, L, D]``, moved to the front in their order; the rows behind them are zero."""
    if mask is None:
        return tokens(x, None)
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    rows = torch.gather(zero_padding(x, mask), 1, order[..., None].expand_as(x))
    return tokens(rows, torch.gather(mask, 1, order))


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` ``[B, L, D]`` with zeros at the rows that ``mask`` ``[B, L]`` leaves out."""
    # Not a product: padding may hold NaN.
    return x if mask is None else x.masked_fill(~mask[..., None], 0.0)


def sinusoidal_code(position: Tensor, length: int, width: int, dtype: torch.dtype) -> Tensor:
    """The sinusoidal position code (Vaswani et al. 2017, section 3.5), base 10,000.

    Args:
        position: Any shape, int64, below ``length``.
        length: Largest number of positions.
        width: Features D of the code.
        dtype: Of the result.

    Returns:
        ``[*position.shape, D]``, sine on even and cosine on odd features.
    """
    # torch.compile would look through the cache, and warn; and a mode may make tensors without numbers.
    passing = torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
    table = code_table.__wrapped__ if passing else code_table
    return table(length, width, dtype, position.device)[position]


@lru_cache(maxsize=32)
def code_table(length: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The code of positions 0 and on, ``[length, width]``; the same tensor each time, not to be changed."""
    with torch.inference_mode(False), torch.no_grad():
        rate = torch.exp(torch.arange(0, width, 2, device=device) * (-_LOG_BASE / width))
        angle = torch.arange(length, device=device)[:, None] * rate
        table = torch.zeros(length, width, device=device)
        table[:, 0::2] = angle.sin()
        table[:, 1::2] = angle.cos()[:, : width // 2]
        return table.to(dtype)


def at_relative_times(source: Tensor, source_mask: Tensor | None, mask: Tensor | None, length: int) -> Tensor:
    """Read a sequence at another one's relative times, nearest valid row.

    The other's valid row i of n is at the time (i + 1/2) / n; with as many valid rows on both
    sides this pairs them one by one, wherever their padding is.

    Args:
        source: ``[..., B, L', D]``, what is read.
        source_mask: ``[B, L']`` bool or None.
        mask: ``[B, L]`` bool or None, the rows of the other sequence.
        length: L.

    Returns:
        ``[..., B, L, D]``; undefined at rows that ``mask`` leaves out, and where ``source`` has
        no valid row.
    """
    batch, rows, device = source.shape[-3], source.shape[-2], source.device
    if source_mask is None and mask is None and rows == length:
        return source
    here = torch.ones(batch, length, dtype=torch.bool, device=device) if mask is None else mask
    there = torch.ones(batch, rows, dtype=torch.bool, device=device) if source_mask is None else source_mask
    n_here, n_there = here.sum(1, keepdim=True).clamp(min=1), there.sum(1, keepdim=True).clamp(min=1)
    rank = (here.long().cumsum(1) - 1).clamp(min=0)
    # floor((rank + 1/2) / n_here * n_there), in whole numbers so that it is exact.
    nearest = torch.minimum((2 * rank + 1) * n_there // (2 * n_here), n_there - 1)
    valid_first = torch.argsort((~there).to(torch.uint8), dim=1, stable=True)
    row = torch.gather(valid_first, 1, nearest)
    return torch.gather(source, -2, row[..., None].expand(*source.shape[:-2], length, source.shape[-1]))
