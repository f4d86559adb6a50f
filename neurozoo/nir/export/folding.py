"""Normalisation folded into the weights before it: what a simulator or a chip runs."""

from __future__ import annotations

import copy

import torch
from torch import nn

from neurozoo.core.layer import SpikingLayer
from neurozoo.core.model import Model
from neurozoo.core.recording import neuron_layers
from neurozoo.nn.synapses import Normalised

__all__ = ["folded"]


@torch.no_grad()
def folded(model: Model) -> Model:
    """The model itself, or, where synapses normalise, a copy whose weights and biases have taken that up.

    Equal to the model in evaluation mode up to rounding.
    """
    if not any(_foldable(layer) for layer in neuron_layers(model).values()):
        return model
    neurons = {id(layer.neuron): layer.neuron for layer in neuron_layers(model).values()}
    copied = copy.deepcopy(model, neurons)
    for layer in neuron_layers(copied).values():
        if _foldable(layer):
            assert isinstance(layer.synapse, Normalised)
            layer.synapse = _without_norm(layer.synapse)
    return copied


def _foldable(layer: SpikingLayer) -> bool:
    return type(layer.synapse) is Normalised and isinstance(layer.synapse.weight, nn.Linear | nn.Conv1d | nn.Conv2d)


def _without_norm(synapse: Normalised) -> nn.Module:
    norm, made = synapse.norm, copy.deepcopy(synapse.weight)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert isinstance(made, nn.Linear | nn.Conv1d | nn.Conv2d)
    # In float64, so that each weight is rounded once.
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    before = 0.0 if made.bias is None else made.bias.double()
    bias = norm.bias.double() + (before - norm.running_mean.double()) * gain
    weight = made.weight.double() * gain.view(-1, *[1] * (made.weight.dim() - 1))
    made.weight.copy_(weight)
    made.bias = nn.Parameter(bias.to(made.weight.dtype))
    return made
