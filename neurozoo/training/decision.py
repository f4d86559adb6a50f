"""From probabilities to predicted labels: a threshold as given, or chosen on the valid split."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rule", "choose_threshold"]

Rule = Literal["fixed", "valid", "valid-per-label"]

_GRID = np.round(np.arange(0.05, 0.951, 0.01), 2)


def choose_threshold(
    rule: Rule, fixed: float, labels: NDArray[Any], probabilities: NDArray[Any]
) -> float | list[float]:
    """The decision threshold, or one for each label; only ever given the valid split.

    Args:
        rule: ``fixed`` takes ``fixed``; ``valid`` the threshold of the largest micro F1;
            ``valid-per-label`` each label's threshold of the largest F1. Of equals the one
            nearest to ``fixed``.
        fixed: The published threshold, a probability.
        labels: ``[N, K]`` of 0 and 1, of the valid split.
        probabilities: ``[N, K]``, of the valid split.
    """
    if rule == "fixed" or len(labels) == 0:
        return fixed
    grid = _GRID[np.argsort(np.abs(_GRID - fixed), kind="stable")]
    y = np.asarray(labels) > 0.5
    p = np.asarray(probabilities)[None] > grid[:, None, None]  # [thresholds, N, K]
    right, predicted, present = (p & y).sum(1), p.sum(1), y.sum(0)  # [thresholds, K]
    if rule == "valid":
        f1 = 2 * right.sum(1) / np.maximum(predicted.sum(1) + present.sum(), 1)
        return float(grid[int(f1.argmax())])
    f1_each = 2 * right / np.maximum(predicted + present, 1)
    return [float(grid[i]) if n else fixed for i, n in zip(f1_each.argmax(0), present, strict=True)]
