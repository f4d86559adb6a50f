"""Baselines for every spiking result: linear models on pooled features, on stretches of time, and on word counts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from neurozoo.core.task import Decision, Task
from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.nn.sequence import left_aligned

__all__ = [
    "Baseline",
    "answers",
    "bag_of_words",
    "baselines",
    "on_pooled_features",
    "on_time_bins",
    "pooled_features",
    "time_bins",
    "word_counts",
]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths C to choose from on valid, for standardised features."""
WORD_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""The same for a bag of words, whose rows have norm 1."""
BINS = 10
"""Equal stretches of a sample's valid positions, for :func:`time_bins`."""
MOST_BINNED = 40_000
"""Most numbers a sample of all stretches together; of large frames there would be millions."""
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
        valid: Predictions ``[n, K]`` of valid.
    """

    name: str
    strength: float
    metrics: dict[str, float]
    predicted: NDArray[np.float64]
    decision: Decision
    valid: NDArray[np.float64]


def baselines(view: DataView, task: Task) -> list[Baseline]:
    """Fit every baseline that the data allows, on the splits train, valid and test.

    The task's linear model on means and deviations always, which knows no order in time; on the means of stretches of
    time where samples have several positions and :data:`MOST_BINNED` numbers at most come out. If the store's origin
    says under ``words`` where transcripts are, also on the mean vector alone and on bags of words: of all words, and of
    those that have a vector, if not all have.

    Raises:
        DataError: A split is missing.
    """
    found = [on_pooled_features(view, task)]
    binned = sum(each.dim * min(BINS, each.length) for each in view.signals.values())
    if binned <= MOST_BINNED and any(each.length > 1 for each in view.signals.values()):
        found.append(on_time_bins(view, task))
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
    token numbers. Without ``deviations`` the result is ``[N, F]``. Of a task per step there is a row for each step that
    counts, over the positions up to it.
    """
    return _rows(view, split, lambda x, mask, per_step: _pooled(x, mask, per_step, deviations))


def time_bins(view: DataView, split: str) -> NDArray[np.float64]:
    """Return the means of :data:`BINS` equal stretches of the valid positions of every number, ``[N, BINS F]``.

    A sample with fewer valid positions has stretches of one position, some of them twice. Of a task per step there is a
    row for each step that counts: the means of the last 1, 2, 4, ... positions, the step's own among them, until they
    are all of a sample's; a stretch that begins before the sample is cut there.
    """
    return _rows(view, split, lambda x, mask, per_step: _trailing(x, mask) if per_step else _binned(x, mask))


def _rows(view: DataView, split: str, features: Callable[[Tensor, Tensor, bool], Tensor]) -> NDArray[np.float64]:
    """Return features of a split, of samples or of the steps that count, with those of all signals side by side.

    ``features`` gets values ``[B, L, F]`` and mask ``[B, L, 1]`` in float64, and whether a row per position is wanted.
    """
    per_step, rows = view.task.per_step, []
    for batch in view.batches(split, 256):
        columns = []
        for signal in batch.signals.values():
            x = signal.values.reshape(*signal.values.shape[:2], -1).double()
            columns.append(features(x, signal.mask[..., None].double(), per_step))
        row = torch.cat(columns, dim=-1)
        if per_step:
            row = row.flatten(0, 1) if batch.target_valid is None else row[batch.target_valid]
        rows.append(row)
    return torch.cat(rows).numpy()


def _pooled(x: Tensor, mask: Tensor, per_step: bool, deviations: bool) -> Tensor:
    """Mean and deviation over the valid positions ``[B, 2 F]``, or up to each one ``[B, L, 2 F]``."""
    if not per_step:
        n = mask.sum(1).clamp(min=1)
        mean = (x * mask).sum(1) / n
        if not deviations:
            return mean
        return torch.cat((mean, (((x - mean[:, None]) * mask).square().sum(1) / n).sqrt()), -1)
    n = mask.cumsum(1).clamp(min=1)
    mean = (x * mask).cumsum(1) / n
    if not deviations:
        return mean
    return torch.cat((mean, ((x.square() * mask).cumsum(1) / n - mean.square()).clamp(min=0).sqrt()), -1)


def _binned(x: Tensor, mask: Tensor) -> Tensor:
    """Means of equal stretches of the valid positions, ``[B, BINS F]``."""
    x = left_aligned(x, mask[..., 0] > 0).x
    total = torch.cat((torch.zeros_like(x[:, :1]), x.cumsum(1)), 1)
    length = mask.sum((1, 2))
    edges = length[:, None] * torch.arange(BINS + 1, dtype=x.dtype) / BINS
    first = edges[:, :-1].floor().minimum((length[:, None] - 1).clamp(min=0))
    last = torch.maximum(edges[:, 1:].floor(), first + 1).minimum(length[:, None])
    sums = _at(total, last) - _at(total, first)
    return (sums / (last - first).clamp(min=1)[..., None]).flatten(1)


