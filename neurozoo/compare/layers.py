"""The spiking layers of one backend against the reference's, counted over batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.backends.agreement import MARGIN_ULPS
from neurozoo.backends.probe import LayerProbe, active_share, driving_currents, probe
from neurozoo.compare.result import LayerResult, Mismatch
from neurozoo.core.layer import Firing, SpikingLayer

__all__ = [
    "DRIVEN",
    "GRADIENT_FLOOR",
    "GRADIENT_TOLERANCE",
    "LayerTally",
    "TensorDifference",
    "driven",
    "layer_problems",
    "tensor_difference",
]

DRIVEN = (0.05, 0.5)
"""What share fires where a silent model's layers are driven directly."""


@dataclass
class LayerTally:
    """Counts of one layer, a batch at a time.

    Attributes:
        name: Its dotted name.
        spikes: How many were compared so far.
        mismatches: How many differ.
        fired: How many are 1.
        neurons: How many there were, in all samples.
        awake: How many of those fired at least once.
        first: The first mismatch.
        alone: The layer on its own, on the reference's input.
    """

    name: str
    spikes: int = 0
    mismatches: int = 0
    fired: int = 0
    neurons: int = 0
    awake: float = 0.0
    first: Mismatch | None = None
    alone: LayerProbe | None = None

    def add(self, batch: int, seen: Firing, expected: Firing, layer: SpikingLayer, oracle: SpikingLayer) -> int:
        """Count a batch, numbered from 0; returns how many of its spikes differ from the reference's."""
        differ = (seen.spikes != expected.spikes).flatten(1).sum(1).tolist()
        if self.first is None and any(differ):
            step = next(step for step, count in enumerate(differ) if count)
            self.first = Mismatch(self.name, step, batch)
        here = probe(layer.neuron, oracle.neuron, *expected.driving, oracle.params())
        self.alone = here if self.alone is None else self.alone + here
        self.spikes += seen.spikes.numel()
        self.mismatches += sum(differ)
        self.fired += int(torch.count_nonzero(seen.spikes))
        self.neurons += seen.spikes[0].numel()
        self.awake += active_share(seen.spikes) * seen.spikes[0].numel()
        return int(sum(differ))

    @property
    def active(self) -> float:
        """Share of the neurons that fired at least once."""
        return self.awake / self.neurons if self.neurons else 0.0

    def result(self, driven: LayerProbe | None) -> LayerResult:
        """What was counted."""
        assert self.alone is not None, "a tally holds a batch or more"
        rate = self.fired / self.spikes if self.spikes else 0.0
        return LayerResult(self.name, self.spikes, self.mismatches, self.first, rate, self.active, self.alone, driven)


def driven(layer: SpikingLayer, oracle: SpikingLayer, like: Firing) -> LayerProbe:
    """Two layers' neurons on a made-up current that makes 5 to 50 % of them fire."""
    currents, threshold = like.driving
    params = {name: value.detach() for name, value in oracle.params().items()}
    made = driving_currents(oracle.neuron, currents, threshold, params=params)
    return probe(layer.neuron, oracle.neuron, made, threshold, params)


def layer_problems(layer: LayerResult, exact: bool) -> list[str]:
    """What makes a layer another one than the reference's; if ``exact``, any spike that differs."""
    problems = []
    if exact and layer.first is not None:
        place = f"step {layer.first.step} of batch {layer.first.batch}"
        problems.append(f"{layer.name}: {layer.mismatches:,} of {layer.spikes:,} spikes differ, the first in {place}")
    for where, found in (("alone", layer.alone), ("driven by a current", layer.driven)):
        if found is not None:
            problems += [f"{layer.name} {where}: {problem}" for problem in _probe_problems(found, exact)]
    if layer.driven is not None and not DRIVEN[0] <= layer.driven.active <= DRIVEN[1]:
        problems.append(f"{layer.name}: no current makes 5 to 50 % of it fire, but {layer.driven.active:.1%}")
    return problems


def _probe_problems(found: LayerProbe, exact: bool) -> list[str]:
    problems = []
    agreed = found.agreement
    if agreed.mismatches if exact else agreed.beyond:
        problems.append(
            f"{agreed.mismatches:,} of {agreed.spikes:,} spikes differ, {agreed.beyond:,} of them "
            f"by more than {MARGIN_ULPS} units in the last place, the first in step {agreed.first_step}"
        )
    elif agreed.parted if exact else agreed.stray:
        problems.append(f"{agreed.parted:,} neurons part over several steps, not by rounding")
    if not found.gradient_difference <= GRADIENT_TOLERANCE[exact]:
        problems.append(f"its gradient differs by {found.gradient_difference:.2g}")
    return problems


GRADIENT_TOLERANCE = {True: 1e-5, False: 1e-4}
"""Allowed difference of a gradient, as a share of its tensor's largest, by exact or not."""
GRADIENT_FLOOR = 1e-4
"""Tensors whose largest gradient is below this share of the model's largest are judged by that:
some gradients are 0 but for rounding, such as an attention key's bias."""


@dataclass(frozen=True)
class TensorDifference:
    """The tensor that differs most, such as a gradient.

    Attributes:
        worst: Its name; empty where none differs.
        relative: Its largest difference, as a share of its own largest.
        judged: The same, as a share of the floor where that is larger; what is held to the tolerance.
    """

    worst: str = ""
    relative: float = 0.0
    judged: float = 0.0

    def or_worse(self, other: TensorDifference) -> TensorDifference:
        """The worse of two; one that is not a number is the worst."""
        return self if math.isnan(self.judged) or other.judged <= self.judged else other


@torch.no_grad()
def tensor_difference(
    tensors: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None], floor: float = GRADIENT_FLOOR
) -> TensorDifference:
    """The worst tensor by the judged measure; one that only one side has is infinitely off."""
    largest = {name: float(x.abs().max()) for name, x in expected.items() if x is not None and x.numel()}
    floor *= max(largest.values(), default=0.0)
    found = TensorDifference()
    for name, want in expected.items():
        got, own = tensors[name], largest.get(name, 0.0)
        if got is None or want is None:
            if got is not want:
                return TensorDifference(name, float("inf"), float("inf"))
        elif got.numel():
            error = float((got - want).abs().max())
            found = found.or_worse(TensorDifference(name, error / (own or 1.0), error / (max(own, floor) or 1.0)))
    return found
