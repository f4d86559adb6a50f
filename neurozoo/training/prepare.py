"""Prepare a new model on the training data: its targets, statistics of its features, initialisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from neurozoo.core.model import Model, Standardise, Trained, trained_modules
from neurozoo.core.recording import spiking_layers
from neurozoo.data.view import DataView, training_statistics
from neurozoo.errors import SpikingError
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.initialisation import initialise_fluctuation_driven
from neurozoo.training.penalties import penalties_of

__all__ = ["check_recorded", "prepare", "prepare_task"]


def prepare(model: Model, view: DataView, recipe: Recipe) -> None:
    """Show a new model the training targets, fit its feature scaling and initialise its layers, as the recipe says.

    The model is changed in place, on its device; of the data only ``train`` is read. The recipe's seed chooses the
    samples for the initialisation.

    Raises:
        SpikingError: The recipe asks for initialisation and no training position is valid.
    """
    device = next(model.parameters()).device
    train = view.split("train")
    target = train.target.to(device)
    valid = None if train.target_valid is None else train.target_valid.to(device)
    with torch.no_grad():
        for _, module in trained_modules(model):
            if type(module).prepare is not Trained.prepare:
                module.prepare(target, valid)
    if model.problem.standardise:
        for name, statistics in training_statistics(view).items():
            scaling = model.standardise[name]
            assert isinstance(scaling, Standardise)
            scaling.fit(*statistics)
    chosen = recipe.training.initialisation
    if chosen.name == "fluctuation-driven":
        generator = torch.Generator().manual_seed(recipe.seed)
        size = min(recipe.training.batch_size * chosen.batches, len(train))
        some = next(iter(view.batches("train", size, generator))).to(device)
        initialise_fluctuation_driven(model, some, chosen.firing_rate)


def check_recorded(model: Model, recipe: Recipe, unseen: Sequence[str]) -> None:
    """Refuse a training that acts on firing rates, of a model all of whose spikes are hidden from it.

    ``unseen`` is what :func:`~neurozoo.evaluation.health.unseen_spikes` found.

    Raises:
        SpikingError: The recipe has a rate penalty or initialises by firing rates; the model has spikes, and no
            :class:`~neurozoo.core.layer.SpikingLayer`.
    """
    chosen = recipe.training
    acts = bool(penalties_of(chosen)) or chosen.initialisation.name == "fluctuation-driven"
    if unseen and acts and not spiking_layers(model):
        raise SpikingError(
            f"{unseen[0]}, or set training.rate_penalty.weight=0 and training.initialisation={{name: default}}"
        )


def prepare_task(model: Model, view: DataView, device: torch.device) -> None:
    """Show the model's task the training targets, such as for class weights; a resumed training needs it too."""
    train, task = view.split("train"), model.problem.task
    target = train.target.to(device)
    if task.per_step:
        valid = train.target_valid
        target = target.flatten(0, 1) if valid is None else target[valid.to(device)]
    task.prepare(target)
