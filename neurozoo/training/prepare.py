"""What a new model takes from the training data before its first step."""

from __future__ import annotations

from itertools import islice

import torch

from neurozoo.core.interfaces import ZooModel
from neurozoo.data.view import DataView, training_statistics
from neurozoo.nn.standardise import Standardise
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.initialisation import initialise_fluctuation_driven

__all__ = ["prepare"]


def prepare(model: ZooModel, view: DataView, recipe: Recipe) -> None:
    """Fit the feature scaling and initialise the spiking branches, as the recipe says.

    Args:
        model: Changed in place, on the device it is on.
        view: The data; only ``train`` is read.
        recipe: What to do, and the seed of the batches looked at.

    Raises:
        SpikingError: Initialisation is asked for and no training position is valid.
    """
    device = next(model.parameters()).device
    if recipe.data.standardise:
        for name, statistics in training_statistics(view).items():
            scaling = model.get_submodule(f"standardise.{name}")
            if isinstance(scaling, Standardise):
                scaling.fit(*statistics)
    chosen = recipe.training.initialisation
    if chosen.name == "fluctuation-driven":
        generator = torch.Generator().manual_seed(recipe.seed)
        batches = view.batches("train", recipe.training.batch_size, generator)
        some = [batch.to(device) for batch in islice(batches, chosen.batches)]
        initialise_fluctuation_driven(model, some, chosen.firing_rate)
