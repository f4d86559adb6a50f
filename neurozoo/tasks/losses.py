"""Losses by task. To add one, write a function and name it in its task's table.

Each takes outputs ``[n, K]``, targets, the recipe's options and the reduction. It returns a 0-d mean or, unreduced,
``[n, K]``, or ``[n, 1]`` if there is one loss per answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from neurozoo.core.task import Reduction

__all__ = [
    "MULTICLASS",
    "MULTILABEL",
    "REGRESSION",
    "Loss",
    "MulticlassLoss",
    "MultilabelLoss",
    "Options",
    "RegressionLoss",
]


@dataclass(frozen=True)
class Options:
    """Loss options of a recipe; each loss uses some of them.

    Attributes:
        smoothing: Label smoothing, dimensionless.
        gamma: Exponent of the focal factor, dimensionless; 0 gives the cross-entropy.
        delta: Error at which Huber's loss changes from quadratic to linear, in the unit of the outputs.
        weights: ``[K]``, dimensionless: of a label's positives, or of a class; None for 1 each.
    """

    smoothing: float = 0.0
    gamma: float = 0.0
    delta: float = 1.0
    weights: Tensor | None = None

    def on(self, device: torch.device) -> Options:
        """Move the weights to a device; return self if they are there."""
        if self.weights is None or self.weights.device == device:
            return self
        return replace(self, weights=self.weights.to(device))


Loss = Callable[[Tensor, Tensor, Options, Reduction], Tensor]


def multilabel_cross_entropy(outputs: Tensor, target: Tensor, options: Options, reduction: Reduction) -> Tensor:
    """Binary cross-entropy of logits ``[n, K]`` against ``|y - smoothing|``, y 0 or 1, in nats; weighted."""
    targets = (target - options.smoothing).abs()
    if options.weights is None:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction=reduction)
    # Not reduction="mean": its gradient rounds differently, and recorded weighted trainings repeat to the bit.
    losses = F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=options.weights, reduction="none")
    return _reduced(losses, reduction)


def multilabel_focal(outputs: Tensor, target: Tensor, options: Options, reduction: Reduction) -> Tensor:
    """``(1 - p)^gamma`` times the cross-entropy, p the probability of the target's value, in nats.

    Equation 4 of Lin et al., Focal Loss for Dense Object Detection (2017). Arguments as for the cross-entropy, plus
    ``gamma``.
    """
    if not options.gamma:
        return multilabel_cross_entropy(outputs, target, options, reduction)
    losses = multilabel_cross_entropy(outputs, target, options, "none")
    losses = _focus(torch.sigmoid(torch.where(target > 0, -outputs, outputs)), options.gamma) * losses
    return _reduced(losses, reduction)


def multiclass_cross_entropy(outputs: Tensor, target: Tensor, options: Options, reduction: Reduction) -> Tensor:
    """Softmax cross-entropy in nats, each answer multiplied by the weight of its target's class.

    Smoothing s puts ``1 - s`` on the target's class and ``s / K`` on every class. Unlike torch, the mean divides by n
    and not by the sum of weights, so that gradients accumulated over batches equal those of one large batch. Outputs
    are logits ``[n, K]``, targets the classes ``[n]`` int64.
    """
    if options.weights is None and reduction == "mean":
        return F.cross_entropy(outputs, target, label_smoothing=options.smoothing)
    losses = F.cross_entropy(outputs, target, label_smoothing=options.smoothing, reduction="none")
    if options.weights is not None:
        losses = losses * options.weights[target]
    return _reduced(losses[:, None], reduction)


def multiclass_focal(outputs: Tensor, target: Tensor, options: Options, reduction: Reduction) -> Tensor:
    """``(1 - p)^gamma`` times the cross-entropy, p the probability of the target's class, in nats.

    Equation 4 of Lin et al. (2017) for a softmax. Arguments as for the cross-entropy, plus ``gamma``.
    """
    if not options.gamma:
        return multiclass_cross_entropy(outputs, target, options, reduction)
    losses = multiclass_cross_entropy(outputs, target, options, "none")
    sure = F.log_softmax(outputs, dim=1).gather(1, target[:, None])
    losses = _focus(-torch.expm1(sure), options.gamma) * losses
    return _reduced(losses, reduction)


def multiclass_squared(outputs: Tensor, target: Tensor, options: Options, reduction: Reduction) -> Tensor:
    """Squared error against 1 for the target's class and 0 for the others, each answer times its class's weight.

    Smoothing s makes the targets ``1 - s + s / K`` and ``s / K``. The mean is over answers and classes.

    Args:
        outputs: Rates or other numbers ``[n, K]``, dimensionless.
        target: ``[n]`` int64, the classes.
        options: ``smoothing``, ``weights``.
        reduction: As in torch.
    """
    k = outputs.shape[1]
    goals = F.one_hot(target, k).to(outputs.dtype) * (1 - options.smoothing) + options.smoothing / k
    losses = (outputs - goals).square()
    if options.weights is not None:
        losses = losses * options.weights[target][:, None]
    return _reduced(losses, reduction)


def huber(outputs: Tensor, target: Tensor, options: Options, reduction: Reduction) -> Tensor:
    """Half the squared error up to ``delta``, linear beyond, of ``[n, K]`` each, in the square of their unit.

    Huber, Robust Estimation of a Location Parameter (1964).
    """
    return F.huber_loss(outputs, target, reduction=reduction, delta=options.delta)


MultilabelLoss = Literal["cross-entropy", "focal"]
MULTILABEL: Mapping[MultilabelLoss, Loss] = {"cross-entropy": multilabel_cross_entropy, "focal": multilabel_focal}
"""Losses of multi-label tasks; ``cross-entropy`` is reported."""

MulticlassLoss = Literal["cross-entropy", "focal", "squared"]
MULTICLASS: Mapping[MulticlassLoss, Loss] = {
    "cross-entropy": multiclass_cross_entropy,
    "focal": multiclass_focal,
    "squared": multiclass_squared,
}
"""Losses of multi-class tasks; ``cross-entropy`` is reported of outputs that are logits, ``squared`` of rates."""

RegressionLoss = Literal["mse", "mae", "huber"]
REGRESSION: Mapping[RegressionLoss, Loss] = {
    "mse": lambda outputs, target, _options, reduction: F.mse_loss(outputs, target, reduction=reduction),
    "mae": lambda outputs, target, _options, reduction: F.l1_loss(outputs, target, reduction=reduction),
    "huber": huber,
}
"""Losses of regression on ``[n, K]`` each, in the unit of the outputs or its square; the chosen one is reported."""


def _focus(wrong: Tensor, gamma: float) -> Tensor:
    """Return ``wrong^gamma``."""
    # For gamma < 1 the slope at 0 is infinite, and times a zero loss the gradient would be NaN.
    return wrong.clamp(min=torch.finfo(wrong.dtype).tiny).pow(gamma)


def _reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    return losses.mean() if reduction == "mean" else losses
