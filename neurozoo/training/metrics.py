"""Multi-label metrics with the definitions that the summary carries; mean average precision is scikit-learn's."""

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
    y = np.asarray(labels).astype(np.int64)
    p = (np.asarray(probabilities) > threshold).astype(np.int64)
    right, predicted, present = (y & p).sum(0), p.sum(0), y.sum(0)
    return {
        "accuracy": _jaccard(y, p, empty=0.0),
        "accuracy_empty_one": _jaccard(y, p, empty=1.0),
        "micro_f1": float(_share(2 * right.sum(), present.sum() + predicted.sum())),
        "macro_f1": float(_share(2 * right, present + predicted).mean()),
        "precision": float(_share(right.sum(), predicted.sum())),
        "recall": float(_share(right.sum(), present.sum())),
        "hamming_loss": float((y != p).mean()),
        "map": _mean_average_precision(y, np.asarray(probabilities)),
    }


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """``part / whole``, 0 where there is nothing."""
    share: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)
    return share


def _mean_average_precision(y: NDArray[np.int64], probabilities: NDArray[Any]) -> float:
    # Imported where used: it takes as long as torch, and `train --dry-run` needs none of it.
    from sklearn.metrics import average_precision_score

    positive = y.any(axis=0)
    if not positive.any():
        return float("nan")
    with warnings.catch_warnings():
        # With one label scikit-learn takes [N, 1] for a binary problem and says so.
        warnings.simplefilter("ignore", UserWarning)
        return float(average_precision_score(y[:, positive], probabilities[:, positive]))


def _jaccard(y: NDArray[np.int64], p: NDArray[np.int64], empty: float) -> float:
    """Mean over samples."""
    both, either = (y & p).sum(1), (y | p).sum(1)
    return float(np.where(either > 0, both / np.maximum(either, 1), empty).mean())
