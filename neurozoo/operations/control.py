"""The same network with a ReLU for each spiking neuron: what a saving is a saving against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import ZooModel
from neurozoo.core.layer import spiking_layers
from neurozoo.models.build import assemble
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["ReLULayer", "relu_control"]

_KIND, _RELU = "activation", "relu"


class ReLULayer(nn.Module):
    """``relu(I / threshold)`` at every step, in the place of a layer of neurons that no activation holds."""

    def forward(self, currents: Tensor, threshold: Tensor | float = 1.0) -> Tensor:
        """What it gives for currents ``[T, B, ...]``."""
        return torch.relu(currents / threshold)

    def run(self, currents: Tensor, threshold: Tensor | float, state: object) -> tuple[Tensor, None]:
        """As a call; no step knows of another, so that there is nothing to carry."""
        return self(currents, threshold), None


def relu_control(model: ZooModel, recipe: Recipe, registry: Registry | None = None) -> tuple[ZooModel | None, str]:
    """A model's control with its own weights, in evaluation mode on its device; and what it is, or why there is none.

    Activations become the part ``relu``, layers of neurons outside of one :class:`ReLULayer`. It is not trained as
    such, so that its predictions are of no use; what it does is counted by running it.

    Args:
        model: A model with its weights.
        recipe: What it was made with.
        registry: Where names are looked up.
    """
    if not spiking_layers(model):
        return None, "no control: the model has no layer of spiking neurons"
    registry = registry or default_registry()
    slots = registry.resolve("model", recipe.model.name).slots
    overrides = [f"model.parts.{slot}={_RELU}" for slot, kind in slots.items() if kind == _KIND]
    other = recipe.with_overrides(overrides, registry=registry) if overrides else recipe
    control = assemble(other, model.inputs, registry=registry)
    missing, left = control.load_state_dict(model.state_dict(), strict=False)
    if missing:
        return None, f"no control: with ReLUs it would have weights that the model lacks ({', '.join(missing)})"
    for name in spiking_layers(control):
        above, _, own = name.rpartition(".")
        setattr(control.get_submodule(above), own, ReLULayer())
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    about = "the same weights with a ReLU for each spiking neuron; it is not trained so, and counted by running it"
    about += f"; it lacks the neurons' own {', '.join(left)}" if left else ""
    return control.to(device).eval(), about
