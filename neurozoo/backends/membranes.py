"""Membranes of a layer, computed from the currents that were recorded."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.backends.agreement import heights
from neurozoo.core.kinds import SpikingSpec
from neurozoo.core.layer import Firing, SpikingLayer, TorchNeuron
from neurozoo.core.neuron import check_params, steps_of

__all__ = ["compared"]


@torch.no_grad()
def compared(layer: SpikingLayer, spec: SpikingSpec, firing: Firing) -> tuple[Tensor, Tensor]:
    """Return membrane and threshold as each step compares them, before a reset, ``[T, B, ...]`` each.

    The neurons run in plain torch, which every backend agrees with up to rounding. Both are dimensionless, and in units
    of the threshold if the specification is ``relative``.

    Args:
        layer: The layer.
        spec: Its specification.
        firing: What went through it.
    """
    currents, threshold = firing.driving
    params = check_params(spec.complete(layer.params()), currents)
    neuron = TorchNeuron(spec)
    rest = neuron.initial_state(currents[0], params)
    state = rest if firing.start is None else firing.start[: len(rest)]  # recurrent weights add their last outputs
    membranes, levels = [], []
    for current, level in zip(currents.unbind(0), steps_of(threshold, currents), strict=True):
        height, limit = heights(spec, current, state, level, params)
        _, state = neuron.step(current, state, level, params)
        membranes.append(height)
        levels.append(torch.as_tensor(limit, dtype=height.dtype, device=height.device).expand_as(height))
    return torch.stack(membranes), torch.stack(levels)
