"""SMILE's arithmetic as its authors wrote it: the form that speed is measured against, and equality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.multimodal import Tokens
from neurozoo.core.neuron import State
from neurozoo.core.signals import Batch
from neurozoo.errors import UserError
from neurozoo.fusions.interactive import InteractiveFusion
from neurozoo.models.smile.model import SMILE
from neurozoo.nn.attention import MultiHeadAttention
from neurozoo.nn.sequence import concatenate, sinusoidal_code, zero_padding

__all__ = ["PlainSMILE"]


class PlainSMILE(nn.Module):
    """A SMILE model's forward, one operation after another, on that model's own parameters.

    Each of the 11 encoder blocks, each embedding of query, key and value, and q, k and v are computed one by one, a
    layer norm is written out, dropout is torch's, and both linears of a spiking branch are multiplied again at each of
    the T steps, with the neurons stepped in a loop. Projection, threshold, scaling and head are the model's own, so
    that it should be one of ``arithmetic: plain`` where speed is compared.

    Args:
        model: With the fusion ``interactive`` and LIF neurons; it is not changed.

    Raises:
        UserError: The model has other parts, of which there is no plain form.
    """

    def __init__(self, model: SMILE) -> None:
        super().__init__()
        if not isinstance(model.fusion, InteractiveFusion):
            raise UserError("the plain form of SMILE is written for the fusion 'interactive' only")
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """Outputs ``[B, K]``."""
        model = self.model
        projected = {m: model.projected(m, batch) for m in model.modalities}
        threshold = model.threshold({m: projected[m] for m in model.spiking})
        encoded = {m: _block(model.refine[m], p, p) for m, p in projected.items()}
        enhanced: dict[str, Tokens] = {}
        for m in model.spiking:
            rates = zero_padding(_rates(model.branches[m], projected[m].x, threshold), projected[m].mask)
            scaled = encoded[m].with_x(model.scaling[m](encoded[m], rates))
            enhanced[m] = encoded[m].with_x(encoded[m].x + _block(model.enhance[m], encoded[m], scaled).x)
        fused = _fuse(model.fusion, model.context, projected, encoded, enhanced)
        outputs: Tensor = model.head(fused)
        return outputs


def _fuse(
    fusion: Any,
    context: str | None,
    projected: Mapping[str, Tokens],
    encoded: Mapping[str, Tokens],
    enhanced: Mapping[str, Tokens],
) -> Tokens:
    mixed: dict[str, Tokens] = {}
    for name, each in enhanced.items():
        others = [other for key, other in enhanced.items() if key != name] or [each]
        mixed[name] = _block(fusion.mutual[name], each, concatenate(others))
    own = [encoded[name] for name in enhanced]
    if context is None:
        return concatenate([*mixed.values(), *own])
    p = projected[context]
    to_mixed = [_block(fusion.context_asks[name], p, x) for name, x in mixed.items()]
    to_context = [_block(fusion.asks_context[name], x, p) for name, x in mixed.items()]
    return concatenate([*to_mixed, *to_context, encoded[context], *own])


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    return norm.weight * ((x - mean) / torch.sqrt(variance + norm.eps)) + norm.bias


def _block(block: Any, query: Tokens, source: Tokens) -> Tokens:
    def embedded(sequence: Tokens) -> Tensor:
        code = sinusoidal_code(sequence.position, sequence.x.shape[1], sequence.x.shape[2], sequence.x.dtype)
        return dropped(_norm(block.embedding_norm, sequence.x + (sequence.x + code)))

    def dropped(x: Tensor) -> Tensor:
        return F.dropout(x, block.dropout.p, block.training)

    q, k, v = embedded(query), embedded(source), embedded(source)
    x = _norm(block.attention_norm, dropped(_attention(block.attention, q, k, v, source.mask)) + q)
    fed = block.outer(torch.relu(block.inner(x)))
    return query.with_x(_norm(block.output_norm, dropped(fed) + x))


def _attention(attention: MultiHeadAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    def heads(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], attention.heads, -1).permute(0, 2, 1, 3)

    q, k, v = heads(attention.query(q)), heads(attention.key(k)), heads(attention.value(v))
    scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min)
    weights = F.dropout(torch.softmax(scores, -1), attention.dropout.p, attention.training)
    out: Tensor = attention.out(torch.matmul(weights, v).permute(0, 2, 1, 3).contiguous().flatten(2))
    return out if mask is None else out * mask.any(1)[:, None, None]


def _rates(branch: Any, x: Tensor, threshold: Tensor) -> Tensor:
    """Spikes a step, each step computed from the input on."""
    states: list[State | None] = [None, None]
    total = torch.zeros_like(x)
    for _ in range(branch.time_steps):
        current = x
        for number, layer in enumerate((branch.first, branch.second)):
            spikes, states[number] = layer.run(layer.currents(current[None]), states[number], threshold)
            current = spikes[0]
        total = total + current
    rates: Tensor = total / branch.time_steps
    return rates
