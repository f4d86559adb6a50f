"""Fluctuation-driven initialisation: scale each layer's synapse until a wanted share of its neurons fires."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer, Synapse
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, neuron_layers, over_neurons, recorded
from neurozoo.core.signals import Batch
from neurozoo.errors import SpikingError
from neurozoo.nn.synapses import Normalised, NormalisedTokens, PooledSynapse

__all__ = ["initialise_fluctuation_driven"]

_SILENT = 1e-6
"""Deviation below which a current counts as constant, dimensionless."""
_SCALABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Normalised)


@torch.no_grad()
def initialise_fluctuation_driven(model: Model, batch: Batch, rate: float) -> dict[str, float]:
    """Scale and shift each layer's synapse once, so that about ``rate`` of its neurons' steps fire.

    In one forward on training samples, layer after layer: each neuron's (or channel's) current gets mean 0 over valid
    positions, and all of a layer one deviation, found by bisection on the layer's firing at threshold 1 (after
    Rossbroich, Gygax & Zenke 2022: fluctuations drive the neurons, not the mean). The control without spikes gets
    deviation 1. A batch norm that drives no neurons directly, such as that of a branch that is added to a stream of
    membranes, gets the samples' statistics. Readouts and other layers without a scalable synapse stay unchanged.

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
    calibrated: list[Normalised] = []
    unpooled: dict[nn.Module, Tensor] = {}

    def calibrate(name: str, firing: Firing) -> Tensor | None:
        layer = layers[name]
        driven = layer.spec.spiking or not layer.spec.temporal  # neurons, or the control without spikes
        if name in reached or not driven or not _scalable(layer.synapse):
            return None
        outputs, reached[name] = _calibrated(name, layer, firing, rate, unpooled)
        if isinstance(layer.synapse, Normalised):
            calibrated.append(layer.synapse)
        return outputs

    model.eval()
    with ExitStack() as hooks, frozen_statistics(model), recorded(model, calibrate):
        for name, module in model.named_modules():
            if not isinstance(module, Normalised):
                continue
            if not any(name.startswith(f"{layer}.") for layer in layers):
                hooks.enter_context(_measured(name, module))
                calibrated.append(module)
            elif isinstance(module, PooledSynapse):
                handle = module.norm.register_forward_pre_hook(partial(_keep_input, unpooled, module))
                hooks.callback(handle.remove)
        model(batch)
        statistics = [(each, each.clone()) for synapse in calibrated for each in _running(synapse)]
    for buffer, value in statistics:  # frozen_statistics restored them
        buffer.copy_(value)
    model.train(training)
    return reached


def _scalable(synapse: nn.Module | None) -> bool:
    return isinstance(synapse, _SCALABLE) or (
        isinstance(synapse, Synapse) and type(synapse).rescale is not Synapse.rescale
    )


def _keep_input(inputs: dict[nn.Module, Tensor], synapse: nn.Module, _: nn.Module, args: tuple[Tensor]) -> None:
    """Keep the input of a synapse's norm, ``[R, C, places]``."""
    inputs[synapse] = args[0]


