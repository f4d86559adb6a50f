"""What is chosen on valid for one trained model: the epoch, and the thresholds. Test is closed here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics
from neurozoo.core.task import Decision, Task
from neurozoo.data.view import DataView
from neurozoo.errors import RunError
from neurozoo.evaluation.predicting import Predictions, predict_split
from neurozoo.models.build import open_experiment
from neurozoo.runs.checkpoint import load_checkpoint
from neurozoo.runs.device import device_of_run
from neurozoo.runs.run import Run
from neurozoo.tasks.multiclass import calibration_error
from neurozoo.tasks.multilabel import Multilabel, answers
from neurozoo.training.kept_epochs import kept_epochs

__all__ = [
    "CALIBRATION", "CLOSED", "EACH", "EMPTY", "ONE", "PUBLISHED", "Chosen", "Trial", "best_threshold", "choose",
    "decisions_on", "scores_of", "threshold_metric",
]  # fmt: skip

CLOSED = ("test",)
"""The splits that no training and no choice of an arena may open."""

ONE, EACH, PUBLISHED = "one", "each", "published"
"""Names of the decisions: one threshold from valid, one a label from valid, the one that was published."""

EMPTY, CALIBRATION = "empty", "calibration_error"
"""Scores that the task of several labels lacks: share of samples without any label, calibration error."""


@dataclass(frozen=True)
class Trial:
    """A finished training with its data, and its model in which any epoch's weights can be put.

    Attributes:
        run: The run.
        model: Its model.
        view: Its data, without the test split unless it was opened with it.
        device: Where it computes.
        batch_size: Samples at a time.
    """

    run: Run
    model: Model
    view: DataView
    device: torch.device
    batch_size: int

    @classmethod
    def of(cls, folder: Path, *, test: bool) -> Trial:
        """Open a run, with its test split or without.

        Raises:
            UserError: The run or its data cannot be used.
        """
        run = Run(folder)
        recipe = run.recipe()
        if run.data_root is not None:
            recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(run.data_root)})})
        experiment = open_experiment(recipe, closed=() if test else CLOSED)
        device = device_of_run(recipe.training.device)
        model = experiment.build().to(device)
        return cls(run, model, experiment.view, device, recipe.evaluation.batch_size)

    @property
    def task(self) -> Task:
        """Its task."""
        return self.model.problem.task

    def load(self, epoch: int) -> None:
        """Put the weights and statistics of an epoch into the model.

        Raises:
            RunError: The run did not keep that epoch.
        """
        kept = kept_epochs(self.run.folder)
        if epoch not in kept:
            raise RunError(
                f"{self.run.folder}: the weights of epoch {epoch} are not there; remove the run, and the same command "
                "trains it again"
            )
        load_checkpoint(kept[epoch], self.model, inside=self.run.folder)
        self.model.to(self.device).eval()

    def predict(self, split: str) -> Predictions:
        """Predict a split; the running statistics stay as they are."""
        with frozen_statistics(self.model):
            return predict_split(self.model, self.view.batches(split, self.batch_size), device=self.device)


@dataclass(frozen=True)
class Chosen:
    """What valid chose.

    Attributes:
        epoch: From 1.
        decisions: By name, see :data:`ONE`.
        valid: Predictions ``[n, K]`` of the valid split at that epoch.
        target: Its targets.
    """

    epoch: int
    decisions: Mapping[str, Decision]
    valid: NDArray[Any]
    target: NDArray[Any]


def threshold_metric(task: Task, metric: str) -> str:
    """Return what a threshold maximises on valid: the arena's metric if it depends on one, else micro F1."""
    return metric if task.is_decided(metric) else "micro_f1"


def best_threshold(task: Task, target: NDArray[Any], predicted: NDArray[Any], metric: str) -> float:
    """Return the threshold of a multi-label task of the best score; ties go to the one nearest to the task's own.

    Args:
        task: Of several labels.
        target: ``[n, K]``, n at least 1.
        predicted: Probabilities ``[n, K]``.
        metric: A metric that depends on the threshold.
    """
    start = task.default_decision
    if metric == "micro_f1":
        rule = Multilabel(task.outputs, task.per_step, decision="valid", threshold=start)
        return float(rule.choose(target, predicted))
    grid = np.round(np.arange(0.05, 0.951, 0.01), 2)
    grid = grid[np.argsort(np.abs(grid - start), kind="stable")]
    found = [task.score(task.measure(target, predicted, float(each), [metric]), metric) for each in grid]
    return float(grid[int(np.argmax(found))])


def decisions_on(
    task: Task, target: NDArray[Any], predicted: NDArray[Any], metric: str, published: float | None = None
) -> dict[str, Decision]:
    """Return the decisions that a split chooses, by name; a task without thresholds has one, its own.

    Args:
        task: The task.
        target: ``[n, ...]`` of the split, which is valid.
        predicted: ``[n, K]`` of it.
        metric: The arena's.
        published: The threshold as published, if one is stated.
    """
    if not isinstance(task, Multilabel):
        return {ONE: task.choose(target, predicted)}
    each = Multilabel(task.outputs, task.per_step, decision="valid-per-label", threshold=task.default_decision)
    found: dict[str, Decision] = {
        ONE: best_threshold(task, target, predicted, threshold_metric(task, metric)),
        EACH: each.choose(target, predicted),
    }
    return found if published is None else {**found, PUBLISHED: published}


def scores_of(task: Task, target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> dict[str, float]:
    """Return the task's metrics; of several labels also the share of empty answers and the calibration error.

    The calibration error of several labels takes each label of each sample as a problem of two classes.
    """
    found = task.measure(target, predicted, decision)
    if isinstance(task, Multilabel) and len(target):
        found[EMPTY] = float((answers(predicted, decision).sum(1) == 0).mean())
        yes = np.asarray(predicted, np.float64).reshape(-1)
        both = np.stack((1 - yes, yes), axis=1)
        found[CALIBRATION] = calibration_error(np.asarray(target).reshape(-1).astype(np.int64), both, None)
    return found


def choose(trial: Trial, metric: str, published: float | None = None) -> Chosen:
    """Choose epoch and thresholds of a finished run by its valid split alone.

    The epoch is the first of the best score, at the threshold that is best for it on valid if the metric depends on
    one.

    Raises:
        RunError: The run did not keep its epochs, or the metric is not defined on valid.
    """
    task = trial.task
    found = dict(_by_epoch(trial, metric))
    defined = {epoch: score for epoch, score in found.items() if math.isfinite(score)}
    if not defined:
        raise RunError(f"{trial.run.folder}: {metric} is not defined on valid; use loss as the arena's metric")
    epoch = max(defined, key=lambda each: defined[each])
    trial.load(epoch)
    made = trial.predict("valid")
    decisions = decisions_on(task, made.target, made.predicted, metric, published)
    return Chosen(epoch, decisions, made.predicted, made.target)


def _by_epoch(trial: Trial, metric: str) -> Iterator[tuple[int, float]]:
    """Yield the score on valid of each epoch; larger is better."""
    task = trial.task
    if not task.is_decided(metric):  # the training has measured it
        for record in trial.run.records():
            value = record["valid"].get(metric)
            yield record["epoch"], math.nan if value is None else task.score({metric: value}, metric)
        return
    for epoch in kept_epochs(trial.run.folder):
        trial.load(epoch)
        made = trial.predict("valid")
        decision = best_threshold(task, made.target, made.predicted, metric)
        yield epoch, task.score(task.measure(made.target, made.predicted, decision, [metric]), metric)
