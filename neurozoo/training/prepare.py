"""Prepare a new model on the training data: statistics, and fluctuation-driven initialisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.model import Model, Standardise, Trained, trained_modules
from neurozoo.core.recording import frozen_statistics, neuron_layers, over_neurons, recorded, spiking_layers
from neurozoo.core.signals import Batch
from neurozoo.data.view import DataView, training_statistics
from neurozoo.errors import SpikingError
from neurozoo.nn.synapses import Normalised, NormalisedTokens
from neurozoo.recipe.recipe import Recipe

__all__ = ["check_recorded", "initialise_fluctuation_driven", "prepare", "prepare_task"]

_SILENT = 1e-6
_SCALABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Normalised)


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
    acts = chosen.rate_penalty.weight > 0 or chosen.initialisation.name == "fluctuation-driven"
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


@torch.no_grad()
def initialise_fluctuation_driven(model: Model, batch: Batch, rate: float) -> dict[str, float]:
    """Scale and shift each layer's synapse once, so that about ``rate`` of its neurons' steps fire.

    In one forward on training samples, layer after layer: each neuron's (or channel's) current gets mean 0 over valid
    positions, and all of a layer one deviation, found by bisection on the layer's firing at threshold 1 (after
    Rossbroich, Gygax & Zenke 2022: fluctuations drive the neurons, not the mean). The control without spikes gets
    deviation 1. Readouts and layers without a scalable synapse stay unchanged.

    Args:
        model: Changed in place; its other running statistics stay as they are.
        batch: Samples of the training split.
        rate: Wanted firing rate, in spikes a step, between 0 and 1.

    Returns:
        The rate reached by layer name; NaN for the control.

    Raises:
        SpikingError: No position is valid.
    """
    training = model.training
    layers = neuron_layers(model)
    reached: dict[str, float] = {}
    changed: list[tuple[Tensor, Tensor]] = []

    def calibrate(name: str, firing: Firing) -> Tensor | None:
        layer = layers[name]
        driven = layer.spec.spiking or not layer.spec.temporal  # neurons, or the control without spikes
        if name in reached or not driven or not isinstance(layer.synapse, _SCALABLE):
            return None
        outputs, reached[name] = _calibrated(name, layer, firing, rate)
        if isinstance(layer.synapse, Normalised):
            norm = layer.synapse.norm
            changed.extend((each, each.clone()) for each in (norm.running_mean, norm.running_var) if each is not None)
        return outputs

    model.eval()
    with frozen_statistics(model), recorded(model, calibrate):
        model(batch)
    for buffer, value in changed:  # calibrated statistics, which frozen_statistics reset
        buffer.copy_(value)
    model.train(training)
    return reached


def _calibrated(name: str, layer: SpikingLayer, firing: Firing, rate: float) -> tuple[Tensor, float]:
    """Change a layer's synapse; returns the layer's new output and its rate at threshold 1."""
    currents = firing.currents
    if layer.recurrent is not None:  # without the recurrent part of the current
        before = torch.cat((torch.zeros_like(firing.spikes[:1]), firing.spikes[:-1]))
        currents = currents - layer.returned(before)
    axis = currents.dim() - 1 if isinstance(layer.synapse, nn.Linear | NormalisedTokens) else 2
    mean, deviation = _moments(name, currents, firing.valid, axis)
    # A neuron whose current never changes is centred, and scaled as if it had deviation 1.
    deviation = torch.where(deviation > _SILENT, deviation, torch.ones_like(deviation))
    shifts = getattr(layer.synapse, "bias", None) is not None or isinstance(layer.synapse, Normalised)
    shape = [1] * currents.dim()
    shape[axis] = -1
    unit = (currents - mean.view(shape) if shifts else currents) / deviation.view(shape)
    scale, fired = 1.0, float("nan")
    if layer.spec.spiking:
        low, high = 0.0, 64.0
        for _ in range(16):
            scale = (low + high) / 2
            spikes, steps = over_neurons(layer.run(unit * scale, None, 1.0)[0], firing.valid)
            fired = float((spikes / steps).mean())
            low, high = (scale, high) if fired < rate else (low, scale)
    _scale(layer.synapse, mean, deviation, scale)
    return layer.run(unit * scale, None, firing.threshold)[0], fired


def _moments(name: str, currents: Tensor, valid: Tensor | None, axis: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over all valid positions and every axis but ``axis``, ``[N]``."""
    moved = currents.movedim(axis, -1)
    if valid is None:
        rows = moved.flatten(0, -2)
    else:
        mask = valid.expand(len(currents), *valid.shape[1:])
        rows = moved[mask].flatten(0, -2) if moved[mask].dim() > 1 else moved[mask]
    if not rows.numel():
        raise SpikingError(f"{name}: no position of the training samples is valid, so it cannot be initialised")
    return rows.mean(0), rows.std(0, unbiased=False)


def _scale(synapse: nn.Module | None, mean: Tensor, deviation: Tensor, scale: float) -> None:
    """Change a synapse that gives currents of this mean and deviation to mean 0 and deviation ``scale``."""
    if isinstance(synapse, Normalised):
        norm = synapse.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        spread = (norm.running_var + norm.eps).sqrt() / norm.weight
        norm.running_mean.add_((mean - norm.bias) * spread)
        norm.running_var.copy_((deviation * spread).square() - norm.eps).clamp_(min=0)
        norm.weight.fill_(scale)
        norm.bias.zero_()
        return
    gain = scale / deviation
    assert isinstance(synapse, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    synapse.weight.mul_(gain.view(-1, *[1] * (synapse.weight.dim() - 1)))
    if synapse.bias is not None:
        synapse.bias.sub_(mean).mul_(gain)
