"""Encoder blocks in evaluation by one compiled loop over blocks and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from neurozoo.fused.operators import unseen
from neurozoo.interfaces import Encoder, Layout, Tokens
from neurozoo.nn.attention import EncoderBlock, MultiHeadAttention, listened_to
from neurozoo.nn.sequence import code_table
from neurozoo.nn.together import TorchEncoder
from neurozoo_numba.encoder_kernel import COLUMNS, INNER, compiled
from neurozoo_numba.threads import in_threads

__all__ = ["NumbaEncoder"]

WORTH = 2**22
"""Products of two numbers that are worth a thread."""


class NumbaEncoder(Encoder):
    """Encoder blocks without a gradient, in float32 on a CPU; whatever else is asked for is done by torch.

    What a sample gets is the same to the bit in every batch, and within rounding of what torch gives.

    Args:
        layout: The model's layout.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._otherwise = TorchEncoder(layout)

    def encode(
        self, blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
    ) -> list[Tokens]:
        read = _read(blocks, queries, sources)
        if read is None:
            return self._otherwise.encode(blocks, queries, sources)
        sizes, parameters = read
        samples, table = len(queries[0].x), np.empty((len(blocks), COLUMNS), np.int64)
        alive: list[Tensor] = []  # until the kernel has read what is at their addresses
        found, longest, work = [], 1, 0
        for row, query, source, numbers in zip(table, queries, sources, parameters, strict=True):
            asking, asked = query.x.shape[1], source.x.shape[1]
            out = torch.empty(query.x.shape)
            given = [each.contiguous() for each in (query.x, query.position, source.x, source.position)]
            if source.mask is not None:
                given.append(source.mask.contiguous())
            alive += given
            x, position, keys, key_position, *mask = (each.data_ptr() for each in given)
            row[:] = (
                x, position, len(query.position) == 1, asking, keys, key_position, len(source.position) == 1, asked,
                mask[0] if mask else 0, out.data_ptr(), *[each.data_ptr() for each in numbers],
            )  # fmt: skip
            longest = max(longest, asking, asked)
            work += samples * (asking + asked) * (2 * sizes.width * (sizes.width + asking) + sizes.width * sizes.inner)
            found.append(query.with_x(out))
        code, kernel = code_table(longest, sizes.width, torch.float32, torch.device("cpu")), compiled()

        def run(first: int, last: int) -> None:
            if not kernel(first, last, samples, *sizes, code.data_ptr(), table):
                raise IndexError("a sequence has a position that is negative, or not below its number of rows")

        in_threads(run, len(blocks) * samples, work // WORTH)
        return found


class _Sizes(NamedTuple):
    """Of an encoder block: D, the width of its feed-forward, and H."""

    width: int
    inner: int
    heads: int


def _read(
    blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
) -> tuple[_Sizes, list[list[Tensor]]] | None:
    """The blocks' sizes and parameters in the kernel's order; None where it would not give what the blocks do."""
    if torch.is_autocast_enabled("cpu") or not unseen():
        return None
    sizes, parameters = None, []
    for block, query, source in zip(blocks, queries, sources, strict=True):
        numbers = _parameters(block)
        if numbers is None or not _match(query, source):
            return None
        own = _Sizes(query.x.shape[2], numbers[INNER].shape[0], block.attention.heads)
        if sizes is None:
            sizes, samples, counts = own, len(query.x), _counts(own)
        if own != sizes or len(query.x) != samples or [x.numel() for x in numbers] != counts:
            return None
        parameters.append(numbers)
    return None if sizes is None else (sizes, parameters)


def _parameters(block: EncoderBlock) -> list[Tensor] | None:
    """Weights and biases in the kernel's order; None where a part is another one than it was, or is listened to."""
    # By what a module has in its dicts: asking for attributes takes longer than the kernel.
    parts = block._modules
    attention = parts["attention"]
    if type(block) is not EncoderBlock or type(attention) is not MultiHeadAttention:
        return None
    if block.training or attention.plain or listened_to(block):
        return None
    inside = attention._modules
    norms = [parts["embedding_norm"], parts["attention_norm"], parts["output_norm"]]
    linears = [inside["query"], inside["key"], inside["value"], inside["out"], parts["inner"], parts["outer"]]
    if not all(type(each) is nn.LayerNorm for each in norms) or not all(type(each) is nn.Linear for each in linears):
        return None
    found: list[Tensor] = []
    for each in (*norms, *linears):
        for x in map(each._parameters.get, ("weight", "bias")):  # type: ignore[union-attr]
            if x is None or not _plain(x) or not x.is_contiguous():
                return None
            found.append(x)
    return found


def _counts(sizes: _Sizes) -> list[int]:
    """How many numbers each parameter has."""
    width, square, wide = sizes.width, sizes.width**2, sizes.width * sizes.inner
    return [*[width] * 6, *[square, width] * 4, wide, sizes.inner, wide, width]


def _match(query: Tokens, source: Tokens) -> bool:
    return _plain_sequence(query) and _plain_sequence(source) and query.x.shape[::2] == source.x.shape[::2]


def _plain_sequence(sequence: Tokens) -> bool:
    x, position, mask = sequence.x, sequence.position, sequence.mask
    return (
        _plain(x)
        and x.numel() > 0
        and _plain(position, torch.int64)
        and position.shape in (x.shape[:2], (1, x.shape[1]))
        and (mask is None or (_plain(mask, torch.bool) and mask.shape == x.shape[:2]))
    )


def _plain(x: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether its numbers are in this computer's memory: it is of no other class than torch's two."""
    return type(x) in (Tensor, nn.Parameter) and x.is_cpu and x.dtype is dtype
