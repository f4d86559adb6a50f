"""How good probabilities are, label by label: precision and recall, and whether they mean what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "PrecisionRecall", "Reliability", "precision_recall", "reliability"]

BINS = 10
"""Of equal width, from 0 to 1."""

_POINTS = 48
"""Of a curve; more cannot be seen."""


@dataclass(frozen=True)
class PrecisionRecall:
    """A label's precision at each recall.

    Attributes:
        recall: From 0 to 1, thinned out to 48 points.
        precision: At each.
        average: Average precision, of all points; dimensionless.
        base: Share of the samples that have the label: what guessing gives.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    average: float
    base: float


@dataclass(frozen=True)
class Reliability:
    """Whether what is said with a probability happens as often.

    Attributes:
        predicted: Mean probability of each bin that is not empty.
        observed: Share that is there of each.
        error: Expected calibration error: the mean of their distances over all predictions (Guo et al. 2017,
            equation 3), dimensionless.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    error: float


def precision_recall(there: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> PrecisionRecall | None:
    """A label's curve, of ``[N]`` each; None where no sample has it."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    if not there.any():
        return None
    precision, recall, _ = precision_recall_curve(there, probabilities)
    precision, recall = precision[::-1], recall[::-1]
    kept = np.unique(np.searchsorted(recall, np.linspace(0, 1, _POINTS)).clip(max=len(recall) - 1))
    average = float(average_precision_score(there, probabilities))
    return PrecisionRecall(recall[kept], precision[kept], average, float(there.mean()))


def reliability(there: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> Reliability:
    """Of predictions of any shape: one label's, or all together."""
    from sklearn.calibration import calibration_curve

    y, p = there.ravel(), probabilities.ravel()
    observed, predicted = calibration_curve(y, p, n_bins=BINS)
    # The bins as scikit-learn makes them, for how many are in each.
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], p), minlength=BINS)
    share = counts[counts > 0] / len(p)
    return Reliability(predicted, observed, float((share * np.abs(observed - predicted)).sum()))
