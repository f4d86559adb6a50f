"""What a recipe's schedules make of the learning rates, after each epoch or each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch

from neurozoo.recipe.recipe import Recipe
from neurozoo.recipe.schema import Scheduler

__all__ = ["Schedule", "momentum_at", "rate_at"]

_PLATEAU = 1e-4
"""Share by which a metric has to improve for a plateau to end, as in torch."""
_SMALLEST = 1e-8
"""Smallest change of a rate that a plateau makes, as in torch."""


class Schedule:
    """The learning rate of each epoch or step, in each group of an optimiser.

    Args:
        recipe: Says how; ``optimizer.groups`` may have schedules of their own.
        optimizer: Made by :func:`~neurozoo.training.optimizer.make_optimizer` of the recipe; its rates are set.
        steps: Steps of the optimiser in an epoch.
        better: Whether higher or lower values of the metric that ``plateau`` watches are better.
    """

    def __init__(
        self,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        steps: int = 1,
        better: Literal["higher", "lower"] = "lower",
    ) -> None:
        training = recipe.training
        self._optimizer, self._chosen, self._better = optimizer, training.scheduler, better
        self._length, self._epochs = max(steps, 1), training.epochs
        own = {role: group.scheduler for role, group in training.optimizer.groups.items()}
        self._schedulers = [own.get(group.get("role", "")) or training.scheduler for group in optimizer.param_groups]
        self._full = [float(group["lr"]) for group in optimizer.param_groups]
        self._epoch = self._step = self._bad = 0
        self._best: float | None = None
        self._move("epoch", 0)
        self._move("step", 0)

    def after_step(self) -> None:
        """Set the rates of the next step of the optimiser."""
        self._step += 1
        self._move("step", self._step)

    def after_epoch(self, metric: float) -> None:
        """Set the rates of the next epoch, given the watched metric on valid."""
        self._epoch += 1
        self._move("epoch", self._epoch)
        if self._chosen.name == "plateau":
            self._watch(metric)

    def _move(self, each: Literal["epoch", "step"], count: int) -> None:
        length = 1 if each == "epoch" else self._length
        for scheduler, full, group in zip(self._schedulers, self._full, self._optimizer.param_groups, strict=True):
            if scheduler.each != each or scheduler.name == "plateau":
                continue
            group["lr"] = rate_at(scheduler, full, count, length, self._epochs)
            if scheduler.momentum is not None:
                momentum = momentum_at(scheduler, scheduler.momentum, count, length * self._epochs)
                if "betas" in group:
                    group["betas"] = (momentum, group["betas"][1])
                else:
                    group["momentum"] = momentum

    def _watch(self, metric: float) -> None:
        """Let the rates fall if the metric did not improve for too long, as torch's ``ReduceLROnPlateau``."""
        best, lower = self._best, self._better == "lower"
        if best is None:
            improved = math.isfinite(metric)
        else:
            improved = metric < best * (1 - _PLATEAU) if lower else metric > best * (1 + _PLATEAU)
        self._best, self._bad = (metric, 0) if improved else (best, self._bad + 1)
        if self._bad <= self._chosen.patience:
            return
        self._bad = 0
        for scheduler, group in zip(self._schedulers, self._optimizer.param_groups, strict=True):
            rate = max(group["lr"] * scheduler.factor, scheduler.minimum or 0.0)
            if scheduler.name == "plateau" and group["lr"] - rate > _SMALLEST:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes; the rates themselves are part of the optimiser's state."""
        return {"last_epoch": self._epoch, "steps": self._step, "best": self._best, "num_bad_epochs": self._bad}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, or from that of torch's schedulers, which earlier versions kept."""
        self._epoch, self._step = state["last_epoch"], state.get("steps", 0)
        best, self._bad = state.get("best"), state.get("num_bad_epochs", 0)
        self._best = best if best is not None and math.isfinite(best) else None


def rate_at(scheduler: Scheduler, full: float, count: int, length: int, epochs: int) -> float:
    """Return the learning rate after ``count`` epochs or steps.

    Args:
        scheduler: Any but ``plateau``.
        full: The recipe's learning rate.
        count: Epochs or steps that are done.
        length: Steps of an epoch; 1 if epochs are counted.
        epochs: Epochs of the training.
    """
    if scheduler.name == "one-cycle":
        first = full / 25 if scheduler.warmup_from is None else scheduler.warmup_from
        last = first / 1e4 if scheduler.minimum is None else scheduler.minimum
        return _cycle(scheduler, (first, full, last), count, length * epochs)
    at, stair, warmup = count / length, 1 / length, scheduler.warmup
    if at < warmup:
        if scheduler.warmup_from is None:
            return full * ((at + stair) / (warmup + stair))
        return scheduler.warmup_from + (full - scheduler.warmup_from) * at / warmup
    if scheduler.from_start:
        warmup = 0
    at -= warmup
    period = scheduler.period or max(epochs - warmup, 1)
    if scheduler.name == "step":
        return float(full * scheduler.factor ** (at // scheduler.every))
    if scheduler.name == "exponential":
        if scheduler.minimum is None:
            return float(full * scheduler.factor**at)
        return float(full * (scheduler.minimum / full) ** min(at / period, 1.0))
    if scheduler.name == "linear":
        minimum = scheduler.minimum or 0.0
        return minimum + (full - minimum) * (1 - min(at / period, 1.0))
    if scheduler.name == "cosine":
        if scheduler.then == "stay":
            at = min(at, period)
        elif scheduler.then == "restart":
            at %= period
        minimum = scheduler.minimum or 0.0
        return minimum + (full - minimum) * ((1 + math.cos(math.pi * at / period)) / 2)
    return full


def momentum_at(scheduler: Scheduler, bounds: tuple[float, float], count: int, total: int) -> float:
    """Return the momentum of ``one-cycle``, between low and high, after ``count`` of ``total`` epochs or steps."""
    low, high = bounds
    return _cycle(scheduler, (high, low, high), count, total)


def _cycle(scheduler: Scheduler, values: tuple[float, float, float], count: int, total: int) -> float:
    """Return a value that moves from the first to the second and on to the third along half waves."""
    middle, end = max(scheduler.rise * total - 1, 0.0), max(total - 1, 1)
    if count <= middle:
        before, after, share = values[0], values[1], count / middle if middle else 1.0
    else:
        before, after, share = values[1], values[2], min((count - middle) / (end - middle), 1.0)
    return after + (before - after) / 2 * (1 + math.cos(math.pi * share))
