"""Multi-class: exactly one of K classes applies, such as a digit or a gesture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from neurozoo.core.task import Decision, Metric, Reduction, Task
from neurozoo.errors import UserError
from neurozoo.tasks.losses import MULTICLASS, MulticlassLoss, Options

__all__ = ["BINS", "METRICS", "Multiclass", "calibration_bins", "confusion", "top"]

NotNegative = Annotated[float, Field(ge=0, le=1e30)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
Smoothing = Annotated[float, Field(ge=0, lt=1)]

BINS = 15
"""Number of equal-width bins of the calibration error, as in Guo et al. (2017)."""


def accuracy(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    return float((predicted.argmax(1) == target).mean())


def balanced_accuracy(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    counts = confusion(target, predicted)
    present = counts.sum(1)
    there = present > 0
    return float((counts.diagonal()[there] / present[there]).mean())


def macro_f1(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    counts = confusion(target, predicted)
    either = counts.sum(0) + counts.sum(1)
    there = either > 0
    return float((2 * counts.diagonal()[there] / either[there]).mean())


def calibration_error(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    share, said, right = calibration_bins(target, predicted)
    return float((share * np.abs(right - said)).sum())


def among_the_first(target: NDArray[Any], predicted: NDArray[Any], decision: Decision, *, k: int) -> float:
    own = np.take_along_axis(predicted, target[:, None], axis=1)
    before = np.arange(predicted.shape[1]) < target[:, None]
    rank = (predicted > own).sum(1) + ((predicted == own) & before).sum(1)
    return float((rank < k).mean())


def top(k: int) -> Metric:
    """Return the metric ``top_k``; among equal probabilities the first classes rank first, as in :meth:`decide`."""
    return Metric(
        f"top_{k}",
        f"share of samples, or steps, whose class is among the {k} most probable; 1 for {k} classes or fewer",
        "higher",
        partial(among_the_first, k=k),  # and no local function, which could not be pickled with a model
    )


METRICS = (
    Metric("accuracy", "share of samples, or steps, whose most probable class is right", "higher", accuracy),
    Metric(
        "balanced_accuracy",
        "mean recall of the classes that occur as target",
        "higher",
        balanced_accuracy,
    ),
    Metric(
        "macro_f1",
        "mean F1 of the classes that occur as target or prediction",
        "higher",
        macro_f1,
        title="macro F1",
    ),
    Metric(
        "calibration_error",
        f"expected calibration error: mean over answers of |accuracy - mean probability| of the most probable class in "
        f"{BINS} equal-width bins (Guo et al. 2017, equation 3)",
        "lower",
        calibration_error,
    ),
)
"""All between 0 and 1. The task inserts ``top_k``, which depends on its parameter."""


class Multiclass(Task):
    """Predict one of K classes. The target is its index, from 0 to K - 1.

    Args:
        outputs: Names of the classes.
        per_step: Whether the model answers at each step.
        loss: ``cross-entropy``; ``focal`` (Lin et al. 2017, equation 4), which gives easy answers less weight; or
            ``squared``, the squared error against 1 for the right class and 0 for the others, for outputs that are
            rates. With the first two, outputs are logits, and the cross-entropy is reported; with ``squared``,
            outputs divided by their sum are the probabilities, and the squared error is reported.
        gamma: Exponent of ``focal``, dimensionless; 0 gives the cross-entropy.
        weights: ``none``; ``balanced``: n / (C n_c) for the n_c of n training answers of a class, C the number of
            classes that occur, so that the mean weight is 1; or one number per class. Dimensionless.
        label_smoothing: Share of the target spread over all classes, dimensionless.
        top_k: The k of the top-k accuracy, which is named after it, such as ``top_5``.

    Raises:
        UserError: The number of ``weights`` is not K.
    """

    name = "multiclass"
    target_dtype = torch.int64
    target_shape = ()
    noun = "class"
    kinds = "iu"
    takes = "a class is a whole number"
    headline = ("accuracy", "macro_f1")
    selection = "accuracy"
    baseline_name = "multinomial logistic regression"
    section = "neurozoo.reporting.classes:section"

    def __init__(
        self,
        outputs: Sequence[str],
        per_step: bool = False,
        *,
        loss: MulticlassLoss = "cross-entropy",
        gamma: NotNegative = 2.0,
        weights: Literal["none", "balanced"] | tuple[Positive, ...] = "none",
        label_smoothing: Smoothing = 0.0,
        top_k: Annotated[int, Field(ge=2)] = 5,
    ) -> None:
        super().__init__(outputs, per_step)
        k = len(self.outputs)
        self.takes = f"a class is a whole number from 0 to {k - 1}"
        self.metrics = (METRICS[0], top(top_k), *METRICS[1:])
        self._objective, self._balanced = MULTICLASS[loss], weights == "balanced"
        self._of_rates = loss == "squared"
        self.loss_unit = "rates^2" if self._of_rates else "nats"
        self._options = Options(label_smoothing, gamma)
        if not isinstance(weights, str):
            if len(weights) != k:
                raise UserError(
                    f"the task's weights are {len(weights)} numbers for {k} classes; give one for each class"
                )
            self._options = replace(self._options, weights=torch.tensor(weights, dtype=torch.float32))

    def wrong(self, target: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark indices outside 0 to K - 1."""
        return (target < 0) | (target >= len(self.outputs))

    def made_up(self, *lead: int, generator: torch.Generator) -> Tensor:
        """Draw classes with equal probability."""
        return torch.randint(0, len(self.outputs), lead, generator=generator)

    def prepare(self, target: Tensor) -> None:
        """Compute balanced weights if the recipe asks for them; a class that does not occur keeps the weight 1."""
        if not self._balanced:
            return
        present = torch.bincount(target, minlength=len(self.outputs))
        occur = present > 0
        weights = torch.where(occur, len(target) / (occur.sum() * present.clamp(min=1)), 1.0)
        self._options = replace(self._options, weights=weights)

    def objective(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the recipe's loss in :attr:`loss_unit`."""
        self._options = self._options.on(outputs.device)
        return self._objective(outputs, target, self._options, reduction)

    def plain(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the cross-entropy in nats, or the squared error of rates, smoothed as in training."""
        plain = MULTICLASS["squared" if self._of_rates else "cross-entropy"]
        return plain(outputs, target, Options(self._options.smoothing), reduction)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return probabilities: a softmax of logits; rates divided by their sum, equal ones if that is 0.

        If an output is negative, as a linear readout's may be, the lowest is subtracted first. The order of the
        classes is that of the outputs in each case.
        """
        if not self._of_rates:
            return torch.softmax(outputs, dim=-1)
        rates = outputs - outputs.amin(-1, keepdim=True).clamp(max=0)
        total = rates.sum(-1, keepdim=True)
        return torch.where(total > 0, rates / total, 1 / len(self.outputs))

    def decide(self, predicted: NDArray[Any], decision: Decision) -> NDArray[Any]:
        """Return the most probable class, ``[n]``; the first among equals."""
        classes: NDArray[np.int64] = predicted.argmax(1)
        return classes

    def answer_of_one(self, predicted: NDArray[Any], decision: Decision) -> dict[str, Any]:
        """Return ``probabilities`` by class, and the most probable ``class``."""
        return {"probabilities": self.by_output(predicted), "class": self.outputs[int(predicted.argmax())]}

    def baseline(
        self, strength: float, features: Any, target: NDArray[Any], others: Sequence[Any]
    ) -> list[NDArray[np.float64]]:
        """Fit a multinomial logistic regression; classes absent from the training split get probability 0."""
        from sklearn.linear_model import LogisticRegression

        occur = np.unique(target)
        found = [np.zeros((x.shape[0], len(self.outputs))) for x in others]
        model = None if len(occur) == 1 else LogisticRegression(C=strength, max_iter=2000).fit(features, target)
        for made, x in zip(found, others, strict=True):
            made[:, occur] = 1.0 if model is None else model.predict_proba(x)
        return found


def confusion(target: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.int64]:
    """Count answers by target ``[n]`` (row) and most probable class of ``[n, K]`` (column), ``[K, K]``."""
    k = predicted.shape[1]
    places = target.astype(np.int64) * k + predicted.argmax(1)
    counts: NDArray[np.int64] = np.bincount(places, minlength=k * k).reshape(k, k).astype(np.int64)
    return counts


def calibration_bins(target: NDArray[Any], predicted: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Bin answers by the probability of their most probable class; empty bins are left out.

    A bin excludes its lower edge and includes its upper one. Targets are ``[n]`` classes, predictions ``[n, K]``.

    Returns:
        By bin: share of all answers, mean probability, accuracy.
    """
    sure = predicted.max(1).astype(np.float64)
    right = predicted.argmax(1) == target
    place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure)
    counts = np.bincount(place, minlength=BINS)
    some = counts > 0
    said = np.bincount(place, weights=sure, minlength=BINS)[some] / counts[some]
    so = np.bincount(place, weights=right, minlength=BINS)[some] / counts[some]
    return counts[some] / len(target), said, so
