"""Whether spikes of another program are a branch's own, and where not, whether rounding alone did it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.backends.agreement import within_margin
from neurozoo.core.equations import lif_charge, lif_reset
from neurozoo.core.interfaces import LIFSpec

__all__ = ["Judged", "judge"]


@dataclass(frozen=True)
class Judged:
    """How two programs' spikes compare, over all layers of a branch.

    Attributes:
        spikes: How many were compared (neurons times steps).
        fired: How many of ours are 1.
        mismatches: How many differ, but for those of :attr:`rounding`.
        rounding: How many differ in neurons that parted where the membrane was within rounding of the threshold, or
            that were fed by such.
        first: Layer (from 1) and step (from 1) of the first mismatch that rounding does not explain; None without.
    """

    spikes: int
    fired: int
    mismatches: int
    rounding: int
    first: tuple[int, int] | None


def judge(
    ours: Sequence[Tensor],
    theirs: Sequence[Tensor],
    currents: Sequence[Tensor],
    specs: Sequence[LIFSpec],
    threshold: float,
) -> Judged:
    """Compare layer by layer, each neuron by the step at which its two spike trains part.

    One flipped spike changes all that follows. So a neuron is judged where it parts: by its membrane there
    (``neurozoo.backends.agreement``: 8 units in the last place, for each step so far), or, where the layer before had
    parted at its position by then, as that layer was.

    Args:
        ours: Spikes of each layer, ``[T, P, N]``.
        theirs: The same.
        currents: What drove ours, ``[T, P, N]``, dimensionless.
        specs: The neurons of each layer.
        threshold: Of all, dimensionless.
    """
    steps, positions = ours[0].shape[:2]
    never = torch.full((positions, 1), steps, device=ours[0].device)
    rounded = strayed = never  # the step at which the layer before parted, by rounding or else
    mismatches = rounding = 0
    first: tuple[int, int] | None = None
    for number, (own, other, current, spec) in enumerate(zip(ours, theirs, currents, specs, strict=True), start=1):
        differ = own != other
        count = torch.arange(steps, device=own.device)[:, None, None]
        parts = torch.where(differ, count, steps).amin(0)  # [P, N]
        near = _near(own, current, spec, threshold).gather(0, parts.clamp(max=steps - 1)[None])[0]
        stray = (parts < steps) & ((strayed <= parts) | ~(near | (rounded <= parts)))
        by_stray = int((differ & stray).sum())
        mismatches, rounding = mismatches + by_stray, rounding + int(differ.sum()) - by_stray
        if by_stray and first is None:
            first = (number, int(parts[stray].min()) + 1)
        strayed = torch.where(stray, parts, steps).amin(1, keepdim=True)
        rounded = torch.where(stray, steps, parts).amin(1, keepdim=True)
    fired = sum(int(torch.count_nonzero(each)) for each in ours)
    return Judged(sum(each.numel() for each in ours), fired, mismatches, rounding, first)


def _near(spikes: Tensor, currents: Tensor, spec: LIFSpec, threshold: float) -> Tensor:
    """Where our membrane is within rounding of the threshold, bool ``[T, P, N]``."""
    v = torch.full_like(currents[0], spec.rest)
    found = []
    for step, (current, s) in enumerate(zip(currents.unbind(0), spikes.unbind(0), strict=True), start=1):
        h = lif_charge(v, current, spec.tau, spec.decay_input, spec.rest)
        found.append(within_margin(h, threshold, step))
        v = lif_reset(h, s, threshold, spec.v_reset)
    return torch.stack(found)
