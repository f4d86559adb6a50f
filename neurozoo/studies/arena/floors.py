"""Floors: what constant answers, the labels' shares and linear models reach. Every table of an arena has them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurozoo.core.task import Decision, Task
from neurozoo.data.view import DataView
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.studies.arena.choosing import decisions_on
from neurozoo.studies.baseline import answers, baselines
from neurozoo.tasks.multilabel import Multilabel

__all__ = ["CHOSEN_BY", "Floor", "constants", "floors_of", "kept_floors", "without_words"]

SCHEMA = 1

CHOSEN_BY = ("accuracy", "micro_f1", "macro_f1")
"""Metrics of several labels; for each of them the constant that is best on valid has a row."""


@dataclass(frozen=True)
class Floor:
    """Predictions that need no training of a network.

    Attributes:
        name: In tables.
        decisions: By name, as those of a model, chosen on valid; a constant has one.
        valid: ``[n, K]`` of the valid split.
        test: ``[N, K]`` of the test split.
    """

    name: str
    decisions: Mapping[str, Decision]
    valid: NDArray[np.float64]
    test: NDArray[np.float64]


def floors_of(view: DataView, task: Task, metric: str) -> list[Floor]:
    """Return the floors of a task on a store, chosen on train and valid.

    Of several labels: the constants that are best on valid by each of :data:`CHOSEN_BY`, all labels, and the labels'
    shares of train as probabilities. Of another task the best constant of train, which of classes is the largest one's.
    Always the linear models of :func:`neurozoo.studies.baseline.baselines`.
    """
    (train, _), (valid, _), (test, _) = (answers(view, split) for split in ("train", "valid", "test"))
    found = []
    shares = task.constant(train)[0]
    if isinstance(task, Multilabel):
        for name, labels in _best_constants(task, train, valid).items():
            found.append(Floor(name, {"one": 0.5}, _each(labels, valid), _each(labels, test)))
        name = "label shares of train"
    else:
        name = f"the largest {task.noun}" if task.target_shape == () else "the mean of train"
    priors = _each(shares, valid)
    found.append(Floor(name, decisions_on(task, valid, priors, metric), priors, _each(shares, test)))
    for each in baselines(view, task):
        decisions = decisions_on(task, valid, each.valid, metric)
        found.append(Floor(f"{each.name} (C = {each.strength:g})", decisions, each.valid, each.predicted))
    return found


def kept_floors(path: Path, view: DataView, task: Task, metric: str) -> list[Floor]:
    """Return the floors from a file, or compute and write them if they are of other data or another metric.

    Raises:
        RunError: The file cannot be written.
    """
    identity = {
        "floors": SCHEMA,
        "data": view.description.checksum,
        "splits": view.description.splits,
        "metric": metric,
    }
    identity |= {"task": task.name, "signals": list(view.signals)}
    if path.is_file():
        tensors, metadata = read_tensors(path, remedy="remove it, and the same command makes it again")
        if metadata.get("identity") == identity:
            return [
                Floor(name, decisions, tensors[f"{i}/valid"].numpy(), tensors[f"{i}/test"].numpy())
                for i, (name, decisions) in enumerate(metadata["floors"])
            ]
    found = floors_of(view, task, metric)
    arrays = {f"{i}/valid": each.valid for i, each in enumerate(found)}
    arrays |= {f"{i}/test": each.test for i, each in enumerate(found)}
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"identity": identity, "floors": [[each.name, dict(each.decisions)] for each in found]}
    write_tensors(path, {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}, metadata)
    return found


def constants(task: Task, train: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield constant answers ``[K]`` of 0 and 1 by name: each label, the k most frequent ones in train, all."""
    k, order = len(task.outputs), np.argsort(-np.asarray(train).mean(0), kind="stable")
    for label in order:
        yield f"always {task.outputs[label]}", np.eye(k)[label]
    for first in range(2, k):
        names = ", ".join(task.outputs[label] for label in order[:first])
        yield f"always {names if first <= 3 else f'the {first} most frequent labels'}", np.eye(k)[order[:first]].sum(0)
    if k > 1:
        yield f"always all {k} labels", np.ones(k)


def _best_constants(task: Task, train: NDArray[Any], valid: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return the constants that are best on valid by some metric, and all labels."""
    tried = dict(constants(task, train))
    measured = {name: task.measure(valid, _each(labels, valid), 0.5, CHOSEN_BY) for name, labels in tried.items()}
    best = {max(tried, key=lambda name: _known(measured[name][metric])) for metric in CHOSEN_BY}
    every = list(tried)[-1]
    return {name: labels for name, labels in tried.items() if name in best or name == every}


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _each(row: Sequence[float] | NDArray[np.float64], target: NDArray[Any]) -> NDArray[np.float64]:
    """Return a row for each target."""
    return np.tile(np.asarray(row, np.float64), (len(target), 1))


def without_words(view: DataView) -> str:
    """Return why there is no floor on bags of words, or an empty text if there is one."""
    if isinstance(view.description.origin.get("words"), dict):
        return ""
    return "The store has no ids of words, so there is no floor on bags of words."
