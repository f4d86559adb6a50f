"""Compare another program's spikes with a model's, and tell rounding from other differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.backends.agreement import heights, within_margin
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import NeuronSpec, Params

__all__ = ["Judged", "Neurons", "judge"]


@dataclass(frozen=True)
class Judged:
    """Counts over all layers of a branch.

    Attributes:
        spikes: Number compared (neurons times steps).
        fired: Number of ours that are 1.
        mismatches: Number that differ, without those of :attr:`rounding`.
        rounding: Number that differ in neurons that parted where the membrane was within rounding of the threshold, or
            whose input had parted so.
        first: Layer (from 1) and step (from 1) of the first mismatch; None without one.
    """

    spikes: int
    fired: int
    mismatches: int
    rounding: int
    first: tuple[int, int] | None


@dataclass(frozen=True)
class Neurons:
    """The neurons of a layer.

    Attributes:
        spec: What they are.
        threshold: A number, or one that broadcasts against ``[P, N]``.
        params: Parameters that broadcast against ``[P, N]``.
    """

    spec: NeuronSpec
    threshold: Tensor | float
    params: Params | None = None


def judge(
    ours: Sequence[Tensor],
    theirs: Sequence[Tensor],
    currents: Sequence[Tensor],
    neurons: Sequence[Neurons],
) -> Judged:
    """Compare layer by layer, each neuron by the step at which its two spike trains part.

    One flipped spike changes all that follows. So a neuron is judged where it parts: by its membrane there
    (``neurozoo.backends.agreement``: 8 units in the last place, for each step so far), or, where the layer before had
    parted at its position by then, as that layer was.

    Args:
        ours: Spikes of each layer, ``[T, P, N]``.
        theirs: The same.
        currents: What drove ours, ``[T, P, N]``, dimensionless.
        neurons: Of each layer.
    """
    steps, positions = ours[0].shape[:2]
    never = torch.full((positions, 1), steps, device=ours[0].device)
    rounded = strayed = never  # the step at which the layer before parted, by rounding or else
    mismatches = rounding = 0
    first: tuple[int, int] | None = None
    for number, (own, other, current, each) in enumerate(zip(ours, theirs, currents, neurons, strict=True), start=1):
        differ = own != other
        count = torch.arange(steps, device=own.device)[:, None, None]
        parts = torch.where(differ, count, steps).amin(0)  # [P, N]
        near = _near(current, each).gather(0, parts.clamp(max=steps - 1)[None])[0]
        stray = (parts < steps) & ((strayed <= parts) | ~(near | (rounded <= parts)))
        by_stray = int((differ & stray).sum())
        mismatches, rounding = mismatches + by_stray, rounding + int(differ.sum()) - by_stray
        if by_stray and first is None:
            first = (number, int(parts[stray].min()) + 1)
        strayed = torch.where(stray, parts, steps).amin(1, keepdim=True)
        rounded = torch.where(stray, steps, parts).amin(1, keepdim=True)
    fired = sum(int(torch.count_nonzero(each)) for each in ours)
    return Judged(sum(each.numel() for each in ours), fired, mismatches, rounding, first)


def _near(currents: Tensor, neurons: Neurons) -> Tensor:
    """Where our membrane is within rounding of the threshold, bool ``[T, P, N]``."""
    oracle, params = TorchNeuron(neurons.spec), neurons.spec.complete(neurons.params)
    state = oracle.initial_state(currents[0], params)
    found = []
    for step, current in enumerate(currents.unbind(0), start=1):
        h, level = heights(neurons.spec, current, state, neurons.threshold, params)
        found.append(within_margin(h, level, step))
        _, state = oracle.step(current, state, neurons.threshold, params)
    return torch.stack(found)
