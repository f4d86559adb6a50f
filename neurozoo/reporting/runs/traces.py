"""Membrane and threshold of chosen neurons over a sample, with their spikes, as numbers and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.backends.membranes import compared
from neurozoo.core.kinds import SpikingSpec
from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.errors import UserError
from neurozoo.reporting.figures import Line
from neurozoo.reporting.timelines import Curves, timeline

__all__ = ["RULE", "Trace", "parse_neurons", "rows_of", "trace_of", "trace_svg", "trace_words", "typical_neurons"]

_STEPS = 300
"""Of a trace; more cannot be told apart."""
_MOST = 12
"""Neurons of a layer that may be named."""

RULE = (
    "Of each layer the neuron that fires most in this sample, the one in the middle of those that fire, and the first "
    "that does not; of several alike the first"
)


@dataclass(frozen=True)
class Trace:
    """Neurons of a layer over the valid steps of a sample.

    Attributes:
        sample: Its name.
        layer: Dotted name.
        neurons: Their numbers, flat over the axes of a feature map.
        shape: Axes of the layer's neurons.
        membrane: ``[n, S]``, what is compared with the threshold, before a reset; dimensionless. Of a layer that does
            not fire its output.
        threshold: ``[n, S]``; None of a layer that does not fire.
        spikes: ``[n, S]``, as the run's backend gave them.
        relative: Whether membrane and threshold are in units of the threshold.
        steps: Valid steps of the sample, of which the S first ones are here.
    """

    sample: str
    layer: str
    neurons: tuple[int, ...]
    shape: tuple[int, ...]
    membrane: NDArray[np.float64]
    threshold: NDArray[np.float64] | None
    spikes: NDArray[np.bool_]
    relative: bool
    steps: int

    def facts(self) -> dict[str, Any]:
        """The numbers for programs."""
        return {
            "sample": self.sample,
            "layer": self.layer,
            "neurons": list(self.neurons),
            "steps": self.steps,
            "relative": self.relative,
            "membrane": np.round(self.membrane, 6).tolist(),
            "threshold": None if self.threshold is None else np.round(self.threshold, 6).tolist(),
            "spikes": [np.flatnonzero(row).tolist() for row in self.spikes],
        }


def parse_neurons(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read ``LAYER:3,7`` of the command line.

    Raises:
        UserError: One has another form, or names too many.
    """
    chosen: dict[str, tuple[int, ...]] = {}
    for each in given:
        layer, colon, numbers = each.rpartition(":")
        parts = [part.strip() for part in numbers.split(",") if part.strip()]
        # isdecimal() takes digits of other scripts too, which int() reads as well.
        if not colon or not layer or not parts or not all(part.isdecimal() and len(part) < 12 for part in parts):
            raise UserError(f"--neurons {each!r} is not LAYER:NUMBER,NUMBER; give one such as hidden.0:3,7")
        chosen[layer] = tuple(dict.fromkeys((*chosen.get(layer, ()), *map(int, parts))))
        if len(chosen[layer]) > _MOST:
            raise UserError(f"{len(chosen[layer])} neurons of {layer} are named, and a picture has room for {_MOST}")
    return chosen


def rows_of(values: Tensor, valid: Tensor | None) -> tuple[Tensor, int]:
    """Return outputs ``[T, 1, ...]`` of one sample as valid rows ``[S, N]``, and how many steps a position has.

    Where a mask covers positions, ``[1, 1, L]``, the T steps of a position stand together. Every axis that the mask
    does not cover is the neurons': N, or the C H W places of a feature map.
    """
    x = values[:, 0]
    if valid is None:
        return x.flatten(1), 1
    if len(valid) == 1 and valid.dim() > 2:  # positions, each held for T steps
        mask = valid[0, 0]
        return x.movedim(0, mask.dim())[mask].flatten(0, 1).flatten(1), len(x)
    mask = valid[:, 0]  # each step, or position and step, counts or not
    return x[mask.expand(len(x), *mask.shape[1:])].flatten(1), 1


