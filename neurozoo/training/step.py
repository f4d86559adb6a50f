"""One step of a training: forward, loss, backward, and the optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Batch, ZooModel
from neurozoo.core.layer import record_spikes
from neurozoo.core.processes import idle, total
from neurozoo.errors import NeurozooError
from neurozoo.evaluation.health import neuron_rates, record_thresholds
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.engine import Engine
from neurozoo.training.objective import Objective, rate_penalty

__all__ = ["Stepper", "train_step"]


class Stepper:
    """Takes the steps of a training, until it is closed.

    Args:
        model: Changed in place.
        optimizer: Of its parameters.
        recipe: How.
        objective: The labels' loss; by default the recipe's, unweighted.
        engine: Device, precision and processes; by default none of its own.
    """

    def __init__(
        self,
        model: ZooModel,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        objective: Objective | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._model, self._recipe = model, recipe
        self._objective = objective or Objective(recipe.training)
        self._engine = engine or Engine.plain()
        self._recorded = _Recorded(model)
        self._forward, self._optimizer = self._engine.set_up(self._recorded, optimizer)

    def add(self, batch: Batch, *, part: float = 1.0, share: float = 1.0, last: bool = True) -> dict[str, Tensor]:
        """Add a batch's gradients to those there are.

        Args:
            batch: This process's part of it, with labels.
            part: Share of the batch's samples that it is; 0 where this process only keeps step with the others.
            share: What the batch counts in the step.
            last: Whether it is the step's last one.

        Returns:
            Loss, mean firing rate and threshold of the whole batch, 0-d, still on the device.
        """
        if batch.labels is None:
            raise NeurozooError("a batch without labels cannot be trained on")
        penalty = self._recipe.training.rate_penalty
        self._recorded.clear()
        with self._engine.gathering(self._forward, last), idle(part == 0):
            logits, spikes, thresholds = self._forward(batch.features, batch.masks)
            masks = self._model.layer_masks(batch)
            with torch.set_grad_enabled(penalty.weight > 0):
                rates = {name: neuron_rates(train, masks[name]) for name, train in spikes.items()}
            classification = self._objective(logits, batch.labels)
            loss = classification if part == 1 else classification * part
            if penalty.weight and rates:
                loss = loss + penalty.weight * rate_penalty(rates.values(), penalty.low, penalty.high)
            self._engine.backward(loss if share == 1.0 else loss * share)
        mine = [classification.detach().float() * part]
        if thresholds:
            mine.append(thresholds[-1].mean() * part)
        values = dict(zip(("loss", "threshold"), total(torch.stack(mine)), strict=False))
        if rates:
            values["rate"] = torch.stack([each.detach().mean() for each in rates.values()]).mean()
        return values

    def clear(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Clip the gradients as the recipe says, and step."""
        if self._recipe.training.gradient_clip is not None:
            self._engine.clip(self._forward, self._optimizer, self._recipe.training.gradient_clip)
        self._optimizer.step()

    def close(self) -> None:
        """Leave the model as it was, without what listened to it."""
        self._recorded.close()


def train_step(model: ZooModel, batch: Batch, optimizer: torch.optim.Optimizer, recipe: Recipe) -> dict[str, Tensor]:
    """One optimiser step by itself; returns loss, mean firing rate and threshold, 0-d, still on the device."""
    with closing(Stepper(model, optimizer, recipe)) as stepper:
        stepper.clear()
        values = stepper.add(batch)
        stepper.step()
    return values


class _Recorded(nn.Module):
    """A model's forward with what its spiking layers and thresholds gave: all that a loss may be made of.

    The hooks stay until :meth:`close`, since ``torch.compile`` cannot look through their coming and going.
    """

    def __init__(self, model: ZooModel) -> None:
        super().__init__()
        self.model = model
        self._hooks = ExitStack()
        self._spikes = self._hooks.enter_context(record_spikes(model))
        self._thresholds = self._hooks.enter_context(record_thresholds(model))

    def forward(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Any:
        # Taken apart and put together, since lightning-fabric looks for tensors in what it passes on.
        logits = self.model(Batch(features, masks))
        return logits, dict(self._spikes), list(self._thresholds)

    def clear(self) -> None:
        """Forget what other forwards of the model gave meanwhile."""
        self._spikes.clear()
        self._thresholds.clear()

    def close(self) -> None:
        """Take the hooks away."""
        self._hooks.close()
