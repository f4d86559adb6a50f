"""Multi-head attention and the encoder block that SMILE uses throughout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.interfaces import Tokens
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.hook_checks import are_heard, listened_to
from neurozoo.nn.narrow_attention import features_first, features_last, few_scores, narrow_attention, narrow_is_faster
from neurozoo.nn.sequence import sinusoidal_code

__all__ = [
    "LAYER_NORM_EPS",
    "EncoderBlock",
    "MultiHeadAttention",
    "own_parameters",
    "record_attention",
]

LAYER_NORM_EPS = 1e-12
"""Of every layer norm in SMILE, dimensionless (as published)."""


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with H heads (Vaswani et al. 2017, section 3.2).

    Args:
        hidden: Features D of queries, keys and values.
        heads: Heads H; divides ``hidden``.
        dropout: Probability, on the attention weights.

    Attributes:
        plain: Whether narrow heads are computed as all others.
    """

    plain = False

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from ``query`` ``[B, Q, D]`` to ``key`` and ``value`` ``[B, S, D]``.

        Args:
            query: What asks.
            key: What is asked.
            value: What is answered.
            mask: ``[B, S]`` bool, the keys that count; None for all.

        Returns:
            ``[B, Q, D]``; 0 for a sample without any valid key.
        """
        attended: Tensor
        free = not (self.plain or listened_to(self))  # to compute it otherwise
        if free and key is value and self._few(query, key):
            attended = self.out(self._attend_by_few(query, key, mask))
        elif free and query is key is value and mask is None and self._small(query):
            attended = self.out(self._attend_to_itself(query))
        elif free and narrow_is_faster(query, self.heads):
            pairs = (query, self.query), (key, self.key), (value, self.value)
            q, k, v = (features_first(x, linear.weight, linear.bias) for x, linear in pairs)
            attended = features_last(self.weighted(q, k, v, mask, True), self.out.weight, self.out.bias)
        else:
            attended = self.out(self.weighted(self.query(query), self.key(key), self.value(value), mask, False))
        return attended if mask is None else attended * mask.any(1)[:, None, None]

    def _few(self, query: Tensor, source: Tensor) -> bool:
        """Whether the queries of all heads are no more than the features, and fewer than what is asked."""
        asking = query.shape[1]
        return self.heads * asking <= query.shape[2] and asking < source.shape[1]

    def _small(self, x: Tensor) -> bool:
        """Whether calling operations is what takes the time, and nothing is dropped or differentiated."""
        if self.training or torch.is_grad_enabled() or not few_scores(x.shape[0], self.heads, x.shape[1], x.shape[1]):
            return False
        # torch.vmap has no rule for torch's own attention.
        return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is None

    def _attend_to_itself(self, x: Tensor) -> Tensor:
        """As :meth:`weighted`, of a sequence as query, key and value, by one linear for the three."""
        linears = self.query, self.key, self.value
        weight, bias = torch.cat([each.weight for each in linears]), torch.cat([each.bias for each in linears])
        q, k, v = (self._split(each) for each in F.linear(x, weight, bias).chunk(3, -1))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def _attend_by_few(self, query: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """As :meth:`weighted`, without a linear on the long sequence.

        A score is ``q . (W x + b) = (W^T q) . x + q . b``: the keys' linear can be the queries'. Likewise a sum
        of values is the values' linear of the sum.
        """
        of_key, of_value = (each.weight.view(self.heads, -1, source.shape[2]) for each in (self.key, self.value))
        q = self._split(self.query(query)) / math.sqrt(query.shape[2] // self.heads)  # [B, H, Q, D/H]
        asking, asked = (q @ of_key).flatten(1, 2), source.transpose(1, 2)
        if torch.is_grad_enabled():
            offset = q @ self.key.bias.view(self.heads, -1, 1)
            scores = torch.baddbmm(offset.flatten(1, 2), asking, asked)  # [B, H Q, S]
        else:  # what is the same for all of a query's scores changes no weight
            scores = torch.bmm(asking, asked)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, :], torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, -1)
        dropped = self.dropout(weights)
        by_head = query.shape[0], self.heads, query.shape[1], -1
        found = torch.bmm(dropped, source).view(by_head) @ of_value.transpose(1, 2)  # [B, H, Q, D/H]
        bias = self.value.bias.view(self.heads, 1, -1)
        if dropped is not weights:  # they do not add up to 1 any more
            bias = dropped.sum(-1).view(by_head) * bias
        attended: Tensor = (found + bias).transpose(1, 2).flatten(2)
        return attended

    def weighted(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, narrow: bool) -> Tensor:
        """The same without the four linears; what it gives for a sample without any valid key is of no use.

        Where ``narrow``, features come first, ``[B, D, L]`` and not ``[B, L, D]``, in arguments and result.
        """
        if narrow:
            return narrow_attention(query, key, value, mask, self.heads, self.dropout.p if self.training else 0.0)
        q, k, v = self._split(query), self._split(key), self._split(value)
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)  # [B, H, Q, S]
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
        weights = self.dropout(torch.softmax(scores, dim=-1))
        attended: Tensor = (weights @ v).transpose(1, 2).flatten(2)  # [B, Q, D]
        return attended

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # [B, H, L, D/H]


@contextmanager
def record_attention(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect the weights ``[B, H, Q, S]`` of each attention, by dotted name, at every forward inside the block.

    They are those before dropout, detached; each query's add up to 1. A later forward replaces an earlier one's.
    """
    weights: dict[str, Tensor] = {}

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            weights[name] = inputs[0].detach()

        return hook

    # The dropout is given the weights and nothing else.
    handles = [
        each.dropout.register_forward_pre_hook(keep(name))
        for name, each in module.named_modules()
        if isinstance(each, MultiHeadAttention)
    ]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


