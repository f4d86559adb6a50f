"""The plain baselines every spiking result stands beside: logistic regressions on what is simple to count."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.recipe.schema import Decision
from neurozoo.training.decision import choose_threshold
from neurozoo.training.metrics import multilabel_metrics

__all__ = ["Baseline", "bag_of_words", "baselines", "logistic_regression", "pooled_features", "word_counts"]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths C that are tried on valid, for standardised features."""
WORD_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""The same for a bag of words, whose rows have norm 1."""
RARE = 2
"""A word is in the bag where so many training samples have it."""
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Baseline:
    """A baseline and what it says of the test split.

    Attributes:
        name: What it is.
        strength: Inverse regularisation strength C, chosen on valid.
        metrics: On test, see ``neurozoo.training.metrics.DEFINITIONS``.
        probabilities: ``[N, K]`` of test.
        cut: The probability above which a label is predicted, or one a label; chosen on valid.
    """

    name: str
    strength: float
    metrics: dict[str, float]
    probabilities: NDArray[np.float64]
    cut: float | list[float]


def baselines(view: DataView, decision: Decision) -> list[Baseline]:
    """Every baseline that the data allows.

    Logistic regression on means and deviations always; on transcripts, whose store says in its
    origin under ``words`` where they are, also on the mean vector alone and on bags of words: of all
    words, and of those that have a vector, where not all have.

    Args:
        view: The data, with the splits train, valid and test.
        decision: How probabilities become labels, as for the model.

    Raises:
        DataError: A split is missing.
    """
    found = [logistic_regression(view, decision)]
    words = view.description.origin.get("words")
    if isinstance(words, dict):
        found += [
            logistic_regression(view, decision, deviations=False),
            bag_of_words(view, words["modality"], decision),
        ]
        if words["types_with_vector"] not in (None, words["types"]):
            found.append(bag_of_words(view, words["modality"], decision, words["types_with_vector"]))
    return found


def pooled_features(view: DataView, split: str, *, deviations: bool = True) -> NDArray[np.float64]:
    """Mean and deviation over valid positions of every feature, ``[N, 2 sum D]``; 0 where none is valid.

    Args:
        view: The data.
        split: Name of the split.
        deviations: Whether the deviations are there; without them ``[N, sum D]``.
    """
    rows = []
    for batch in view.batches(split, 256):
        columns = []
        for name, x in batch.features.items():
            mask = batch.masks[name][..., None].double()
            n = mask.sum(1).clamp(min=1)
            mean = (x * mask).sum(1) / n
            columns.append(mean)
            if deviations:
                columns.append((((x - mean[:, None]) * mask).square().sum(1) / n).sqrt())
        rows.append(torch.cat(columns, dim=1))
    return torch.cat(rows).numpy()


def word_counts(view: DataView, modality: str, split: str, words: int | None = None) -> csr_matrix:
    """How often each sample has each word, ``[N, V]``.

    Args:
        view: The data.
        modality: Where the word ids are, ``[L, 1]``, from 1.
        split: Name of the split.
        words: V; by default the largest id of the split.
    """
    rows, ids, n = [], [], 0
    for batch in view.beside(modality).batches(split, 1024):
        mask = batch.masks[modality]
        rows.append(mask.nonzero()[:, 0].numpy() + n)
        ids.append(batch.features[modality][..., 0][mask].round().long().numpy() - 1)
        n += len(batch)
    row, column = np.concatenate(rows), np.concatenate(ids)
    width = (int(column.max(initial=-1)) + 1 if words is None else words) or 1
    known = column < width
    return csr_matrix((np.ones(int(known.sum())), (row[known], column[known])), shape=(n, width))


def logistic_regression(view: DataView, decision: Decision, *, deviations: bool = True) -> Baseline:
    """One logistic regression a label on pooled features, its regularisation chosen by the mAP on valid.

    Args:
        view: The data, with the splits train, valid and test.
        decision: How probabilities become labels, as for the model.
        deviations: Whether each feature's deviation is given beside its mean.

    Raises:
        DataError: A split is missing.
    """
    _check_splits(view)
    from sklearn.preprocessing import StandardScaler

    features = {split: pooled_features(view, split, deviations=deviations) for split in _SPLITS}
    scaler = StandardScaler().fit(features["train"])
    scaled = {split: scaler.transform(x) for split, x in features.items()}
    name = "logistic regression on means and deviations" if deviations else "logistic regression on the mean vector"
    return _best(name, view, scaled, decision, STRENGTHS)


def bag_of_words(view: DataView, modality: str, decision: Decision, words: int | None = None) -> Baseline:
    """One logistic regression a label on the words that were said, with or without a vector.

    Each word counts ``1 + ln n``, weighted by its inverse document frequency in the training split;
    each sample's row has norm 1. Words of fewer than :data:`RARE` training samples are left out.

    Args:
        view: The data, with the splits train, valid and test.
        modality: Where the word ids are, see :func:`word_counts`.
        decision: How probabilities become labels, as for the model.
        words: The words with the ids up to this one; by default all.

    Raises:
        DataError: A split or the modality is missing.
    """
    _check_splits(view)
    from sklearn.feature_extraction.text import TfidfTransformer

    train = word_counts(view, modality, "train", words)
    counts = {"train": train} | {split: word_counts(view, modality, split, train.shape[1]) for split in _SPLITS[1:]}
    common = np.asarray((train > 0).sum(0)).ravel() >= RARE
    weights = TfidfTransformer(sublinear_tf=True).fit(train[:, common])
    bags = {split: weights.transform(x[:, common]) for split, x in counts.items()}
    name = f"logistic regression on the bag of {'words' if words is None else 'those words that have a vector'}"
    return _best(name, view, bags, decision, WORD_STRENGTHS)


def _check_splits(view: DataView) -> None:
    missing = [split for split in _SPLITS if not view.description.splits.get(split)]
    if missing:
        has = ", ".join(view.description.splits)
        raise DataError(f"the baseline needs the split {', '.join(missing)}, and the data has: {has}")


def _best(
    name: str, view: DataView, features: Mapping[str, Any], decision: Decision, strengths: Sequence[float]
) -> Baseline:
    """The strength of best mAP on valid, measured on test."""
    labels = {split: view.split(split).labels.numpy() for split in _SPLITS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: the valid split judges the result
        tried = {c: _predictions(c, features, labels) for c in strengths}
    score = {
        c: multilabel_metrics(labels["valid"], made["valid"], decision.threshold)["map"] for c, made in tried.items()
    }
    best = max(score, key=lambda c: score[c])
    cut = choose_threshold(decision.rule, decision.threshold, labels["valid"], tried[best]["valid"])
    metrics = multilabel_metrics(labels["test"], tried[best]["test"], np.asarray(cut))
    return Baseline(name, best, metrics, tried[best]["test"], cut)


def _predictions(
    c: float, features: Mapping[str, Any], labels: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float64]]:
    """Probabilities ``[N, K]`` of valid and test."""
    from sklearn.linear_model import LogisticRegression

    columns: dict[str, list[NDArray[np.float64]]] = {"valid": [], "test": []}
    for y in labels["train"].T:
        constant = y.min() == y.max()
        model = None if constant else LogisticRegression(C=c, max_iter=2000).fit(features["train"], y)
        for split, column in columns.items():
            n = len(labels[split])
            column.append(np.full(n, y[0]) if model is None else model.predict_proba(features[split])[:, 1])
    return {split: np.stack(column, axis=1) for split, column in columns.items()}
