"""Fluctuation-driven initialisation: a spiking branch that is awake from the first batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Activation, Batch, ZooModel
from neurozoo.core.layer import spiking_layers
from neurozoo.errors import SpikingError
from neurozoo.nn.running import frozen_statistics

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
                reached[name] = _calibrate(linear, activation, *currents[name], rate)
    model.train(training)
    return reached


def _currents(
    model: ZooModel, activations: Mapping[str, Activation], batches: Sequence[Batch]
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """The activations' inputs, ``[T, positions, 1, N]`` each, and which ``[T, positions, 1]`` of them count.

    The latter only where the sequence is the steps; else the positions are the valid ones.
    """
    seen: dict[str, list[tuple[Tensor, Tensor | None]]] = {name: [] for name in activations}
    for batch in batches:
        masks = model.layer_masks(batch)

        def keep(name: str, mask: Tensor | None) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                current = inputs[0]
                if mask is None or mask.dim() == 2:
                    flat = current.flatten(1, 2)  # [T, B L, N]
                    seen[name].append(((flat if mask is None else flat[:, mask.flatten()])[:, :, None], None))
                else:
                    seen[name].append((current, mask))

            return hook

        handles = [each.register_forward_pre_hook(keep(name, masks[name])) for name, each in activations.items()]
        try:
            model(batch)
        finally:
            for handle in handles:
                handle.remove()
    found: dict[str, tuple[Tensor, Tensor | None]] = {}
    for name, parts in seen.items():
        currents = torch.cat([current for current, _ in parts], dim=1)
        masked = [mask for _, mask in parts if mask is not None]
        steps = torch.cat(masked, dim=1) if masked else None
        if currents.shape[1] == 0 or (steps is not None and not steps.any()):
            raise SpikingError(f"{name}: no position of the training batches is valid, so it cannot be initialised")
        found[name] = currents, steps
    return found


def _calibrate(linear: nn.Linear, activation: Activation, currents: Tensor, steps: Tensor | None, rate: float) -> float:
    counted = currents.flatten(0, 2) if steps is None else currents[steps]  # [n, N]
    mean = counted.mean(0)
    deviation = counted.std(0, unbiased=False)
    # A neuron whose current never changes is centred, and scaled as if it had deviation 1.
    deviation = torch.where(deviation > _SILENT, deviation, torch.ones_like(deviation))
    unit = (currents - mean) / deviation
    one = torch.ones((), dtype=currents.dtype, device=currents.device)
    scale, fired = 1.0, float("nan")
    if spiking_layers(activation):
        low, high = 0.0, 64.0
        for _ in range(16):
            scale = (low + high) / 2
            spikes = activation(unit * scale, one)
            fired = float((spikes if steps is None else spikes[steps]).mean())
            low, high = (scale, high) if fired < rate else (low, scale)
    gain = scale / deviation
    linear.weight.mul_(gain[:, None])
    linear.bias.sub_(mean).mul_(gain)
    return fired