def _trailing(x: Tensor, mask: Tensor) -> Tensor:
    """Means of the last 1, 2, 4, ... positions at each one, ``[B, L, W F]``."""
    length = x.shape[1]
    total, count = (torch.cat((torch.zeros_like(each[:, :1]), each.cumsum(1)), 1) for each in (x * mask, mask))
    means = []
    for power in range(max(length - 1, 1).bit_length() + 1):
        first = (torch.arange(1, length + 1) - 2**power).clamp(min=0)
        means.append((total[:, 1:] - total[:, first]) / (count[:, 1:] - count[:, first]).clamp(min=1))
    return torch.cat(means, -1)


def _at(total: Tensor, places: Tensor) -> Tensor:
    return total.gather(1, places.long()[..., None].expand(*places.shape, total.shape[2]))


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
        DataError: A split is missing.
    """
    what = "means and deviations" if deviations else "the mean vector"
    name = f"{task.baseline_name} on {what}{' of the past' if task.per_step else ''}"
    return _linear(name, view, task, lambda split: pooled_features(view, split, deviations=deviations))


def on_time_bins(view: DataView, task: Task) -> Baseline:
    """Fit the task's linear model on :func:`time_bins`, its regularisation chosen on valid.

    Raises:
        DataError: A split is missing.
    """
    what = "means of the last 1, 2, 4, ... steps" if task.per_step else f"means of {BINS} stretches of time"
    return _linear(f"{task.baseline_name} on {what}", view, task, lambda split: time_bins(view, split))


def _linear(name: str, view: DataView, task: Task, features: Callable[[str], NDArray[np.float64]]) -> Baseline:
    _check(view)
    from sklearn.preprocessing import StandardScaler

    found = {split: features(split) for split in _SPLITS}
    scaler = StandardScaler().fit(found["train"])
    return _best(name, view, {split: scaler.transform(x) for split, x in found.items()}, task, STRENGTHS)


def bag_of_words(view: DataView, modality: str, task: Task, words: int | None = None) -> Baseline:
    """Fit the task's linear model on the words of transcripts.

    Each word counts ``1 + ln n``, weighted by its inverse document frequency in the training split; each sample's row
    has norm 1. Words of fewer than :data:`RARE` training samples are left out, and those with an id above ``words``.
    See :func:`word_counts`.

    Raises:
        DataError: A split or the modality is missing, or the task is per step.
    """
    _check(view)
    from sklearn.feature_extraction.text import TfidfTransformer

    train = word_counts(view, modality, "train", words)
    counts = {"train": train} | {split: word_counts(view, modality, split, train.shape[1]) for split in _SPLITS[1:]}
    common = np.asarray((train > 0).sum(0)).ravel() >= RARE
    weights = TfidfTransformer(sublinear_tf=True).fit(train[:, common])
    bags = {split: weights.transform(x[:, common]) for split, x in counts.items()}
    name = f"{task.baseline_name} on the bag of {'words' if words is None else 'those words that have a vector'}"
    return _best(name, view, bags, task, WORD_STRENGTHS)


def _check(view: DataView) -> None:
    missing = [split for split in _SPLITS if not view.description.splits.get(split)]
    if missing:
        has = ", ".join(view.description.splits)
        raise DataError(f"the baseline needs the split {', '.join(missing)}, and the data has: {has}")


def _best(name: str, view: DataView, features: Mapping[str, Any], task: Task, strengths: Sequence[float]) -> Baseline:
    """Choose the strength with the best score on valid, and measure it on test."""
    target = {split: answers(view, split)[0] for split in _SPLITS}
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
    return Baseline(name, best, task.measure(target["test"], test, decision), test, decision, valid)


def answers(view: DataView, split: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the targets of a split and the place of each one's sample.

    Of a task per step they are those of the steps that count, as features and predictions are ordered.
    """
    if not view.task.per_step:
        target = view.split(split).target.numpy()
        return target, np.arange(len(target))
    targets, places = [], []
    for batch in view.batches(split, 256):
        assert batch.target is not None
        assert batch.index is not None
        counts = batch.target_valid
        if counts is None:
            counts = torch.ones(batch.target.shape[:2], dtype=torch.bool)
        targets.append(batch.target[counts])
        places.append(batch.index[:, None].expand(counts.shape)[counts])
    return torch.cat(targets).numpy(), torch.cat(places).numpy()
