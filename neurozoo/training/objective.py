"""What training minimises: smoothed binary cross-entropy, and a penalty on silence and frenzy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from neurozoo.training.health import neuron_rates

__all__ = ["classification_loss", "rate_penalty"]


def classification_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean binary cross-entropy against ``|y - smoothing|``, in nats (0-d).

    Args:
        logits: ``[B, K]``.
        labels: ``[B, K]`` of 0 and 1.
        smoothing: How far the targets are from 0 and 1, dimensionless.
    """
    return F.binary_cross_entropy_with_logits(logits, (labels - smoothing).abs())


def rate_penalty(
    spikes: Mapping[str, Tensor], masks: Mapping[str, Tensor | None], low: float, high: float
) -> Tensor | float:
    """``sum over neurons of relu(low - r)^2 + relu(r - high)^2``, dimensionless.

    Args:
        spikes: By spiking layer, ``[T, B, L, N]``.
        masks: By spiking layer, ``[B, L]`` bool or None for all.
        low: Rate below which a neuron is pushed up, in spikes a step.
        high: Rate above which it is pushed down.
    """
    penalty: Tensor | float = 0.0
    for name, train in spikes.items():
        rates = neuron_rates(train, masks[name])
        penalty = penalty + (torch.relu(low - rates).square() + torch.relu(rates - high).square()).sum()
    return penalty
