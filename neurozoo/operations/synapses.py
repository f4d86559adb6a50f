"""Synaptic operations of one call of a layer, as NeuroBench defines them.

Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and systems" (Nature
Communications 2025), section "Synaptic operations"; in the library neurobench/metrics/workload/synaptic_operations.py
and neurobench/metrics/utils/layers/. Dense operations are all multiplications with accumulation; effective ones those
where neither the input nor the weight is 0. Biases are not counted. All counts here are whole numbers, exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SYNAPTIC", "Convolution", "are_spikes", "dense_operations", "effective_operations"]

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
SYNAPTIC = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose operations are counted, those that NeuroBench counts and that keep no state."""


def are_spikes(x: Tensor) -> Tensor:
    """Whether an input has 0, 1 and -1 alone, 0-d bool: then nothing needs to be multiplied."""
    return ((x == 0) | (x.abs() == 1)).all()


def dense_operations(layer: nn.Linear | Convolution, x: Tensor) -> int:
    """What a call on ``x`` takes if nothing is skipped; a convolution's border of padding is no input."""
    if isinstance(layer, nn.Linear):
        return x.numel() // layer.in_features * layer.weight.numel()
    # Only how many inputs lie under each place of the kernel matters, so that one of a batch tells of all.
    batched = x.dim() == layer.weight.dim()
    one = x[:1] if batched else x
    return int(_reached(layer, torch.ones_like(one), torch.ones_like(layer.weight))) * (len(x) if batched else 1)


def effective_operations(layer: nn.Linear | Convolution, x: Tensor) -> Tensor:
    """Of those the ones where neither the input nor the weight is 0, 0-d int64 on the device of ``x``."""
    if isinstance(layer, nn.Linear):
        used = (x != 0).reshape(-1, layer.in_features).sum(0)
        return (used * (layer.weight != 0).sum(0)).sum()
    return _reached(layer, x != 0, layer.weight != 0)


def _reached(layer: Convolution, x: Tensor, weight: Tensor) -> Tensor:
    """Pairs of an input and a weight that both are not 0, 0-d int64."""
    # Sums of ones, in float64 exact up to 2^53, which is beyond any batch. MPS has none, so that is done on the CPU.
    where = torch.device("cpu") if x.device.type == "mps" else x.device
    pairs: Tensor = layer._conv_forward(x.to(where, torch.float64), weight.to(where, torch.float64), None)
    return pairs.round().sum().long().to(x.device)
