"""Encoder blocks that do not wait for one another, computed as one.

SMILE has 11 of them, in four rounds. Blocks of a round that are alike in shape have their inputs and weights stacked
along a new first axis G, so that each operation is called once a round and not once a block: for small batches calling
is what costs. The parameters stay where they are, and keep their names and gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.interfaces import Encoder, Tokens
from neurozoo.nn.attention import LAYER_NORM_EPS, EncoderBlock, MultiHeadAttention, own_parameters
from neurozoo.nn.narrow_attention import features_first, features_last, narrow_is_faster
from neurozoo.nn.sequence import sinusoidal_code

__all__ = ["TorchEncoder", "blocks_of", "encode_together"]

LARGEST = 2**16
"""Elements of a block's query above which it is not stacked: copying then costs more than calling."""


def blocks_of(modules: nn.ModuleDict, names: Iterable[str]) -> list[EncoderBlock]:
    """Encoder blocks by their names."""
    return [cast(EncoderBlock, modules[name]) for name in names]


def encode_together(
    blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
) -> list[Tokens]:
    """What each block makes of its query and source, up to rounding; see :class:`~neurozoo.nn.attention.EncoderBlock`.

    Dropout falls on other elements than if the blocks were called one after another.

    Args:
        blocks: None that needs another one's result.
        queries: One a block.
        sources: One a block.
    """
    groups: dict[Any, list[int]] = {}
    for place, each in enumerate(zip(blocks, queries, sources, strict=True)):
        groups.setdefault(_alike(place, *each), []).append(place)
    found: dict[int, Tokens] = {}
    for places in groups.values():
        chosen = [blocks[place] for place in places]
        asking, asked = [queries[place] for place in places], [sources[place] for place in places]
        found.update(zip(places, _encoded(chosen, asking, asked), strict=True))
    return [found[place] for place in range(len(blocks))]


class TorchEncoder(Encoder):
    """By :func:`encode_together`: on every device, forward and backward.

    Args:
        layout: The model's layout, not used.
    """

    def encode(
        self, blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
    ) -> list[Tokens]:
        return encode_together(blocks, queries, sources)


def _alike(place: int, block: EncoderBlock, query: Tokens, source: Tokens) -> Any:
    """Blocks with the same key can be stacked; one that is large, to be plain, or more than its parameters, has its
    own."""
    attention = block.attention
    if query.x.numel() > LARGEST or own_parameters(block) is None or attention.plain:
        return place
    masked = source.mask is None, query.position.shape[0], source.position.shape[0]
    probabilities = block.dropout.p, attention.dropout.p, block.training
    return (
        query.x.shape, source.x.shape, source is query, masked, attention.heads, probabilities, block.inner.out_features
    )  # fmt: skip


def _encoded(blocks: list[EncoderBlock], queries: list[Tokens], sources: list[Tokens]) -> list[Tokens]:
    if len(blocks) == 1:
        return [blocks[0](queries[0], sources[0])]
    first, weights = blocks[0], _Stacked(blocks)
    asked = weights.embedded(sources)
    embedded = asked if sources[0] is queries[0] else weights.embedded(queries)
    q = first.dropout(embedded)
    masks = [each.mask for each in sources if each.mask is not None]
    mask = torch.cat(masks) if masks else None
    attended = weights.attended(first.attention, (q, first.dropout(asked), first.dropout(asked)), mask)
    if mask is not None:
        attended = attended * mask.any(1).view(*q.shape[:2], 1, 1)
    x = weights.normed(first.dropout(attended) + q, 1)
    x = weights.normed(first.dropout(weights.fed(x)) + x, 2)
    return [query.with_x(each) for query, each in zip(queries, x.unbind(), strict=True)]


class _Stacked:
    """The weights of G blocks, and their operations on ``[G, B, L, D]``."""

    def __init__(self, blocks: Sequence[EncoderBlock]) -> None:
        self._hidden = hidden = blocks[0].inner.in_features
        # In as few tensors as can be: to be called, stacking takes longer than to copy.
        rows: list[Tensor] = []
        numbers: list[Tensor] = []
        for block in blocks:
            attention = block.attention
            linears = (attention.query, attention.key, attention.value, attention.out, block.inner)
            norms = (block.embedding_norm, block.attention_norm, block.output_norm)
            rows += [linear.weight for linear in linears]
            numbers += [x for norm in norms for x in (norm.weight, norm.bias)]
            numbers += [linear.bias for linear in (*linears, block.outer)]
        self._rows = torch.cat(rows).view(len(blocks), -1, hidden)  # [G, 8 D, D]
        # Weight and bias of three norms, then the linears' biases: D of each, and 4 D of the inner one's.
        self._numbers = torch.cat(numbers).view(len(blocks), 1, -1)  # [G, 1, 15 D]
        self._outer = torch.stack([block.outer.weight for block in blocks])

    def embedded(self, sequences: list[Tokens]) -> Tensor:
        """``LayerNorm(2 x + PE)`` of each."""
        x = torch.stack([each.x for each in sequences])
        position = torch.stack([each.position for each in sequences])
        return self.normed(torch.add(sinusoidal_code(position, x.shape[2], x.shape[3], x.dtype), x, alpha=2), 0)

    def normed(self, x: Tensor, which: int) -> Tensor:
        """The layer norm of the embedding, the attention or the output."""
        weight, bias = (self._number(2 * which + place, 1)[:, None] for place in (0, 1))
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS), weight)

    def attended(self, attention: MultiHeadAttention, inputs: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """Of query, key and value, all four linears included; neighbours that are the same are multiplied at once."""
        narrow, (groups, batch, _, hidden) = narrow_is_faster(inputs[0], attention.heads), inputs[0].shape
        made: list[Tensor] = []
        while len(made) < 3:
            first = len(made)
            same = [x is inputs[first] for x in (*inputs[first:], None)].index(False)
            weight, bias = self._linear(first, same)
            if narrow:
                x = inputs[first].flatten(0, 1)
                made += features_first(x, _each(weight, batch), _each(bias[:, 0], batch)).chunk(same, 1)
            else:
                made += _apply(weight, bias, inputs[first]).flatten(0, 1).chunk(same, 2)
        query, key, value = made
        heads = attention.weighted(query, key, value, mask, narrow)
        weight, bias = self._linear(3, 1)
        if narrow:
            return features_last(heads, _each(weight, batch), _each(bias[:, 0], batch)).view(groups, batch, -1, hidden)
        return _apply(weight, bias, heads.view(groups, batch, -1, hidden))

    def fed(self, x: Tensor) -> Tensor:
        """The feed-forward of two linears."""
        return _apply(self._outer, self._number(14, 1), torch.relu(_apply(*self._linear(4, 4), x)))

    def _linear(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of so many parts as wide as D: query, key, value, output, and four of the inner one."""
        return self._rows[:, first * self._hidden : (first + count) * self._hidden], self._number(6 + first, count)

    def _number(self, first: int, count: int) -> Tensor:
        return self._numbers[..., first * self._hidden : (first + count) * self._hidden]


def _each(of_group: Tensor, batch: int) -> Tensor:
    """What a group has, for each of its samples: ``[G, ...]`` as ``[G B, ...]``."""
    return of_group if batch == 1 else of_group.repeat_interleave(batch, 0)


def _apply(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """A linear of ``[G, B, L, D]``, by weights ``[G, D', D]`` and biases ``[G, 1, D']``."""
    return torch.baddbmm(bias, x.flatten(1, 2), weight.transpose(1, 2)).view(*x.shape[:3], weight.shape[1])
