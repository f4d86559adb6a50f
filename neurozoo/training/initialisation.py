"""Fluctuation-driven initialisation: a spiking branch that is awake from the first batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from neurozoo.errors import SpikingError
from neurozoo.interfaces import Activation, Batch, ZooModel
from neurozoo.nn.neurons import spiking_layers
from neurozoo.training.health import frozen_statistics

__all__ = ["initialise_fluctuation_driven"]

_SILENT = 1e-6


@torch.no_grad()
def initialise_fluctuation_driven(model: ZooModel, batches: Sequence[Batch], rate: float) -> dict[str, float]:
    """Scale and shift each spiking layer's linear, once, so that about ``rate`` of its steps fire.

    Layer by layer, on training batches: each neuron's current gets mean 0 over valid positions
    and steps, and all of a layer one deviation, found by bisection on the layer's own firing at
    threshold 1 (after Rossbroich, Gygax & Zenke 2022: the fluctuations drive it, not
    the mean). The control without spikes gets deviation 1.

    Args:
        model: Changed in place; its running statistics stay as they are.
        batches: Of the training split.
        rate: Wanted firing rate, in spikes a step, between 0 and 1.

    Returns:
        The rate reached, by the activation's name.

    Raises:
        SpikingError: No position is valid in any batch.
    """
    names = {id(module): name for name, module in model.named_modules()}
    training = model.training
    model.eval()
    reached: dict[str, float] = {}
    with frozen_statistics(model):
        branches = list(model.branches_by_name().values())
        for layer in range(max((len(stages) for stages in branches), default=0)):
            stage = {names[id(stages[layer][1])]: stages[layer] for stages in branches}
            currents = _currents(model, {name: activation for name, (_, activation) in stage.items()}, batches)
            for name, (linear, activation) in stage.items():
                reached[name] = _calibrate(linear, activation, currents[name], rate)
    model.train(training)
    return reached


def _currents(model: ZooModel, activations: Mapping[str, Activation], batches: Sequence[Batch]) -> dict[str, Tensor]:
    """The activations' inputs at valid positions, ``[T, positions, 1, N]`` each."""
    seen: dict[str, list[Tensor]] = {name: [] for name in activations}
    for batch in batches:
        masks = model.layer_masks(batch)

        def keep(name: str, mask: Tensor | None) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                flat = inputs[0].flatten(1, 2)  # [T, B L, N]
                seen[name].append(flat if mask is None else flat[:, mask.flatten()])

            return hook

        handles = [each.register_forward_pre_hook(keep(name, masks[name])) for name, each in activations.items()]
        try:
            model(batch)
        finally:
            for handle in handles:
                handle.remove()
    currents = {name: torch.cat(parts, dim=1)[:, :, None] for name, parts in seen.items()}
    for name, current in currents.items():
        if current.shape[1] == 0:
            raise SpikingError(f"{name}: no position of the training batches is valid, so it cannot be initialised")
    return currents


def _calibrate(linear: nn.Linear, activation: Activation, currents: Tensor, rate: float) -> float:
    mean = currents.mean((0, 1, 2))
    deviation = currents.std((0, 1, 2), unbiased=False)
    # A neuron whose current never changes is centred, and scaled as if it had deviation 1.
    deviation = torch.where(deviation > _SILENT, deviation, torch.ones_like(deviation))
    unit = (currents - mean) / deviation
    one = torch.ones((), dtype=currents.dtype, device=currents.device)
    scale, fired = 1.0, float("nan")
    if spiking_layers(activation):
        low, high = 0.0, 64.0
        for _ in range(16):
            scale = (low + high) / 2
            fired = float(activation(unit * scale, one).mean())
            low, high = (scale, high) if fired < rate else (low, scale)
    gain = scale / deviation
    linear.weight.mul_(gain[:, None])
    linear.bias.sub_(mean).mul_(gain)
    return fired
