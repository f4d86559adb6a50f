"""What training minimises: smoothed binary cross-entropy, and a penalty on silence and frenzy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from neurozoo.recipe.schema import TrainingSection

__all__ = ["Objective", "classification_loss", "rate_penalty"]


def classification_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean binary cross-entropy against ``|y - smoothing|``, in nats (0-d).

    Args:
        logits: ``[B, K]``.
        labels: ``[B, K]`` of 0 and 1.
        smoothing: How far the targets are from 0 and 1, dimensionless.
    """
    return F.binary_cross_entropy_with_logits(logits, (labels - smoothing).abs())


class Objective:
    """What training minimises for the labels, as the recipe says; see ``neurozoo.recipe.schema.Loss``.

    Args:
        training: The recipe's section.
        labels: ``[N, K]`` of the training split, for balanced weights; where there are none, all weigh 1.
        device: Where the losses are computed.
    """

    def __init__(
        self, training: TrainingSection, labels: Tensor | None = None, device: torch.device | None = None
    ) -> None:
        self._smoothing = training.label_smoothing
        self._gamma = training.loss.gamma if training.loss.name == "focal" else 0.0
        self._weights: Tensor | None = None
        if training.loss.weights == "balanced" and labels is not None:
            present = labels.sum(0)
            # A label that no sample has, or each, has nothing to be balanced.
            some = (present > 0) & (present < len(labels))
            weights = torch.where(some, (len(labels) - present) / present.clamp(min=1), 1.0)
            self._weights = weights.to(device)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, ``[B, K]`` each, in nats (0-d)."""
        if not self._gamma and self._weights is None:
            return classification_loss(logits, labels, self._smoothing)
        targets = (labels - self._smoothing).abs()
        losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=self._weights, reduction="none")
        if self._gamma:
            wrong = torch.sigmoid(torch.where(labels > 0, -logits, logits))
            losses = wrong.pow(self._gamma) * losses
        return losses.mean()


def rate_penalty(rates: Iterable[Tensor], low: float, high: float) -> Tensor | float:
    """``sum over neurons of relu(low - r)^2 + relu(r - high)^2``, dimensionless.

    Args:
        rates: Of each spiking layer the firing rates ``[N]``, in spikes a step.
        low: Rate below which a neuron is pushed up, in spikes a step.
        high: Rate above which it is pushed down.
    """
    penalty: Tensor | float = 0.0
    for each in rates:
        penalty = penalty + (torch.relu(low - each).square() + torch.relu(each - high).square()).sum()
    return penalty
