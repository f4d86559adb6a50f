"""Fluctuation-driven initialisation: a spiking model that is awake from the first batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, neuron_layers, over_neurons, recorded
from neurozoo.core.signals import Batch
from neurozoo.errors import SpikingError
from neurozoo.nn.synapses import Normalised, NormalisedTokens

__all__ = ["initialise_fluctuation_driven"]

_SILENT = 1e-6


@torch.no_grad()
def initialise_fluctuation_driven(model: Model, batch: Batch, rate: float) -> dict[str, float]:
    """Scale and shift each layer's synapse, once, so that about ``rate`` of its neurons' steps fire.

    In one forward on training samples, layer after layer: each neuron's (or channel's) current gets mean 0 over what
    is valid, and all of a layer one deviation, found by bisection on the layer's own firing at threshold 1 (after
    Rossbroich, Gygax & Zenke 2022: the fluctuations drive it, not the mean). The control without spikes gets deviation
    1. A layer without a synapse to scale, and a readout, stay as they are.

    Args:
        model: Changed in place; its other running statistics stay as they are.
        batch: Samples of the training split.
        rate: Wanted firing rate, in spikes a step, between 0 and 1.

    Returns:
        The rate reached, by the layer's name; NaN of the control.

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
    for buffer, value in changed:  # the statistics that were calibrated, which frozen_statistics put back
        buffer.copy_(value)
    model.train(training)
    return reached


_SCALABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Normalised)


def _calibrated(name: str, layer: SpikingLayer, firing: Firing, rate: float) -> tuple[Tensor, float]:
    """Change a layer's synapse; returns what it puts out then, and its rate at threshold 1."""
    currents = firing.currents
    if layer.recurrent is not None:  # what comes back is not the synapse's
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
            spikes, steps = over_neurons(layer.go_on(unit * scale, None, 1.0)[0], firing.valid)
            fired = float((spikes / steps).mean())
            low, high = (scale, high) if fired < rate else (low, scale)
    _scale(layer.synapse, mean, deviation, scale)
    return layer.go_on(unit * scale, None, firing.threshold)[0], fired


def _moments(name: str, currents: Tensor, valid: Tensor | None, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation over everything that counts but ``axis``, ``[N]``."""
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
    """Make currents of this mean and deviation ones of mean 0 and deviation ``scale``."""
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
