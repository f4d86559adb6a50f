"""What the calls of layers with weights, and of attention, multiply or accumulate: pairs of which neither is 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.nn.attention import SpikingAttention
from neurozoo.nn.delays import DelayedLinear
from neurozoo.nn.fan_out import Synaptic, pairs
from neurozoo.operations.result import Fed

__all__ = [
    "MOST_ACCUMULATIONS", "attention_products", "dense_operations", "fed_with", "least_of",
    "spiking_attention_products", "synaptic_products",
]  # fmt: skip

MOST_ACCUMULATIONS = 5
"""A whole number up to it counts as that many accumulations, a larger one as a multiplication, which is then cheaper:
5 x 0.9 pJ is less than 4.6 pJ (see ``neurozoo.operations.energy``)."""
_LARGEST = 255
"""Largest whole number, of 8 bits; a float that is larger is taken for a real number."""
_KINDS: tuple[Fed, ...] = ("bits", "whole", "real")


def fed_with(x: Tensor) -> Fed:
    """Return what an input is: ``bits`` (0, 1 and -1), ``whole`` numbers up to 255, or ``real`` numbers."""
    size = x.abs()
    if bool(((size == 0) | (size == 1)).all()):
        return "bits"
    return "whole" if bool(((size == size.round()) & (size <= _LARGEST)).all()) else "real"


def least_of(one: Fed | None, other: Fed) -> Fed:
    """Return what the inputs of two calls are together."""
    return other if one is None else max(one, other, key=_KINDS.index)


def synaptic_products(layer: Synaptic, x: Tensor, weight: Tensor) -> dict[str, Any]:
    """Return what a call of a layer of weights takes, by the names of ``LayerOperations``.

    Args:
        layer: The layer.
        x: Its input.
        weight: Its weights as they are used.
    """
    fed, used = fed_with(x), weight != 0
    found: dict[str, Any] = {"macs": 0, "acs": 0, "zeros": (x == 0).sum(), "elements": x.numel()}
    if fed == "whole":
        size = x.abs()
        few = size <= MOST_ACCUMULATIONS
        found["acs"] = _pairs(layer, torch.where(few, size, 0), used)
        found["repeated"] = found["acs"] - _pairs(layer, few & (size > 0), used)
        found["macs"] = _pairs(layer, ~few, used)
    else:
        found["acs" if fed == "bits" else "macs"] = _pairs(layer, x != 0, used)
    return found | {"fed": fed}


def dense_operations(layer: Synaptic, x: Tensor) -> int:
    """Return what a call on ``x`` takes if nothing is skipped; a convolution's border of padding is no input.

    A synapse with a delay takes one operation for each input that reaches a step of the output.
    """
    if isinstance(layer, nn.Linear):
        return x.numel() // layer.in_features * layer.weight.numel()
    if isinstance(layer, DelayedLinear):
        return int(_pairs(layer, torch.ones_like(x), torch.ones_like(layer.weight)))
    # Only how many inputs lie under each place of the kernel matters, so that one of a batch tells of all.
    batched = x.dim() == layer.weight.dim()
    one = x[:1] if batched else x
    return int(_pairs(layer, torch.ones_like(one), torch.ones_like(layer.weight))) * (len(x) if batched else 1)


def attention_products(query: Tensor, key: Tensor, mask: Tensor | None) -> dict[str, Any]:
    """Count queries with keys, and weights with values: each takes a product for every query, key and feature."""
    batch, queries, width = query.shape
    valid = batch * key.shape[1] if mask is None else mask.sum()
    return {"dense": 2 * batch * queries * key.shape[1] * width, "macs": 2 * queries * width * valid, "fed": "real"}


def spiking_attention_products(layer: SpikingAttention, *inputs: Tensor) -> dict[str, Any]:
    """Count keys with values, and queries with these products: accumulations where keys, or queries, are bits."""
    q, k, v = (layer.split(each) for each in inputs)
    products = k.transpose(-2, -1) @ v
    counts: dict[str, Any] = {"dense": 2 * q.numel() * q.shape[-1], "macs": 0, "acs": 0, "fed": "bits"}
    for left, right in ((k.transpose(-2, -1), v), (q, products)):
        effective, fed = ((left != 0).sum(-2) * (right != 0).sum(-1)).sum(), fed_with(left)
        what = "acs" if fed == "bits" else "macs"
        counts[what] = counts[what] + effective
        counts["fed"] = least_of(counts["fed"], fed)
    return counts


def _pairs(layer: Synaptic, amount: Tensor, weight: Tensor) -> Tensor:
    """Return the pairs of inputs and weights as a 0-d int64 on the device of ``amount``, see :func:`pairs`.

    Args:
        layer: The layer.
        amount: Whole numbers in the shape of its input.
        weight: Zeros and ones in the shape of its weights.
    """
    return pairs(layer, amount, weight).round().long().to(amount.device)