@contextmanager
def _measured(name: str, synapse: Normalised) -> Iterator[None]:
    """Set a synapse's running statistics to those of its norm's inputs inside the block."""
    valid: list[Tensor | None] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        valid[:] = [kwargs.get("valid", args[1] if len(args) > 1 else None)]

    def measure(_: nn.Module, args: tuple[Tensor]) -> None:
        rows = None if valid[0] is None else valid[0][None]
        _set_running(synapse, *_moments(name, args[0][None], rows, 2))

    handles = (
        synapse.register_forward_pre_hook(note, with_kwargs=True),
        synapse.norm.register_forward_pre_hook(measure),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _running(synapse: Normalised) -> tuple[Tensor, Tensor]:
    """Return the running mean and variance of a synapse's norm, ``[C]``."""
    mean, variance = synapse.norm.running_mean, synapse.norm.running_var
    assert mean is not None
    assert variance is not None
    return mean, variance


def _set_running(synapse: Normalised, mean: Tensor, deviation: Tensor) -> None:
    """Set the running statistics, so that the norm gives inputs of this mean and deviation mean 0 and deviation 1."""
    running_mean, running_variance = _running(synapse)
    running_mean.copy_(mean)
    running_variance.copy_(deviation.square() - synapse.norm.eps).clamp_(min=0)


def _before_norm(synapse: Normalised, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Return which mean and deviation of its inputs the norm in evaluation maps to these."""
    norm = synapse.norm
    running_mean, running_variance = _running(synapse)
    spread = (running_variance + norm.eps).sqrt() / norm.weight
    return (mean - norm.bias) * spread + running_mean, deviation * spread


def _calibrated(
    name: str, layer: SpikingLayer, firing: Firing, rate: float, unpooled: Mapping[nn.Module, Tensor]
) -> tuple[Tensor, float]:
    """Change a layer's synapse; return the layer's new output and its rate at threshold 1."""
    currents = firing.currents
    if layer.recurrent is not None:  # without the recurrent part of the current
        before = torch.cat((torch.zeros_like(firing.spikes[:1]), firing.spikes[:-1]))
        currents = currents - layer.returned(before)
    last = isinstance(layer.synapse, nn.Linear | NormalisedTokens) or not isinstance(layer.synapse, _SCALABLE)
    axis = currents.dim() - 1 if last else 2
    mean, deviation = _moments(name, currents, firing.valid, axis)
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
    synapse = layer.synapse
    if isinstance(synapse, Normalised) and synapse in unpooled:
        inputs = unpooled[synapse].unflatten(0, (-1, currents.shape[1]))  # type: ignore[no-untyped-call]
        _scale_pooled(name, synapse, inputs, firing.valid, mean, deviation, scale)
    else:
        _scale(synapse, mean, deviation, scale)
    return layer.run(unit * scale, None, firing.threshold)[0], fired


def _moments(name: str, currents: Tensor, valid: Tensor | None, axis: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over all valid positions and every axis but ``axis``, ``[N]``; 1 for a deviation of 0.

    A neuron whose current never changes is centred, and scaled as if it had deviation 1.
    """
    moved = currents.movedim(axis, -1)
    if valid is None:
        rows = moved.flatten(0, -2)
    else:
        mask = valid.expand(len(currents), *valid.shape[1:])
        rows = moved[mask].flatten(0, -2) if moved[mask].dim() > 1 else moved[mask]
    if not rows.numel():
        raise SpikingError(f"{name}: no position of the training samples is valid, so it cannot be initialised")
    deviation = rows.std(0, unbiased=False)
    return rows.mean(0), torch.where(deviation > _SILENT, deviation, torch.ones_like(deviation))


def _scale_pooled(
    name: str,
    synapse: Normalised,
    inputs: Tensor,
    valid: Tensor | None,
    mean: Tensor,
    deviation: Tensor,
    scale: float,
) -> None:
    """As :func:`_scale`, for a synapse that pools what it normalised.

    The running statistics are those before the pool, as in training; the norm's weight and bias centre and scale the
    pooled currents.

    Args:
        name: Of the layer, for errors.
        synapse: Changed in place.
        inputs: Of the norm, ``[T, B, C, places]``.
        valid: ``[T or 1, B]``; None if all are.
        mean: Of the pooled currents, ``[C]``.
        deviation: The same.
        scale: Wanted deviation.
    """
    pooled_mean, pooled_deviation = _before_norm(synapse, mean, deviation)
    input_mean, input_deviation = _moments(name, inputs, valid, 2)
    _set_running(synapse, input_mean, input_deviation)
    synapse.norm.weight.copy_(scale * input_deviation / pooled_deviation)
    synapse.norm.bias.copy_(scale * (input_mean - pooled_mean) / pooled_deviation)


def _scale(synapse: nn.Module | None, mean: Tensor, deviation: Tensor, scale: float) -> None:
    """Change a synapse that gives currents of this mean and deviation to mean 0 and deviation ``scale``."""
    if isinstance(synapse, Normalised):
        _set_running(synapse, *_before_norm(synapse, mean, deviation))
        synapse.norm.weight.fill_(scale)
        synapse.norm.bias.zero_()
        return
    gain = scale / deviation
    if isinstance(synapse, Synapse):
        synapse.rescale(gain)
        return
    assert isinstance(synapse, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    synapse.weight.mul_(gain.view(-1, *[1] * (synapse.weight.dim() - 1)))
    if synapse.bias is not None:
        synapse.bias.sub_(mean).mul_(gain)
