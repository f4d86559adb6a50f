"""One step of a training: forward, loss, backward, and the optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing
from neurozoo.core.model import Model, Trained, trained_modules
from neurozoo.core.processes import idle, total
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import NeurozooError
from neurozoo.evaluation.health import firing_rates, thresholds_of
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.engine import Engine

__all__ = ["Stepper", "rate_penalty", "train_step"]


class Stepper:
    """Takes optimiser steps, and records the model's firings until it is closed.

    Args:
        model: Changed in place; its task gives the loss.
        optimizer: Of its parameters.
        recipe: How to train.
        engine: Device, precision and processes; by default this process in float32.
    """

    def __init__(
        self, model: Model, optimizer: torch.optim.Optimizer, recipe: Recipe, engine: Engine | None = None
    ) -> None:
        self._model, self._recipe, self._task = model, recipe, model.problem.task
        self._engine = engine or Engine(torch.device("cpu"))
        self._recorded = _Recorded(model)
        self._forward, self._optimizer = self._engine.set_up(self._recorded, optimizer)
        modules = [module for _, module in trained_modules(model)]
        self._with_losses = [each for each in modules if type(each).losses is not Trained.losses]
        self._with_limits = [each for each in modules if type(each).after_step is not Trained.after_step]

    def add(self, batch: Batch, *, part: float = 1.0, share: float = 1.0, last: bool = True) -> dict[str, Tensor]:
        """Accumulate a batch's gradients.

        Args:
            batch: This process's part of the batch, with targets.
            part: Its share of the batch's samples; 0 if this process only keeps step with the others.
            share: Weight of the batch in the step.
            last: Whether it is the step's last batch.

        Returns:
            Loss, mean firing rate, threshold and the terms that modules add, of the whole batch, 0-d, still on the
            device.
        """
        if batch.target is None:
            raise NeurozooError("a batch without targets cannot be trained on")
        penalty = self._recipe.training.rate_penalty
        counts = self._share_of_steps(batch) if part != 1 else None
        weight = part if counts is None else counts
        self._recorded.clear()
        with self._engine.gathering(self._forward, last), idle(part == 0):
            values = {name: signal.values for name, signal in batch.signals.items()}
            valid = {name: signal.valid for name, signal in batch.signals.items() if signal.valid is not None}
            outputs, fired = self._forward(values, valid, batch.target)
            firings = {name: Firing(*each) for name, each in fired.items()}
            with torch.set_grad_enabled(penalty.weight > 0):
                rates = {name: firing_rates(firing) for name, firing in firings.items()}
            task_loss = self._task.loss(outputs, batch.target, batch.target_valid)
            loss = task_loss if part == 1 else task_loss * weight
            terms: dict[str, Tensor] = {}
            for module in self._with_losses:
                for name, term in module.losses(batch.target).items():
                    terms[name] = terms[name] + term if name in terms else term
            for term in terms.values():
                loss = loss + (term if part == 1 else term * weight)
            if penalty.weight and rates:
                loss = loss + penalty.weight * rate_penalty(rates.values(), penalty.low, penalty.high)
            self._engine.backward(loss if share == 1.0 else loss * share)
        mine = {"loss": task_loss.detach().float() * weight}
        if (threshold := thresholds_of(firings)) is not None:
            mine["threshold"] = threshold.mean() * part
        mine |= {name: term.detach().float() * part for name, term in terms.items()}
        whole = dict(zip(mine, total(torch.stack(list(mine.values()))), strict=True))
        if rates:
            whole["rate"] = torch.stack([each.detach().mean() for each in rates.values()]).mean()
        return whole

    def _share_of_steps(self, batch: Batch) -> Tensor | None:
        """Return this process's share of the whole batch's steps, 0-d; None if samples are counted."""
        if not self._task.per_step or batch.target_valid is None:
            return None
        mine = batch.target_valid.sum().to(torch.get_default_dtype())
        return mine / total(mine).clamp(min=1)

    def clear(self) -> None:
        """Clear the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Clip the gradients as the recipe says, step, and let modules constrain their parameters."""
        if self._recipe.training.gradient_clip is not None:
            self._engine.clip(self._forward, self._optimizer, self._recipe.training.gradient_clip)
        self._optimizer.step()
        with torch.no_grad():
            for module in self._with_limits:
                module.after_step()

    def close(self) -> None:
        """Detach the recorder from the model."""
        self._recorded.close()


def train_step(model: Model, batch: Batch, optimizer: torch.optim.Optimizer, recipe: Recipe) -> dict[str, Tensor]:
    """Take one optimiser step; returns loss, mean firing rate and threshold, 0-d, still on the device."""
    with closing(Stepper(model, optimizer, recipe)) as stepper:
        stepper.clear()
        values = stepper.add(batch)
        stepper.step()
    return values


def rate_penalty(rates: Iterable[Tensor], low: float, high: float) -> Tensor | float:
    """``sum over neurons of relu(low - r)^2 + relu(r - high)^2``, dimensionless.

    Args:
        rates: Of each spiking layer the firing rates ``[N]``, in spikes a step.
        low: Rate below which a neuron is pushed up, in spikes a step.
        high: Rate above which it is pushed down.
    """
    penalty: Tensor | float = 0.0
    for each in rates:
        penalty = penalty + (torch.relu(low - each).square() + torch.relu(each - high).square()).sum()
    return penalty


class _Recorded(nn.Module):
    """A model whose forward also returns the firings of its spiking layers.

    The recorder stays attached until :meth:`close`, as ``torch.compile`` cannot trace attaching it.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self._spiking = tuple(spiking_layers(model))
        self._open = ExitStack()
        self._firings = self._open.enter_context(recorded(model))

    def forward(self, values: Mapping[str, Tensor], valid: Mapping[str, Tensor], target: Tensor) -> Any:
        # Plain containers: lightning-fabric searches arguments and results for tensors and refuses frozen dataclasses.
        signals = {name: Signal(x, valid.get(name)) for name, x in values.items()}
        outputs = self.model(Batch(signals, target))
        fired = {name: self._firings[name] for name in self._spiking if name in self._firings}
        return outputs, {name: (f.currents, f.spikes, f.threshold, f.valid, f.gain) for name, f in fired.items()}

    def clear(self) -> None:
        """Drop firings of other forwards of the model."""
        self._firings.clear()

    def close(self) -> None:
        """Detach the recorder."""
        self._open.close()