@torch.no_grad()
def trace_of(
    sample: str, name: str, layer: SpikingLayer, firing: Firing, wanted: Sequence[int] | None = None
) -> Trace | None:
    """Compute the trace of neurons of a layer, from the currents that it recorded.

    The neurons run in plain torch, which every backend agrees with up to rounding. None if no step is valid, or the
    specification of neurons that fire does not say what they compare.

    Raises:
        UserError: There is no such neuron.
    """
    fired, _ = rows_of(firing.spikes, firing.valid)
    steps, size = fired.shape
    if not steps or not size or (layer.spec.spiking and not isinstance(layer.spec, SpikingSpec)):
        return None
    axes = 1 if firing.valid is None else firing.valid.dim() - 1
    shape = tuple(firing.spikes.shape[1 + max(axes, 1) :])
    chosen = typical_neurons(fired > 0, layer.spec.spiking) if wanted is None else list(wanted)
    if beyond := [each for each in chosen if each >= size]:
        raise UserError(f"{name} has no neuron {beyond[0]}; it has {size:,}, from 0 to {size - 1}")
    places = torch.tensor(chosen, device=fired.device)
    membrane, level = firing.spikes, None
    if isinstance(layer.spec, SpikingSpec):
        membrane, level = compared(layer, layer.spec, firing)

    def shown(values: Tensor) -> NDArray[np.float64]:
        rows, _ = rows_of(values, firing.valid)
        found: NDArray[np.float64] = rows[:_STEPS].index_select(1, places).T.double().cpu().numpy()
        return found

    return Trace(
        sample,
        name,
        tuple(chosen),
        shape,
        shown(membrane),
        None if level is None else shown(level),
        shown(firing.spikes) > 0 if layer.spec.spiking else np.zeros((len(chosen), min(steps, _STEPS)), bool),
        isinstance(layer.spec, SpikingSpec) and layer.spec.relative,
        steps,
    )


def typical_neurons(fired: Tensor, spiking: bool) -> list[int]:
    """Choose neurons of ``[S, N]`` by :data:`RULE`; of a layer that does not fire the first ones."""
    if not spiking:
        return list(range(min(3, fired.shape[1])))
    counts = fired.sum(0).cpu().numpy()
    order = np.argsort(-counts, kind="stable")
    firing = int((counts > 0).sum())
    chosen = [order[0], order[firing // 2]] if firing else []
    chosen += [order[firing]] if firing < len(order) else []
    return list(dict.fromkeys(map(int, chosen)))


def trace_svg(trace: Trace, *, colour: int, label: str) -> str:
    """Draw a trace, a strip for each neuron; dots mark the spikes at the threshold."""
    steps = trace.membrane.shape[1]
    x = np.arange(steps).tolist()
    strips = []
    for row, neuron in enumerate(trace.neurons):
        lines = []
        if trace.threshold is not None:
            # A level that never changes is two points.
            level = trace.threshold[row]
            ends = [0, steps - 1] if np.ptp(level) == 0 and steps > 1 else x
            lines.append(Line(ends, level[ends].tolist(), None, "dashed"))
        lines.append(Line(x, _finite(trace.membrane[row]), colour))
        if trace.threshold is not None and trace.spikes[row].any():
            when = np.flatnonzero(trace.spikes[row]).tolist()
            lines.append(Line(when, _finite(trace.threshold[row][when]), 3, "spikes"))
        strips.append(Curves(lines, f"neuron {neuron}"))
    return timeline(strips, span=(-0.5, max(steps - 0.5, 0.5)), along="valid step", label=label, whole=True)


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def trace_words(trace: Trace) -> str:
    """A trace in words, for those who do not see it."""
    parts = []
    for row, neuron in enumerate(trace.neurons):
        place = ""
        if len(trace.shape) == 3:
            channel, y, x = (int(axis) for axis in np.unravel_index(neuron, trace.shape))
            place = f" (channel {channel}, y {y}, x {x})"
        membrane = trace.membrane[row][np.isfinite(trace.membrane[row])]
        between = f"between {membrane.min():.3g} and {membrane.max():.3g}" if membrane.size else "not finite"
        words = f"neuron {neuron}{place}: membrane {between}"
        if trace.threshold is not None:
            number = int(trace.spikes[row].sum())
            words += f", threshold {trace.threshold[row].mean():.3g}, {number} spike{'s' if number != 1 else ''}"
        parts.append(words)
    if trace.membrane.shape[1] < trace.steps:
        parts.append(f"the first {trace.membrane.shape[1]} of {trace.steps:,} steps")
    return "; ".join(parts)
