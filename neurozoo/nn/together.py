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

from neurozoo.interfaces import Tokens
from neurozoo.nn.attention import LAYER_NORM_EPS, EncoderBlock
from neurozoo.nn.sequence import sinusoidal_code

__all__ = ["blocks_of", "encode_together"]

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


def _alike(place: int, block: EncoderBlock, query: Tokens, source: Tokens) -> Any:
    """Blocks with the same key can be stacked; one that is large, listened to, or to be plain, has its own."""
    attention = block.attention
    if (
        attention.plain
        or query.x.numel() > LARGEST
        or any(module._forward_hooks or module._forward_pre_hooks for module in block.modules())
    ):
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
    if first.training and first.dropout.p > 0:
        q = first.dropout(embedded)
        query, key, value = weights.apart(q, first.dropout(asked), first.dropout(asked))
    else:
        q = embedded
        query, key, value = weights.at_once(embedded, asked)
    masks = [each.mask for each in sources if each.mask is not None]
    mask = torch.cat(masks) if masks else None
    heads = first.attention.attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask)
    attended = weights.out(heads.view_as(q))
    if mask is not None:
        attended = attended * mask.any(1).view(*q.shape[:2], 1, 1)
    x = weights.normed(first.dropout(attended) + q, 1)
    x = weights.normed(first.dropout(weights.fed(x)) + x, 2)
    return [query.with_x(each) for query, each in zip(queries, x.unbind(), strict=True)]


class _Stacked:
    """The weights of G blocks, and their operations on ``[G, B, L, D]``."""

    def __init__(self, blocks: Sequence[EncoderBlock]) -> None:
        groups, hidden = len(blocks), blocks[0].inner.in_features
        norms = [norm for name in ("embedding_norm", "attention_norm", "output_norm") for norm in _of(blocks, name)]
        self._norms = torch.stack([x for norm in norms for x in (norm.weight, norm.bias)])
        self._norms = self._norms.view(3, groups, 2, 1, 1, hidden)
        attentions = [block.attention for block in blocks]
        square = [linear for name in ("query", "key", "value", "out") for linear in _of(attentions, name)]
        self._square = torch.stack([x.weight for x in square]).view(4, groups, hidden, hidden).transpose(2, 3)
        self._square_bias = torch.stack([x.bias for x in square]).view(4, groups, 1, hidden)
        self._inner, self._outer = _linear(_of(blocks, "inner")), _linear(_of(blocks, "outer"))

    def embedded(self, sequences: list[Tokens]) -> Tensor:
        """``LayerNorm(2 x + PE)`` of each."""
        x = torch.stack([each.x for each in sequences])
        position = torch.stack([each.position for each in sequences])
        return self.normed(2 * x + sinusoidal_code(position, x.shape[2], x.shape[3], x.dtype), 0)

    def normed(self, x: Tensor, which: int) -> Tensor:
        """The layer norm of the embedding, the attention or the output."""
        weight, bias = self._norms[which].unbind(1)
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS), weight)

    def apart(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value, each of an input of its own."""
        pairs = zip(self._square.unbind(), self._square_bias.unbind(), (query, key, value), strict=False)
        return tuple(_apply(weight, bias, x) for weight, bias, x in pairs)

    def at_once(self, query: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value where key and value have the same input, and the query perhaps as well."""
        if query is source:
            return self._side_by_side(source, 0)
        return (_apply(self._square[0], self._square_bias[0], query), *self._side_by_side(source, 1))

    def _side_by_side(self, x: Tensor, first: int) -> tuple[Tensor, ...]:
        weight = torch.cat(self._square[first:3].unbind(), 2)
        bias = torch.cat(self._square_bias[first:3].unbind(), 2)
        return _apply(weight, bias, x).chunk(3 - first, -1)

    def out(self, x: Tensor) -> Tensor:
        """The attention's last linear."""
        return _apply(self._square[3], self._square_bias[3], x)

    def fed(self, x: Tensor) -> Tensor:
        """The feed-forward of two linears."""
        return _apply(*self._outer, torch.relu(_apply(*self._inner, x)))


def _of(modules: Sequence[nn.Module], name: str) -> list[Any]:
    return [getattr(module, name) for module in modules]


def _linear(linears: Sequence[nn.Linear]) -> tuple[Tensor, Tensor]:
    """Weights ``[G, D, D']`` and biases ``[G, 1, D']``."""
    return torch.stack([x.weight for x in linears]).transpose(1, 2), torch.stack([x.bias for x in linears])[:, None]


def _apply(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return torch.baddbmm(bias, x.flatten(1, 2), weight).view(*x.shape[:3], weight.shape[2])
