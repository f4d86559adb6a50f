"""Baselines for every spiking result: linear models on pooled features and word counts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from neurozoo.core.task import Decision, Task
from neurozoo.data.view import DataView
from neurozoo.errors import DataError

__all__ = ["Baseline", "bag_of_words", "baselines", "on_pooled_features", "pooled_features", "word_counts"]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths C to choose from on valid, for standardised features."""
WORD_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""The same for a bag of words, whose rows have norm 1."""
RARE = 2
"""Number of training samples that a word must occur in."""
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Baseline:
    """A baseline measured on the test split.

    Attributes:
        name: Of the baseline.
        strength: Inverse regularisation strength C, chosen on valid.
        metrics: On test, see :attr:`neurozoo.core.task.Task.definitions`.
        predicted: ``[N, K]`` of test.
        decision: How predictions become answers; chosen on valid.
    """

    name: str
    strength: float
    metrics: dict[str, float]
    predicted: NDArray[np.float64]
    decision: Decision


def baselines(view: DataView, task: Task) -> list[Baseline]:
    """Fit every baseline that the data allows, on the splits train, valid and test.

    The task's linear model on means and deviations always. If the store's origin says under ``words`` where transcripts
    are, also on the mean vector alone and on bags of words: of all words, and of those that have a vector, if not all
    have.

    Raises:
        DataError: A split is missing, or the task is per step.
    """
    found = [on_pooled_features(view, task)]
    words = view.description.origin.get("words")
    if isinstance(words, dict):
        found += [
            on_pooled_features(view, task, deviations=False),
            bag_of_words(view, words["modality"], task),
        ]
        if words["types_with_vector"] not in (None, words["types"]):
            found.append(bag_of_words(view, words["modality"], task, words["types_with_vector"]))
    return found


def pooled_features(view: DataView, split: str, *, deviations: bool = True) -> NDArray[np.float64]:
    """Return mean and deviation over valid positions of every number of a position, ``[N, 2 F]``; 0 if none is valid.

    F is the sum over signals of the numbers at a position: D of features, C H W of frames, N of spike trains, 1 of
    token numbers. Without ``deviations`` the result is ``[N, F]``.
    """
    rows = []
    for batch in view.batches(split, 256):
        columns = []
        for signal in batch.signals.values():
            x = signal.values.reshape(*signal.values.shape[:2], -1).double()
            mask = signal.mask[..., None].double()
            n = mask.sum(1).clamp(min=1)
            mean = (x * mask).sum(1) / n
            columns.append(mean)
            if deviations:
                columns.append((((x - mean[:, None]) * mask).square().sum(1) / n).sqrt())
        rows.append(torch.cat(columns, dim=1))
    return torch.cat(rows).numpy()


def word_counts(view: DataView, modality: str, split: str, words: int | None = None) -> csr_matrix:
    """Return how often each word occurs in each sample of a split, ``[N, V]``.

    The signal ``modality`` holds word ids, ``[L]`` or ``[L, 1]``, from 1. V is ``words``, by default the largest id.
    """
    rows, ids, n = [], [], 0
    for batch in view.beside(modality).batches(split, 1024):
        signal = batch.signals[modality]
        mask = signal.mask
        rows.append(mask.nonzero()[:, 0].numpy() + n)
        words_said = signal.values if signal.values.dim() == 2 else signal.values[..., 0]
        ids.append(words_said[mask].round().long().numpy() - 1)
        n += len(batch)
    row, column = np.concatenate(rows), np.concatenate(ids)
    width = (int(column.max(initial=-1)) + 1 if words is None else words) or 1
    known = column < width
    return csr_matrix((np.ones(int(known.sum())), (row[known], column[known])), shape=(n, width))


def on_pooled_features(view: DataView, task: Task, *, deviations: bool = True) -> Baseline:
    """Fit the task's linear model on :func:`pooled_features`, its regularisation chosen on valid.

    Raises:
        DataError: A split is missing, or the task is per step.
    """
    _check(view, task)
    from sklearn.preprocessing import StandardScaler

    features = {split: pooled_features(view, split, deviations=deviations) for split in _SPLITS}
    scaler = StandardScaler().fit(features["train"])
    scaled = {split: scaler.transform(x) for split, x in features.items()}
    name = f"{task.baseline_name} on {'means and deviations' if deviations else 'the mean vector'}"
    return _best(name, view, scaled, task, STRENGTHS)


def bag_of_words(view: DataView, modality: str, task: Task, words: int | None = None) -> Baseline:
    """Fit the task's linear model on the words of transcripts.

    Each word counts ``1 + ln n``, weighted by its inverse document frequency in the training split; each sample's row
    has norm 1. Words of fewer than :data:`RARE` training samples are left out, and those with an id above ``words``.
    See :func:`word_counts`.

    Raises:
        DataError: A split or the modality is missing, or the task is per step.
    """
    _check(view, task)
    from sklearn.feature_extraction.text import TfidfTransformer

    train = word_counts(view, modality, "train", words)
    counts = {"train": train} | {split: word_counts(view, modality, split, train.shape[1]) for split in _SPLITS[1:]}
    common = np.asarray((train > 0).sum(0)).ravel() >= RARE
    weights = TfidfTransformer(sublinear_tf=True).fit(train[:, common])
    bags = {split: weights.transform(x[:, common]) for split, x in counts.items()}
    name = f"{task.baseline_name} on the bag of {'words' if words is None else 'those words that have a vector'}"
    return _best(name, view, bags, task, WORD_STRENGTHS)


def _check(view: DataView, task: Task) -> None:
    if task.per_step:
        raise DataError(
            f"the baselines pool a sample's steps, and the task {task.name} is per step; there is no baseline for it"
        )
    missing = [split for split in _SPLITS if not view.description.splits.get(split)]
    if missing:
        has = ", ".join(view.description.splits)
        raise DataError(f"the baseline needs the split {', '.join(missing)}, and the data has: {has}")


def _best(name: str, view: DataView, features: Mapping[str, Any], task: Task, strengths: Sequence[float]) -> Baseline:
    """Choose the strength with the best score on valid, and measure it on test."""
    target = {split: view.split(split).target.numpy() for split in _SPLITS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, as the valid split decides
        tried = {
            c: task.baseline(c, features["train"], target["train"], [features["valid"], features["test"]])
            for c in strengths
        }

    def score(c: float) -> float:
        measured = task.measure(target["valid"], tried[c][0], task.default_decision, [task.selection])
        found = task.score(measured, task.selection)
        return -math.inf if math.isnan(found) else found

    best = max(strengths, key=score)
    valid, test = tried[best]
    decision = task.choose(target["valid"], valid)
    return Baseline(name, best, task.measure(target["test"], test, decision), test, decision)
