"""What a new model takes from the training data before its first step."""

from __future__ import annotations

import torch

from neurozoo.core.model import Model, Standardise, Trained, trained_modules
from neurozoo.data.view import DataView, training_statistics
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.initialisation import initialise_fluctuation_driven

__all__ = ["prepare", "prepare_task"]


def prepare(model: Model, view: DataView, recipe: Recipe) -> None:
    """Show a new model the training targets, fit its feature scaling and initialise its layers, as the recipe says.

    Args:
        model: Changed in place, on the device it is on.
        view: The data; only ``train`` is read.
        recipe: What to do, and the seed of the samples looked at.

    Raises:
        SpikingError: Initialisation is asked for and no training position is valid.
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
        size = recipe.training.batch_size * chosen.batches
        some = next(iter(view.batches("train", size, generator))).to(device)
        initialise_fluctuation_driven(model, some, chosen.firing_rate)


def prepare_task(model: Model, view: DataView, device: torch.device) -> None:
    """Show the model's task the training targets, such as for class weights; whenever a training begins or goes on."""
    train, task = view.split("train"), model.problem.task
    target = train.target.to(device)
    if task.per_step:
        valid = train.target_valid
        target = target.flatten(0, 1) if valid is None else target[valid.to(device)]
    task.prepare(target)
