"""Regression: K quantities, such as valence and arousal, or the next values of a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from neurozoo.core.task import Decision, Metric, Reduction, Task
from neurozoo.errors import CheckpointError
from neurozoo.tasks.losses import REGRESSION, Options, RegressionLoss

__all__ = ["METRICS", "Regression"]

Positive = Annotated[float, Field(gt=0, le=1e30)]


def mae(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    return float(np.abs(_wide(predicted) - _wide(target)).mean())


def rmse(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    return float(np.sqrt(np.square(_wide(predicted) - _wide(target)).mean()))


def r2(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    y, p = _varying(target, predicted)
    left, all_of_it = np.square(y - p).sum(0), np.square(y - y.mean(0)).sum(0)
    return _mean(1 - left / all_of_it)


def pearson(target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> float:
    y, p = _varying(target, predicted)
    still = np.ptp(p, axis=0) == 0
    y, p = y - y.mean(0), p - p.mean(0)
    size = np.linalg.norm(y, axis=0) * np.linalg.norm(p, axis=0)
    together = np.divide((y * p).sum(0), size, out=np.zeros_like(size), where=~still & (size != 0))
    return _mean(together.clip(-1, 1))


METRICS = (
    Metric(
        "mae", "mean of |prediction - target| over samples, or steps, and quantities", "lower", mae, "target", "MAE"
    ),
    Metric(
        "rmse",
        "root of the mean of (prediction - target)^2 over samples, or steps, and quantities",
        "lower",
        rmse,
        "target",
        "RMSE",
    ),
    Metric(
        "r2",
        "share of the variance explained, 1 - squared errors / squared distances from the mean, mean over the "
        "quantities whose target varies; NaN where none does",
        "higher",
        r2,
        title="R²",
    ),
    Metric(
        "pearson",
        "Pearson's correlation, mean over the quantities whose target varies, 0 for one that is predicted constant; "
        "NaN where no target varies",
        "higher",
        pearson,
        title="Pearson's r",
    ),
)


class Regression(Task):
    """Predict K quantities. The target is a finite number for each, in its own unit.

    Args:
        outputs: Names of the quantities.
        per_step: Whether the model answers at each step.
        loss: ``mse``, ``mae`` or ``huber``; also the reported loss.
        delta: Error at which ``huber`` changes from quadratic to linear, in standard deviations if targets are
            standardised, else in the unit of the target.
        standardise: Whether outputs are ``(target - mean) / deviation`` by the training split's statistics, and losses
            are computed on these. Predictions and metrics are in the target's unit in both cases.
    """

    name = "regression"
    target_dtype = torch.float32
    noun = "quantity"
    kinds = "fiu"
    takes = "a quantity is a finite number"
    metrics = METRICS
    headline = ("rmse", "r2")
    selection = "rmse"
    baseline_name = "ridge regression"
    section = "neurozoo.reporting.quantities:section"

    def __init__(
        self,
        outputs: Sequence[str],
        per_step: bool = False,
        *,
        loss: RegressionLoss = "mse",
        delta: Positive = 1.0,
        standardise: bool = True,
    ) -> None:
        super().__init__(outputs, per_step)
        self._objective, self._options, self._standardise = REGRESSION[loss], Options(delta=delta), standardise
        unit = "deviations" if standardise else "target"
        self.loss_unit = unit if loss == "mae" else f"{unit}^2"
        self._mean, self._std = torch.zeros(len(self.outputs)), torch.ones(len(self.outputs))

    @property
    def target_shape(self) -> tuple[int, ...]:
        """``(K,)``."""
        return (len(self.outputs),)

    def wrong(self, target: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark NaN and infinite values."""
        wrong: NDArray[np.bool_] = ~np.isfinite(target)
        return wrong

    def made_up(self, *lead: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal values."""
        return torch.randn(*lead, len(self.outputs), generator=generator)

    def prepare(self, target: Tensor) -> None:
        """Compute mean and standard deviation of each quantity if standardising; 1 for the deviation of a constant."""
        if not self._standardise or not len(target):
            return
        wide = target.cpu().double()  # on the CPU, so that every device gets the same statistics
        std = wide.std(0, correction=0).float()
        self._mean = wide.mean(0).float()
        # The deviation of a constant may round to above 0, and a tiny one may underflow in float32.
        self._std = torch.where((wide.amax(0) > wide.amin(0)) & (std > 0), std, 1.0)

    def state(self) -> dict[str, list[float]]:
        """Return ``mean`` and ``std`` of each quantity in its unit; empty if targets are not standardised."""
        return {"mean": self._mean.tolist(), "std": self._std.tolist()} if self._standardise else {}

    def load_state(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore the result of :meth:`state`.

        Raises:
            CheckpointError: ``mean`` and ``std`` are not K numbers each, or are there without standardising.
        """
        if not self._standardise:
            super().load_state(state)
            return
        has = {name: len(numbers) for name, numbers in state.items()}
        if has != dict.fromkeys(("mean", "std"), len(self.outputs)):
            found = ", ".join(f"{name} [{n}]" for name, n in has.items()) or "nothing"
            raise CheckpointError(
                f"the checkpoint holds {found} of its task, and regression with standardised targets needs mean and "
                f"std of {len(self.outputs)} quantities; name the task that the model was trained for"
            )
        self._mean, self._std = torch.tensor(state["mean"]), torch.tensor(state["std"])

    def objective(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the recipe's loss in :attr:`loss_unit`."""
        if self._standardise:
            self._follow(outputs)
            target = (target - self._mean) / self._std
        return self._objective(outputs, target, self._options, reduction)

    def plain(self, outputs: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        """Return the same loss, since regression has no weights."""
        return self.objective(outputs, target, reduction)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return values in the target's unit."""
        if not self._standardise:
            return outputs
        self._follow(outputs)
        return outputs * self._std + self._mean

    def decide(self, predicted: NDArray[Any], decision: Decision) -> NDArray[Any]:
        """Return the values unchanged."""
        return predicted

    def answer_of_one(self, predicted: NDArray[Any], decision: Decision) -> dict[str, Any]:
        """Return ``values`` by quantity, in the target's unit."""
        return {"values": self.by_output(predicted)}

    def baseline(
        self, strength: float, features: Any, target: NDArray[Any], others: Sequence[Any]
    ) -> list[NDArray[np.float64]]:
        """Fit ridge regression with the penalty ``1 / strength`` and an unpenalised intercept."""
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1 / strength).fit(features, target)
        return [np.asarray(model.predict(x), dtype=np.float64).reshape(x.shape[0], len(self.outputs)) for x in others]

    def _follow(self, outputs: Tensor) -> None:
        """Move mean and deviation to the outputs' device."""
        if self._mean.device != outputs.device:
            self._mean, self._std = self._mean.to(outputs.device), self._std.to(outputs.device)


def _wide(values: NDArray[Any]) -> NDArray[np.float64]:
    """Convert to float64, since squares of float32 values may overflow."""
    return np.asarray(values, dtype=np.float64)


def _varying(target: NDArray[Any], predicted: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Select the quantities whose target varies, ``[n, k]`` each."""
    y, p = _wide(target), _wide(predicted)
    varies = np.ptp(y, axis=0) > 0
    return y[:, varies], p[:, varies]


def _mean(by_quantity: NDArray[np.float64]) -> float:
    return float(by_quantity.mean()) if by_quantity.size else float("nan")
