"""Multi-label: any number of K labels applies at once, such as the emotions of an utterance."""

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
from neurozoo.tasks.losses import MULTILABEL, MultilabelLoss, Options

__all__ = ["METRICS", "Multilabel"]

Rule = Literal["fixed", "valid", "valid-per-label"]
NotNegative = Annotated[float, Field(ge=0, le=1e30)]
Smoothing = Annotated[float, Field(ge=0, lt=0.5)]
Share = Annotated[float, Field(ge=0, le=1)]

_GRID = np.round(np.arange(0.05, 0.951, 0.01), 2)
"""Thresholds tried on the valid split."""


def answers(predicted: NDArray[Any], decision: Decision) -> NDArray[np.int64]:
    """Return 1 where a probability ``[n, K]`` or ``[K]`` exceeds the threshold, or its label's, else 0."""
    # As an array, since NumPy rounds a Python float to the probabilities' float32, but not the numbers of a list.
    return (np.asarray(predicted) > np.asarray(decision, dtype=np.float64)).astype(np.int64)


def micro_f1(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    right, claimed, present = _counts(target, predicted, decision)
    return float(_share(2 * right.sum(), present.sum() + claimed.sum()))


def macro_f1(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    right, claimed, present = _counts(target, predicted, decision)
    return float(_share(2 * right, present + claimed).mean())


def precision(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    right, claimed, _ = _counts(target, predicted, decision)
    return float(_share(right.sum(), claimed.sum()))


def recall(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    right, _, present = _counts(target, predicted, decision)
    return float(_share(right.sum(), present.sum()))


def hamming_loss(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    return float((_labels(target) != answers(predicted, decision)).mean())


def mean_average_precision(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    y = _labels(target)
    positive = np.flatnonzero(y.any(axis=0))
    if not len(positive) or np.isnan(predicted).any():
        return float("nan")
    return float(np.mean([_average_precision(y[:, label], predicted[:, label]) for label in positive]))


def _average_precision(y: NDArray[np.int64], score: NDArray[Any]) -> float:
    """Return what scikit-learn's ``average_precision_score`` does, in a twentieth of its time for small samples."""
    order = np.argsort(score, kind="mergesort")[::-1]
    # The last sample of each value; those of one value are predicted together.
    ends = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]
    right = np.cumsum(y[order])[ends]
    precision, recall = right / (ends + 1), right / right[-1]
    return max(0.0, float(-np.sum(np.diff(np.r_[recall[::-1], 0.0]) * precision[::-1])))


def jaccard(target: NDArray[Any], predicted: NDArray[Any], decision: Decision, *, empty: float) -> float:
    y, p = _labels(target), answers(predicted, decision)
    both, either = (y & p).sum(1), (y | p).sum(1)
    return float(np.where(either > 0, both / np.maximum(either, 1), empty).mean())


METRICS = (
    Metric(
        "accuracy",
        "mean over samples of |Y and P| / |Y or P|, 0 where both are empty (as published)",
        "higher",
        partial(jaccard, empty=0.0),
    ),
    Metric("accuracy_empty_one", "the same, with 1 where both are empty", "higher", partial(jaccard, empty=1.0)),
    Metric("micro_f1", "F1 over all decisions", "higher", micro_f1, title="micro F1"),
    Metric(
        "macro_f1",
        "mean of the labels' F1; a label neither present nor predicted counts 0",
        "higher",
        macro_f1,
        title="macro F1",
    ),
    Metric("precision", "micro: right among the predicted", "higher", precision),
    Metric("recall", "micro: found among the present", "higher", recall),
    Metric("hamming_loss", "share of wrong decisions", "lower", hamming_loss),
    Metric(
        "map",
        "mean average precision over the labels that have a positive",
        "higher",
        mean_average_precision,
        title="mAP",
        decided=False,
    ),
)
"""All between 0 and 1; ``map`` is NaN if no label has a positive."""


class Multilabel(Task):
    """Predict which of K labels apply. The target of each is 0 or 1.

    Args:
        outputs: Names of the labels.
        per_step: Whether the model answers at each step.
        loss: ``cross-entropy``, or ``focal`` (Lin et al. 2017, equation 4), which gives easy answers less weight. The
            cross-entropy is reported in both cases.
        gamma: Exponent of ``focal``, dimensionless; 0 gives the cross-entropy.
        weights: ``none``, or ``balanced``: weigh each label's positives by negatives / positives in the training split.
        label_smoothing: ``s`` of the targets ``|y - s|``, dimensionless.
        decision: ``fixed`` uses ``threshold``; ``valid`` the threshold of largest micro F1 on valid;
            ``valid-per-label`` each label's threshold of largest F1. Ties go to the one nearest to ``threshold``.
        threshold: Probability above which a label is predicted.
    """

    name = "multilabel"
    target_dtype = torch.float32
    noun = "label"
    takes = "a label is 0 or 1"
    metrics = METRICS
    headline = ("micro_f1", "macro_f1", "map", "accuracy")
    selection = "map"
    baseline_name = "logistic regression"
    section = "neurozoo.reporting.labels:section"

    def __init__(
        self,
        outputs: Sequence[str],
        per_step: bool = False,
        *,
        loss: MultilabelLoss = "cross-entropy",
        gamma: NotNegative = 2.0,
        weights: Literal["none", "balanced"] = "none",
        label_smoothing: Smoothing = 0.0,
        decision: Rule = "fixed",
        threshold: Share = 0.35,
    ) -> None:
        super().__init__(outputs, per_step)
        self._objective, self._balanced = MULTILABEL[loss], weights == "balanced"
        self._options = Options(label_smoothing, gamma)
        self._rule, self._threshold = decision, threshold

    @property
    def target_shape(self) -> tuple[int, ...]:
        """``(K,)``."""
        return (len(self.outputs),)

    def wrong(self, target: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark values other than 0 and 1."""
        return ~np.isin(target, (0, 1))

    def made_up(self, *lead: int, generator: torch.Generator) -> Tensor:
        """Draw 0 and 1 with equal probability."""
        return torch.randint(0, 2, (*lead, len(self.outputs)), generator=generator).float()

    def prepare(self, target: Tensor) -> None:
        """Compute balanced weights if the recipe asks for them."""
        if not self._balanced:
            return
        present = target.sum(0)
        # A label that no answer has, or that all have, cannot be balanced and keeps the weight 1.
        some = (present > 0) & (present < len(target))
        weights = torch.where(some, (len(target) - present) / present.clamp(min=1), 1.0)
        self._options = replace(self._options, weights=weights)

    def objective(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the recipe's loss in nats."""
        self._options = self._options.on(outputs.device)
        return self._objective(outputs, target, self._options, reduction)

    def plain(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the cross-entropy in nats, smoothed as in training."""
        return MULTILABEL["cross-entropy"](outputs, target, Options(self._options.smoothing), reduction)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return each label's probability, by a sigmoid."""
        return torch.sigmoid(outputs)

    @property
    def default_decision(self) -> Decision:
        """``threshold``."""
        return self._threshold

    def choose(self, target: NDArray[Any], predicted: NDArray[Any]) -> Decision:
        """Return the threshold by the recipe's rule, or a list of one per label; ``threshold`` if n is 0."""
        if self._rule == "fixed" or len(target) == 0:
            return self._threshold
        grid = _GRID[np.argsort(np.abs(_GRID - self._threshold), kind="stable")]
        y = np.asarray(target) > 0.5
        p = np.asarray(predicted)[None] > grid[:, None, None]  # [thresholds, n, K]
        right, claimed, present = (p & y).sum(1), p.sum(1), y.sum(0)  # [thresholds, K]
        if self._rule == "valid":
            f1 = 2 * right.sum(1) / np.maximum(claimed.sum(1) + present.sum(), 1)
            return float(grid[int(f1.argmax())])
        f1_each = 2 * right / np.maximum(claimed + present, 1)
        return [float(grid[i]) if n else self._threshold for i, n in zip(f1_each.argmax(0), present, strict=True)]

    def decide(self, predicted: NDArray[Any], decision: Decision) -> NDArray[Any]:
        """Return 1 where a label's probability exceeds the threshold, else 0."""
        return answers(predicted, decision)

    def answer_of_one(self, predicted: NDArray[Any], decision: Decision) -> dict[str, Any]:
        """Return ``probabilities`` by label, and the predicted ``labels``."""
        there = answers(predicted, decision)
        return {
            "probabilities": self.by_output(predicted),
            "labels": [name for name, one in zip(self.outputs, there, strict=True) if one],
        }

    def baseline(
        self, strength: float, features: Any, target: NDArray[Any], others: Sequence[Any]
    ) -> list[NDArray[np.float64]]:
        """Fit one logistic regression per label; a label that is constant in training is predicted constant."""
        from sklearn.linear_model import LogisticRegression

        columns: list[list[NDArray[np.float64]]] = [[] for _ in others]
        for y in target.T:
            constant = y.min() == y.max()
            model = None if constant else LogisticRegression(C=strength, max_iter=2000).fit(features, y)
            for column, x in zip(columns, others, strict=True):
                column.append(np.full(x.shape[0], y[0]) if model is None else model.predict_proba(x)[:, 1])
        return [np.stack(column, axis=1) for column in columns]


def _labels(target: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(target).astype(np.int64)


def _counts(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> tuple[NDArray[np.int64], ...]:
    """Count per label the right, predicted and present ones, ``[K]`` each."""
    y, p = _labels(target), answers(predicted, decision)
    return (y & p).sum(0), p.sum(0), y.sum(0)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``part / whole``, 0 where ``whole`` is 0."""
    share: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)
    return share
