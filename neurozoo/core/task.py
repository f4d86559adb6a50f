"""What a model's outputs mean: loss, prediction, decision, metrics.

Only tasks distinguish sets of labels, classes and numbers. Training, evaluation, reports and prediction call them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.loss import Loss
from neurozoo.errors import CheckpointError, DataError, UnknownNameError

__all__ = ["LOSS", "Decision", "Metric", "Reduction", "Task"]

Decision = Any
"""JSON value chosen on the valid split: a threshold, a list of one per label, or None if the task has no decision."""

Reduction = Literal["mean", "none"]
"""Reduction of a loss, as in torch: ``mean`` is 0-d, ``none`` keeps one value per answer."""

LOSS = "loss"
"""Name of the reported loss in ``training.best`` and in tables; lower is better."""


@dataclass(frozen=True)
class Metric:
    """A metric of a task.

    Attributes:
        name: Key in summaries, tables and ``training.best``.
        definition: One sentence, including the value in undefined cases.
        better: Whether higher or lower values are better.
        compute: ``(target, predicted, decision) -> number`` over NumPy arrays ``[n, ...]`` of valid answers, n > 0.
        unit: ``dimensionless``, ``nats``, or ``target`` for the unit of the target.
        title: Display name, such as ``macro F1``; defaults to the name without underscores.
        decided: Whether the value depends on the decision, such as a threshold.
    """

    name: str
    definition: str
    better: Literal["higher", "lower"]
    compute: Callable[[NDArray[Any], NDArray[Any], Decision], float]
    unit: str = "dimensionless"
    title: str = ""
    decided: bool = True

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.name.replace("_", " "))


class Task(ABC):
    """Meaning of a model's outputs.

    ``__init__`` takes ``outputs`` and ``per_step``, then keyword-only parameters: the ``params`` of a recipe's
    ``task``, checked against their annotations. Metric names depend on these parameters only, never on ``outputs``, so
    that a recipe can be checked before its data is opened.

    An answer is the K outputs for one sample, or for one step if the task is per step. Arguments are named alike in all
    methods: outputs, predictions ``[n, K]`` and targets ``[n, *target_shape]`` of n valid answers, and the ``decision``
    that :meth:`choose` returned. Methods that take batches say so.

    Args:
        outputs: Names of the K outputs: labels, classes, or quantities.
        per_step: Whether the model answers at each position of the sequence, ``[B, L, K]``, instead of once a sample.

    Raises:
        DataError: ``outputs`` is empty or has duplicates.
    """

    name: ClassVar[str]
    """Name in recipes and stores."""
    noun: ClassVar[str] = "output"
    """Word for one of ``outputs`` in tables: label, class, quantity."""
    kinds: ClassVar[str] = "biuf"
    """Allowed ``dtype.kind`` of targets: b bool, i signed, u unsigned, f floating."""
    takes: str
    """Rule for one target value, quoted by :meth:`check_target`, such as ``a label is 0 or 1``."""
    loss_unit: str = "nats"
    """Unit of :meth:`loss` and :meth:`reported_loss`."""
    metrics: Sequence[Metric]
    """Metrics in table order, without the loss. Set on the class, or in ``__init__`` if parameters change them."""
    headline: Sequence[str]
    """Names of the few metrics shown on a console line and in tables of many trainings."""
    selection: str
    """Metric that selects the baseline's regularisation strength on the valid split."""
    baseline_name: ClassVar[str]
    """Name of the estimator of :meth:`baseline`, such as ``logistic regression``."""
    section: ClassVar[str] = ""
    """``module:function`` that draws the task's section of a report (a ``neurozoo.reporting.runs.run_report.Section``);
    empty for none: a report then has only the metrics and curves."""

    def __init__(self, outputs: Sequence[str], per_step: bool = False) -> None:
        self.outputs, self.per_step = tuple(outputs), per_step
        self._minimised: tuple[tuple[float, Loss], ...] = ()
        if not self.outputs:
            raise DataError(f"the task {self.name} has no {self.noun}; name at least one")
        most, times = Counter(self.outputs).most_common(1)[0]
        if times > 1:
            raise DataError(f"the task {self.name} has the {self.noun} {most!r} {times} times; give each its own name")

    @property
    @abstractmethod
    def target_shape(self) -> tuple[int, ...]:
        """Axes of the target of one answer: ``(K,)`` or ``()``."""

    @property
    @abstractmethod
    def target_dtype(self) -> torch.dtype:
        """Dtype of targets in a batch."""

    @abstractmethod
    def wrong(self, target: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where values of a target of any shape are invalid."""

    @abstractmethod
    def made_up(self, *lead: int, generator: torch.Generator) -> Tensor:
        """Draw random targets ``[*lead, *target_shape]`` for dry runs and conformance tests."""

    def check_target(self, target: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> None:
        """Raise on invalid targets.

        Args:
            target: ``[S, *target_shape]``, per step ``[S, L, *target_shape]``.
            valid: ``[S, L]`` bool, True at steps to check; None for all.

        Raises:
            DataError: Wrong shape, dtype or value; names the first wrong value, its place and the rule.
        """
        shape = self.target_shape
        leading = target.ndim - len(shape)
        axes = ["S", "L"] if self.per_step else ["S"]
        if leading != len(axes) or target.shape[leading:] != shape:
            has, needed = list(target.shape), ", ".join([*axes, *map(str, shape)])
            what = f"{self.name}{' per step' if self.per_step else ''}, {len(self.outputs)} x {self.noun}"
            raise DataError(f"targets have the shape {has}; the task ({what}) takes [{needed}]")
        if target.dtype.kind not in self.kinds:
            raise DataError(f"targets are of the dtype {target.dtype}; {self.takes}")
        wrong = self.wrong(target)
        if valid is not None:
            wrong = wrong & valid.reshape(*valid.shape, *[1] * len(shape))
        if not wrong.any():
            return
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        words = [f"sample {place[0]}", *([f"step {place[1]}"] if self.per_step else [])]
        if shape:
            words.append(f"{self.noun} {self.outputs[place[-1]]!r}")
        more = f", the first of {int(wrong.sum())} such values" if wrong.sum() > 1 else ""
        raise DataError(f"the target of {', '.join(words)} is {target[place].item()}{more}; {self.takes}")

    def counted(self, outputs: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Select valid answers: outputs ``[n, K]`` and targets ``[n, *target_shape]``, in sample order.

        With ``valid`` on a GPU this synchronises, since n is data-dependent; training steps use :meth:`loss`.
        """
        if not self.per_step:
            return outputs, target
        if valid is None:
            return outputs.flatten(0, 1), target.flatten(0, 1)
        return outputs[valid], target[valid]

    def prepare(self, target: Tensor) -> None:  # noqa: B027 - a no-op by default
        """Learn from the training split's targets once, such as class weights."""

    def state(self) -> dict[str, list[float]]:
        """Return what :meth:`predict` needs of :meth:`prepare`, as JSON values, for the checkpoint's header."""
        return {}

    def load_state(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore the result of :meth:`state`.

        Raises:
            CheckpointError: The state belongs to another task.
        """
        if state:
            raise CheckpointError(
                f"the checkpoint holds {', '.join(state)} of its task, and {self.name} keeps no state; "
                "name the task that the model was trained for"
            )

    def minimise(self, losses: Sequence[tuple[float, Loss]]) -> None:
        """Let :meth:`loss` return the sum of these, each times its factor; none for the task's own objective."""
        self._minimised = tuple(losses)

    def loss(self, outputs: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the training loss, 0-d: the mean over valid answers, 0 if there are none.

        Invalid steps affect neither the loss nor any gradient, even if their outputs or targets are not finite.

        Args:
            outputs: ``[B, K]``, per step ``[B, L, K]``.
            target: ``[B, *target_shape]``, per step ``[B, L, *target_shape]``.
            valid: ``[B, L]`` bool, True at valid steps; None for all.
        """
        if not self.per_step or valid is None:
            return self.training_objective(*self.counted(outputs, target), "mean")
        # Mask instead of index: outputs[valid] would make a GPU training step synchronise.
        keep = valid.flatten()
        rows = outputs.flatten(0, 1).masked_fill(~keep[:, None], 0.0)
        goals = target.flatten(0, 1)
        goals = goals.masked_fill(~keep.reshape(-1, *[1] * (goals.dim() - 1)), 0)
        each = self.training_objective(rows, goals, "none").flatten(1)
        return (each * keep[:, None]).sum() / (keep.sum() * each.shape[1]).clamp(min=1)

    def training_objective(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return :meth:`objective`, or the losses that :meth:`minimise` chose in its place, in the same form."""
        if not self._minimised:
            return self.objective(outputs, target, reduction)
        if reduction == "mean":
            return torch.stack([weight * loss(outputs, target).mean() for weight, loss in self._minimised]).sum()
        each = [weight * loss(outputs, target) for weight, loss in self._minimised]
        # One loss per answer counts as much as the mean over its outputs.
        return torch.stack([losses.mean(1) for losses in each]).sum(0)[:, None]

    def reported_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss reported on valid and test, 0-d; comparable across the loss options of a task."""
        return self.plain(outputs, target, "mean")

    @abstractmethod
    def objective(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the recipe's loss: 0-d, or ``[n, K]`` for ``none``, or ``[n, 1]`` if there is one loss per answer."""

    @abstractmethod
    def plain(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the loss without class weights and focal factor, as :meth:`objective`."""

    @abstractmethod
    def predict(self, outputs: Tensor) -> Tensor:
        """Map outputs to predictions of the same shape: probabilities, or values in the target's unit."""

    @property
    def default_decision(self) -> Decision:
        """Decision used before :meth:`choose` has run."""
        return None

    def choose(self, target: NDArray[Any], predicted: NDArray[Any]) -> Decision:
        """Choose on the valid split how predictions become answers."""
        return self.default_decision

    @abstractmethod
    def decide(self, predicted: NDArray[Any], decision: Decision) -> NDArray[Any]:
        """Turn predictions into answers in the form of targets."""

    def constant(self, target: NDArray[Any]) -> NDArray[np.float64]:
        """Return the best constant prediction ``[n, K]``: the classes' shares, or the outputs' means."""
        columns = np.eye(len(self.outputs))[target] if self.target_shape == () else np.asarray(target, np.float64)
        return np.broadcast_to(columns.mean(0), columns.shape)

    def answer(self, predicted: NDArray[Any], decision: Decision) -> dict[str, Any]:
        """Return the answer to one sample as a JSON object; per step a list of such objects under ``steps``.

        Args:
            predicted: ``[K]``, per step ``[L, K]`` without padding.
            decision: Result of :meth:`choose`.
        """
        if self.per_step:
            return {"steps": [self.answer_of_one(each, decision) for each in predicted]}
        return self.answer_of_one(predicted, decision)

    @abstractmethod
    def answer_of_one(self, predicted: NDArray[Any], decision: Decision) -> dict[str, Any]:
        """Return one answer ``[K]`` as a JSON object."""

    def by_output(self, predicted: NDArray[Any]) -> dict[str, float]:
        """Key predictions ``[K]`` by output name."""
        return dict(zip(self.outputs, map(float, predicted), strict=True))

    def measure(
        self,
        target: NDArray[Any],
        predicted: NDArray[Any],
        decision: Decision,
        names: Collection[str] | None = None,
    ) -> dict[str, float]:
        """Compute the metrics of these names, or all; NaN for n = 0.

        Raises:
            UnknownNameError: The task has no such metric.
        """
        for name in names or ():
            self.better(name)
        wanted = [metric for metric in self.metrics if names is None or metric.name in names]
        if not len(target):
            return {metric.name: float("nan") for metric in wanted}
        return {metric.name: float(metric.compute(target, predicted, decision)) for metric in wanted}

    @property
    def definitions(self) -> dict[str, str]:
        """Definition of each metric by name, in table order."""
        return {metric.name: metric.definition for metric in self.metrics}

    @property
    def names(self) -> tuple[str, ...]:
        """Allowed values of ``training.best``: the loss and every metric."""
        return (LOSS, *(metric.name for metric in self.metrics))

    def better(self, name: str) -> Literal["higher", "lower"]:
        """Return whether higher or lower values of a metric, or of the loss, are better.

        Raises:
            UnknownNameError: The task has no such metric.
        """
        if name == LOSS:
            return "lower"
        for metric in self.metrics:
            if metric.name == name:
                return metric.better
        raise UnknownNameError(f"metric of the task {self.name}", name, self.names)

    def is_decided(self, name: str) -> bool:
        """Return whether a metric of this name depends on the decision; never if the task has none.

        Raises:
            UnknownNameError: The task has no such metric.
        """
        self.better(name)
        by_name = {metric.name: metric.decided for metric in self.metrics}
        return self.default_decision is not None and by_name.get(name, False)

    def score(self, values: Mapping[str, float], name: str) -> float:
        """Return a metric, or the loss, with its sign chosen so that larger is better; NaN if undefined.

        Args:
            values: Result of :meth:`measure`, and the loss under ``loss``.
            name: One of :attr:`names`.

        Raises:
            UnknownNameError: The task has no such metric.
        """
        return values[name] if self.better(name) == "higher" else -values[name]

    @abstractmethod
    def baseline(
        self, strength: float, features: Any, target: NDArray[Any], others: Sequence[Any]
    ) -> list[NDArray[np.float64]]:
        """Fit a linear scikit-learn estimator and predict with it.

        Args:
            strength: Inverse regularisation strength, dimensionless, above 0.
            features: ``[n, F]`` of the training split, an array or a sparse matrix.
            target: Of the training split.
            others: Features ``[m, F]`` of each set to predict.

        Returns:
            Predictions ``[m, K]`` of each of ``others``, as :meth:`predict` gives them.
        """
