"""A recurrent layer and the readout that is the only one to read its spikes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from neurozoo.core.layer import SpikingLayer, by_sample
from neurozoo.core.neuron import Reading, State
from neurozoo.nn.hook_checks import has_hooks

__all__ = ["Read", "read_by"]


class Read(NamedTuple):
    """What :func:`read_by` returns.

    Attributes:
        outputs: Of the readout, ``[T, B, K]``.
        counts: Spikes of each neuron in the valid steps, ``[B, N]``.
        spikes: ``[T, B, N]`` without a gradient, as numbers or bytes.
    """

    outputs: Tensor
    counts: Tensor
    spikes: Tensor


def read_by(
    readout: SpikingLayer,
    layer: SpikingLayer,
    x: Tensor,
    threshold: Tensor | float = 1.0,
    *,
    valid: Tensor | None = None,
    state: State | None = None,
    late: int = 0,
) -> Read:
    """Run a layer and its readout, in less memory where the backend can.

    Args:
        readout: A linear and its neurons.
        layer: A linear and its neurons, with or without recurrent weights.
        x: Inputs ``[T, B, D]`` of the layer.
        threshold: Of the layer, see :class:`~neurozoo.core.layer.SpikingLayer`.
        valid: The valid steps ``[T or 1, B]``, with the late ones; None if all are.
        state: State of the layer to start from.
        late: Steps without an input to run at the end.
    """
    found = _together(readout, layer, x, threshold, valid, state, late)
    if found is not None:
        outputs, _ = readout.run(found.currents, None)
        return Read(outputs, found.counts, found.spikes)
    steps = torch.cat((x, x.new_zeros(late, *x.shape[1:]))) if late else x
    spikes = layer(steps, threshold, valid=valid, state=state)
    counts = spikes.sum(0) if valid is None else (spikes * valid[..., None]).sum(0)
    return Read(readout(spikes, valid=valid), counts, spikes.detach())


def _together(
    readout: SpikingLayer,
    layer: SpikingLayer,
    x: Tensor,
    threshold: Tensor | float,
    valid: Tensor | None,
    state: State | None,
    late: int,
) -> Reading | None:
    """Return what the backend's loop gives; None if it has none, or if a recorder or a hook needs the spikes."""
    first, second, back, kind = layer.synapse, readout.synapse, layer.recurrent, x.device.type
    if (
        torch.compiler.is_compiling()
        or not _only_weights(first)
        or not _only_weights(second)
        or not _only_weights(back)
        or layer.gain
        or layer.recorders
        or readout.recorders
        or layer.carry is not None
        or layer.runner is not None
        or readout.runner is not None
        or x.dim() != 3
        or (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind))
        or has_hooks(layer)
        or has_hooks(readout)
    ):
        return None
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    assert back is not None
    shape = x.new_empty(1).expand(len(x) + late, x.shape[1], first.out_features)
    return layer.neuron.read(
        x, first.weight, back.weight, second.weight, state, by_sample(threshold, shape), layer.params() or None,
        valid=valid, late=late, detach=layer.detach_recurrent, self_connections=layer.self_connections,
    )  # fmt: skip


def _only_weights(module: nn.Module | None) -> bool:
    return type(module) is nn.Linear and module.bias is None
