"""One step of a training: forward, loss, backward, and the optimiser."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, closing
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Counts, Firing
from neurozoo.core.model import Model, Trained, trained_modules
from neurozoo.core.processes import idle, total
from neurozoo.core.recording import frozen_statistics, recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import NeurozooError
from neurozoo.evaluation.health import firing_rates, thresholds_of
from neurozoo.models.stepwise import recompute
from neurozoo.nn.fan_out import FanOut, fan_outs
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.augmentation import Augmenter, Mixed
from neurozoo.training.engine import Engine
from neurozoo.training.penalties import check_fan_outs, check_layers, operations, penalties_of, penalty

__all__ = ["Stepper", "train_step"]


class Stepper:
    """Takes optimiser steps, and records the model's firings until it is closed.

    Args:
        model: Changed in place; its task gives the loss.
        optimizer: Of its parameters.
        recipe: How to train.
        engine: Device, precision and processes; by default this process in float32.
        events: Names of the signals that are stored as events, which are augmented when they are read; by default all
            that the recipe represents.

    Raises:
        UserError: The recipe penalises a layer that the model does not have, or augments signals that it cannot.
    """

    def __init__(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        engine: Engine | None = None,
        events: Collection[str] | None = None,
    ) -> None:
        self._model, self._recipe, self._task = model, recipe, model.problem.task
        self._engine = engine or Engine(torch.device("cpu"))
        self._augment = Augmenter(
            recipe.training.augment,
            model.problem.signals,
            self._task.per_step,
            recipe.data.represent if events is None else events,
        )
        self._penalties = penalties_of(recipe.training)
        check_layers(self._penalties, spiking_layers(model))
        if recipe.training.recompute is not None:
            recompute(model, recipe.training.recompute)
        self._counts = any(each.name == "operations" for each in self._penalties.values())
        self._fan_outs: Mapping[str, FanOut] | None = None
        self._recorded = _Recorded(model)
        self._forward, self._optimizer = self._engine.set_up(self._recorded, optimizer)
        modules = [module for _, module in trained_modules(model)]
        self._with_losses = [each for each in modules if type(each).losses is not Trained.losses]
        self._with_limits = [each for each in modules if type(each).after_step is not Trained.after_step]

    def add(
        self, batch: Batch, *, epoch: int = 1, part: float = 1.0, share: float = 1.0, last: bool = True
    ) -> dict[str, Tensor]:
        """Augment a batch and accumulate its gradients.

        Args:
            batch: This process's part of the batch, with targets.
            epoch: In which augmentations may end, from 1.
            part: Its share of the batch's samples; 0 if this process only keeps step with the others.
            share: Weight of the batch in the step.
            last: Whether it is the step's last batch.

        Returns:
            Loss, the terms that modules and penalties add to it, mean firing rate and threshold, and if they are
            penalised the operations a sample that spikes cause; of the whole batch, 0-d, still on the device.
        """
        batch = self._augment(batch, epoch)
        counts = self._share_of_steps(batch) if part != 1 else None
        weight = part if counts is None else counts
        with self._engine.gathering(self._forward, last), idle(part == 0):
            task_loss, terms, penalties, rates, firings = self._forwarded(batch)
            loss = task_loss if part == 1 else task_loss * weight
            for term in terms.values():
                loss = loss + (term if part == 1 else term * weight)
            for each in penalties.values():  # of all processes together
                loss = loss + each
            self._engine.backward(loss if share == 1.0 else loss * share)
        mine = {"loss": task_loss.detach().float() * weight}
        if (threshold := thresholds_of(firings)) is not None:
            mine["threshold"] = threshold.mean() * part
        mine |= {name: term.detach().float() * part for name, term in terms.items()}
        whole = dict(zip(mine, total(torch.stack(list(mine.values()))), strict=True))
        whole |= {name: each.detach().float() for name, each in penalties.items()}
        if rates:
            whole["rate"] = torch.stack([each.detach().mean() for each in rates.values()]).mean()
        if self._fan_outs is not None:
            with torch.no_grad(), idle(part == 0):
                whole["operations"] = torch.as_tensor(operations(rates, firings, self._fan_outs)).float()
        return whole

    def gradient_norms(self, batch: Batch) -> dict[str, float]:
        """Return the norm of the gradient of the loss and of each term that is added to it, by name.

        Nothing is accumulated, and running statistics are restored; for one process.

        Args:
            batch: With targets.
        """
        parameters = [each for each in self._model.parameters() if each.requires_grad]
        norms = {}
        with frozen_statistics(self._model):
            task_loss, terms, penalties, _, _ = self._forwarded(batch)
            for name, term in {"loss": task_loss, **terms, **penalties}.items():
                found: tuple[Tensor | None, ...] = ()
                if term.requires_grad:
                    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
                norms[name] = sum(float(each.square().sum()) for each in found if each is not None) ** 0.5
        return norms

    def _forwarded(
        self, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], dict[str, Firing]]:
        """Return the task's loss, the modules' terms, the penalties, the firing rates and the firings of a forward."""
        if batch.target is None:
            raise NeurozooError("a batch without targets cannot be trained on")
        if self._counts and self._fan_outs is None:
            self._fan_outs = fan_outs(self._model, batch.rows(0, 2))
            check_fan_outs(self._penalties, self._fan_outs)
        self._recorded.clear()
        values = {name: signal.values for name, signal in batch.signals.items()}
        valid = {name: signal.valid for name, signal in batch.signals.items() if signal.valid is not None}
        outputs, fired = self._forward(values, valid, batch.target)
        firings = {name: _of_tuple(each) for name, each in fired.items()}
        with torch.set_grad_enabled(bool(self._penalties)):
            rates = {name: firing_rates(firing) for name, firing in firings.items()}
        task_loss = self._task.loss(outputs, batch.target, batch.target_valid)
        if isinstance(batch, Mixed):
            partner_loss = self._task.loss(outputs, batch.partner, batch.partner_valid)
            task_loss = batch.share * task_loss + (1 - batch.share) * partner_loss
            of_partners = _terms(map(_twin, self._with_losses), batch.partner)
            terms = _terms(self._with_losses, batch.target)
            if terms.keys() != of_partners.keys():
                raise NeurozooError(
                    f"for the mixed samples' other targets the loss terms are {', '.join(of_partners) or 'none'}, and "
                    f"for their own {', '.join(terms) or 'none'}; let losses return the same names for both"
                )
            for name, term in of_partners.items():
                terms[name] = batch.share * terms[name] + (1 - batch.share) * term
        else:
            terms = _terms(self._with_losses, batch.target)
        made = {
            name if name not in terms else f"training_{name}": penalty(each, rates, firings, self._fan_outs)
            for name, each in self._penalties.items()
        }
        # A number means that none of its layers ran.
        penalties = {name: each for name, each in made.items() if isinstance(each, Tensor)}
        return task_loss, terms, penalties, rates, firings

    def _share_of_steps(self, batch: Batch) -> Tensor | None:
        """Return this process's share of the whole batch's steps, 0-d; None if samples are counted."""
        if not self._task.per_step or batch.target_valid is None:
            return None
        # The partners of mixed samples are in the same part, so that they count as many steps.
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
        recompute(self._model, None)


def train_step(model: Model, batch: Batch, optimizer: torch.optim.Optimizer, recipe: Recipe) -> dict[str, Tensor]:
    """Take one optimiser step; returns loss, mean firing rate and threshold, 0-d, still on the device."""
    with closing(Stepper(model, optimizer, recipe)) as stepper:
        stepper.clear()
        values = stepper.add(batch)
        stepper.step()
    return values


def _terms(modules: Iterable[Trained], target: Tensor) -> dict[str, Tensor]:
    """Return the terms that modules add to the loss, by name."""
    terms: dict[str, Tensor] = {}
    for module in modules:
        for name, term in module.losses(target).items():
            terms[name] = terms[name] + term if name in terms else term
    return terms


def _twin(module: Trained) -> Trained:
    """Return a module that shares everything, but keeps its attributes and the entries of its dictionaries itself.

    Its ``losses`` may drop what the forward kept, and the module still has it.
    """
    twin = copy.copy(module)
    vars(twin).update({name: copy.copy(each) for name, each in vars(module).items() if isinstance(each, dict)})
    return twin


def _as_tuple(firing: Firing) -> tuple[Any, ...]:
    counts = firing.counts and tuple(firing.counts)
    return firing.currents, firing.spikes, firing.threshold, firing.valid, firing.gain, counts


def _of_tuple(values: tuple[Any, ...]) -> Firing:
    currents, spikes, threshold, valid, gain, counts = values
    return Firing(currents, spikes, threshold, valid, gain, counts=counts and Counts(*counts))


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
        return outputs, {name: _as_tuple(firing) for name, firing in fired.items()}

    def clear(self) -> None:
        """Drop firings of other forwards of the model."""
        self._firings.clear()

    def close(self) -> None:
        """Detach the recorder."""
        self._open.close()
