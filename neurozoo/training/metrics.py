"""Multi-label metrics, computed by scikit-learn, with the definitions that the summary carries."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFINITIONS", "multilabel_metrics"]

DEFINITIONS = {
    "accuracy": "mean over samples of |Y and P| / |Y or P|, 0 where both are empty (as published)",
    "accuracy_empty_one": "the same, with 1 where both are empty",
    "micro_f1": "F1 over all decisions",
    "macro_f1": "mean of the labels' F1; a label neither present nor predicted counts 0",
    "precision": "micro: right among the predicted",
    "recall": "micro: found among the present",
    "hamming_loss": "share of wrong decisions",
    "map": "mean average precision over the labels that have a positive",
}
"""What each metric is, dimensionless, between 0 and 1."""


def multilabel_metrics(
    labels: NDArray[Any], probabilities: NDArray[Any], threshold: NDArray[Any] | float
) -> dict[str, float]:
    """Every metric of :data:`DEFINITIONS`.

    Args:
        labels: ``[N, K]`` of 0 and 1.
        probabilities: ``[N, K]``.
        threshold: A label is predicted where its probability is larger; one, or ``[K]``.

    Returns:
        The metrics by name; ``map`` is NaN where no label has a positive.
    """
    # Imported where used: it takes as long as torch, and `train --dry-run` needs none of it.
    from sklearn import metrics as sk

    y = np.asarray(labels).astype(np.int64)
    p = (np.asarray(probabilities) > threshold).astype(np.int64)
    positive = y.any(axis=0)
    scores = np.asarray(probabilities)[:, positive]
    with warnings.catch_warnings():
        # With one label scikit-learn takes [N, 1] for a binary problem and says so.
        warnings.simplefilter("ignore", UserWarning)
        return {
            "accuracy": _jaccard(y, p, empty=0.0),
            "accuracy_empty_one": _jaccard(y, p, empty=1.0),
            "micro_f1": float(sk.f1_score(y.ravel(), p.ravel(), zero_division=0)),
            "macro_f1": float(np.mean([sk.f1_score(a, b, zero_division=0) for a, b in zip(y.T, p.T, strict=True)])),
            "precision": float(sk.precision_score(y.ravel(), p.ravel(), zero_division=0)),
            "recall": float(sk.recall_score(y.ravel(), p.ravel(), zero_division=0)),
            "hamming_loss": float(sk.hamming_loss(y.ravel(), p.ravel())),
            "map": float(sk.average_precision_score(y[:, positive], scores)) if positive.any() else float("nan"),
        }


def _jaccard(y: NDArray[np.int64], p: NDArray[np.int64], empty: float) -> float:
    """Mean over samples; scikit-learn's own takes a single label for two classes, so it is written out."""
    both, either = (y & p).sum(1), (y | p).sum(1)
    return float(np.where(either > 0, both / np.maximum(either, 1), empty).mean())