class EncoderBlock(nn.Module):
    """SMILE's encoder block ``Enc(q, k, v)`` with ``k`` and ``v`` the same sequence, post-norm.

    The embedding ``Dropout(LayerNorm(2 x + PE))`` is applied to both sides with shared weights.
    The factor 2 is the published code's: its position module returns ``x + PE`` and the caller
    adds ``x`` again.

    Args:
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        dropout: Probability, on embeddings and on both sublayers' outputs.
        attention_dropout: Probability, on the attention weights.
    """

    def __init__(self, hidden: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.embedding_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.attention = MultiHeadAttention(hidden, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.inner = nn.Linear(hidden, 4 * hidden)
        self.outer = nn.Linear(4 * hidden, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tokens, source: Tokens) -> Tokens:
        """Refine ``query`` ``[B, Q, D]`` by attending to ``source`` ``[B, S, D]``.

        Returns:
            A sequence at the places of ``query``; rows its mask leaves out hold nothing of use.
        """
        asked = self._embed(source)
        embedded = asked if source is query else self._embed(query)
        # Queries, keys and values draw their dropout separately, as published.
        q = self.dropout(embedded)
        attended = self.attention(q, self.dropout(asked), self.dropout(asked), source.mask)
        x = self.attention_norm(self.dropout(attended) + q)
        inner = self.inner(x)
        # In place where nothing is to be differentiated: new memory is what a wide one costs.
        fed = self.outer(torch.relu(inner) if torch.is_grad_enabled() else torch.relu_(inner))
        return query.with_x(self.output_norm(self.dropout(fed) + x))

    def _embed(self, sequence: Tokens) -> Tensor:
        x = sequence.x
        code = sinusoidal_code(sequence.position, x.shape[1], x.shape[2], x.dtype)
        embedded: Tensor = self.embedding_norm(torch.add(code, x, alpha=2))
        return embedded


def own_parameters(block: EncoderBlock) -> list[Tensor] | None:
    """An encoder block's weights and biases, for who computes in its stead.

    Returns:
        Weight and bias of each: the norms of embedding, attention and output; query, key, value and output of the
        attention; inner and outer. None where the block would do more or else with them: a part is of another type or
        has a ``forward`` of its own, a norm another epsilon, some are in training alone, or someone listens.
    """
    # In plain loops, by what a module has in its dicts: whatever else takes longer than a small block.
    if type(block) is not EncoderBlock:
        return None
    parts: Mapping[str, Any] = block._modules
    attention = parts["attention"]
    if type(attention) is not MultiHeadAttention:
        return None
    inside: Mapping[str, Any] = attention._modules
    dropouts = parts["dropout"], inside["dropout"]
    norms = parts["embedding_norm"], parts["attention_norm"], parts["output_norm"]
    linears = inside["query"], inside["key"], inside["value"], inside["out"], parts["inner"], parts["outer"]
    for kind, group in ((Dropout, dropouts), (nn.LayerNorm, norms), (nn.Linear, linears)):
        for part in group:
            if type(part) is not kind:
                return None
    if are_heard((block, attention, *dropouts, *norms, *linears)):
        return None
    for module in (attention, *dropouts):
        if module.training is not block.training:
            return None
    for norm in norms:
        if norm.eps != LAYER_NORM_EPS:
            return None
    found: list[Tensor] = []
    for module in (*norms, *linears):
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        if weight is None or bias is None:
            return None
        found += weight, bias
    return found
