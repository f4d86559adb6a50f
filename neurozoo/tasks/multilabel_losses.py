"""Losses of multi-label tasks as components, for ``training.losses`` of a recipe.

Each returns ``[n, K]`` in nats of logits ``[n, K]`` and targets ``[n, K]``, 0 or 1 or between. A training takes the
mean over answers; ``labels: sum`` multiplies by K, so that this is a sum over the labels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from neurozoo.core.loss import Loss

__all__ = ["Asymmetric", "BinaryCrossEntropy", "Focal"]

OverLabels = Literal["mean", "sum"]
Exponent = Annotated[float, Field(ge=0, le=100)]
Least = Annotated[float, Field(gt=0, lt=0.1)]


class _OfLabels(Loss):
    tasks = ("multilabel",)

    def __init__(self, labels: OverLabels) -> None:
        self._sum = labels == "sum"

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        losses = self.each(outputs, target)
        return losses * outputs.shape[1] if self._sum else losses

    def each(self, outputs: Tensor, target: Tensor) -> Tensor:
        raise NotImplementedError


class BinaryCrossEntropy(_OfLabels):
    """``-y ln p - (1 - y) ln(1 - p)``, p the sigmoid of the logit.

    Args:
        smoothing: ``s`` of the targets ``|y - s|``, dimensionless.
        labels: ``mean``, or ``sum`` over the labels.
    """

    def __init__(self, *, smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0, labels: OverLabels = "mean") -> None:
        super().__init__(labels)
        self._smoothing = smoothing

    def each(self, outputs: Tensor, target: Tensor) -> Tensor:
        goals = (target - self._smoothing).abs()
        return F.binary_cross_entropy_with_logits(outputs, goals.to(outputs.dtype), reduction="none")


class Focal(_OfLabels):
    """The cross-entropy times ``|y - p|^gamma``, which gives easy answers less weight (Lin et al. 2017).

    Args:
        gamma: Exponent, dimensionless; 0 gives the cross-entropy.
        alpha: Weight of positive labels; others weigh ``1 - alpha``. None for 1 each. A label above 0 is positive.
        eps: Least probability whose logarithm is taken, beyond which there is no gradient; None for no such limit.
        labels: ``mean``, or ``sum`` over the labels. TAILOR's code has alpha 0.25, eps 1e-8 and the sum.
    """

    def __init__(
        self,
        *,
        gamma: Exponent = 2.0,
        alpha: Annotated[float, Field(ge=0, le=1)] | None = None,
        eps: Least | None = None,
        labels: OverLabels = "mean",
    ) -> None:
        super().__init__(labels)
        self._gamma, self._alpha, self._eps = gamma, alpha, eps

    def each(self, outputs: Tensor, target: Tensor) -> Tensor:
        positive, p = target > 0, torch.sigmoid(outputs)
        wrong = torch.where(positive, (target - p).abs(), p)
        if self._eps is None:
            log = F.logsigmoid(torch.where(positive, outputs, -outputs))
        else:  # with 1 - p as it rounds, as the published code
            log = torch.where(positive, p, 1 - p).clamp(min=self._eps).log()
        losses = -log * _power(wrong, self._gamma)
        if self._alpha is None:
            return losses
        return losses * torch.where(positive, self._alpha, 1 - self._alpha)


class Asymmetric(_OfLabels):
    """Asymmetric loss: negatives lose weight faster than positives, and easy negatives count nothing.

    ``-w (y ln p + (1 - y) ln q)`` with ``q = min(1 - p + m, 1)`` and ``w = (1 - p y - q (1 - y))^(gp y + gn (1 - y))``;
    both logarithms are of at least ``eps`` (Ridnik et al. 2021).

    Args:
        negative: Exponent ``gn`` of negatives, dimensionless.
        positive: Exponent ``gp`` of positives, dimensionless.
        margin: ``m``, which is added to the probability of a negative.
        through_weight: Whether the gradient goes through w. The authors' trainings stop it there.
        eps: Least probability whose logarithm is taken.
        labels: ``mean``, or ``sum`` over the labels.
    """

    def __init__(
        self,
        *,
        negative: Exponent = 4.0,
        positive: Exponent = 1.0,
        margin: Annotated[float, Field(ge=0, lt=1)] = 0.05,
        through_weight: bool = False,
        eps: Least = 1e-8,
        labels: OverLabels = "mean",
    ) -> None:
        super().__init__(labels)
        self._exponents, self._margin, self._eps = (positive, negative), margin, eps
        self._through = through_weight

    def each(self, outputs: Tensor, target: Tensor) -> Tensor:
        y, p = target.to(outputs.dtype), torch.sigmoid(outputs)
        q = (1 - p + self._margin).clamp(max=1)
        losses = -(y * p.clamp(min=self._eps).log() + (1 - y) * q.clamp(min=self._eps).log())
        positive, negative = self._exponents
        wrong = 1 - p * y - q * (1 - y)
        weight = _power(wrong if self._through else wrong.detach(), positive * y + negative * (1 - y))
        return losses * weight


def _power(base: Tensor, exponent: float | Tensor) -> Tensor:
    """Return ``base^exponent`` of a base between 0 and 1."""
    # For exponents below 1 the slope at 0 is infinite, and times a zero loss the gradient would be NaN.
    return base.clamp(min=torch.finfo(base.dtype).tiny).pow(exponent)
