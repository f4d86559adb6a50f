"""The plain baseline every spiking result stands beside: logistic regression on pooled features."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.schema import Decision
from neurozoo.training.decision import choose_threshold
from neurozoo.training.metrics import multilabel_metrics

__all__ = ["logistic_regression", "pooled_features"]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths C that are tried on valid."""


def pooled_features(view: DataView, split: str) -> NDArray[np.float64]:
    """Mean and deviation over valid positions of every feature, ``[N, 2 sum D]``; 0 where none is valid."""
    rows = []
    for batch in view.batches(split, 256):
        columns = []
        for name, x in batch.features.items():
            mask = batch.masks[name][..., None].double()
            n = mask.sum(1).clamp(min=1)
            mean = (x * mask).sum(1) / n
            deviation = (((x - mean[:, None]) * mask).square().sum(1) / n).sqrt()
            columns += [mean, deviation]
        rows.append(torch.cat(columns, dim=1))
    return torch.cat(rows).numpy()


def logistic_regression(view: DataView, decision: Decision) -> dict[str, Any]:
    """One logistic regression a label, its regularisation chosen by the mAP on valid.

    Args:
        view: The data, with the splits train, valid and test.
        decision: How probabilities become labels, as for the model.

    Returns:
        The metrics on test, ``C``, and what it is.

    Raises:
        DataError: A split is missing.
    """
    missing = [split for split in ("train", "valid", "test") if not view.description.splits.get(split)]
    if missing:
        has = ", ".join(view.description.splits)
        raise DataError(f"the baseline needs the split {', '.join(missing)}, and the data has: {has}")

    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features = {split: pooled_features(view, split) for split in ("train", "valid", "test")}
    labels = {split: view.split(split).labels.numpy() for split in features}
    scaler = StandardScaler().fit(features["train"])
    scaled = {split: scaler.transform(x) for split, x in features.items()}

    def predict(c: float) -> dict[str, NDArray[np.float64]]:
        columns: dict[str, list[NDArray[np.float64]]] = {"valid": [], "test": []}
        for y in labels["train"].T:
            constant = y.min() == y.max()
            model = None if constant else LogisticRegression(C=c, max_iter=2000).fit(scaled["train"], y)
            for split, column in columns.items():
                n = len(labels[split])
                column.append(np.full(n, y[0]) if model is None else model.predict_proba(scaled[split])[:, 1])
        return {split: np.stack(column, axis=1) for split, column in columns.items()}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: the valid split judges the result
        tried = {c: predict(c) for c in STRENGTHS}
    score = {
        c: multilabel_metrics(labels["valid"], made["valid"], decision.threshold)["map"] for c, made in tried.items()
    }
    best = max(score, key=lambda c: score[c])
    cut = choose_threshold(decision.rule, decision.threshold, labels["valid"], tried[best]["valid"])
    metrics = multilabel_metrics(labels["test"], tried[best]["test"], np.asarray(cut))
    return {"name": "logistic regression on means and deviations", "C": best, **metrics}
