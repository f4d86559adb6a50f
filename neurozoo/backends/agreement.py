"""Compare the spikes of two neurons, one step at a time.

In floating point two ways of writing one equation can fall on different sides of the threshold, and a
single flipped spike changes all later steps. Therefore each step starts from the reference's state and is
compared separately.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from neurozoo.core.kinds import SpikingSpec
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State, check_params, steps_of
from neurozoo.errors import SpikingError

__all__ = ["MARGIN_ULPS", "Agreement", "agreement", "first_mismatch", "heights", "unit_in_last_place", "within_margin"]

MARGIN_ULPS = 8
"""Distance from the threshold, in units in the last place, within which an inexact backend may differ."""


@dataclass(frozen=True)
class Agreement:
    """Counts of equal and different spikes of two neurons.

    Attributes:
        spikes: Number of compared outputs (neurons times steps).
        mismatches: Number of different outputs.
        beyond: Number of mismatches where the membrane is outside the margin around the threshold.
        first_step: First step with a mismatch, from 0; None without a mismatch.
        parted: Number of neurons whose spike trains differ if each backend runs all steps from its own state.
        stray: Number of those that part at a step where the membrane is outside the accumulated margin of all
            steps so far, which rounding does not explain.
    """

    spikes: int
    mismatches: int
    beyond: int
    first_step: int | None
    parted: int
    stray: int

    def __add__(self, later: Agreement) -> Agreement:
        """Add the counts; the first step is that of the earlier one with a mismatch."""
        return Agreement(
            self.spikes + later.spikes,
            self.mismatches + later.mismatches,
            self.beyond + later.beyond,
            later.first_step if self.first_step is None else self.first_step,
            self.parted + later.parted,
            self.stray + later.stray,
        )


@torch.no_grad()
def agreement(
    neuron: Neuron,
    reference: Neuron,
    currents: Tensor,
    threshold: Tensor | float = 1.0,
    state: State | None = None,
    params: Params | None = None,
) -> Agreement:
    """Compare the steps of ``neuron``, each started from the reference's state, with the reference's steps.

    Args:
        neuron: The neuron to check.
        reference: A neuron of the same spec.
        currents: Input ``[T, B, ...]``, dimensionless.
        threshold: As for :meth:`~neurozoo.core.neuron.Neuron.scan`.
        state: Initial state; at rest by default.
        params: As for the threshold.

    Raises:
        SpikingError: The threshold's shape does not fit, or the neuron does not fire.
    """
    together = torch.ones_like(currents[0], dtype=torch.bool)
    trains, _ = neuron.scan(currents, state, threshold, params)
    result = Agreement(currents.numel(), 0, 0, None, 0, 0)
    steps = _compare_steps(neuron, reference, currents, threshold, state, params)
    for step, (train, each) in enumerate(zip(trains.unbind(0), steps, strict=True), start=1):
        differ, parts = each.spikes != each.expected, together & (train != each.expected)
        if not bool((differ | parts).any()):  # most steps agree, and need no membrane
            continue
        together &= ~parts
        height, level = each.heights()
        beyond = differ & ~within_margin(height, level)
        stray = parts & ~within_margin(height, level, step)
        mismatches, beyond_margin, parted, strayed = (int(x.sum()) for x in (differ, beyond, parts, stray))
        result += Agreement(0, mismatches, beyond_margin, step - 1 if mismatches else None, parted, strayed)
    return result


@torch.no_grad()
def first_mismatch(
    neuron: Neuron,
    reference: Neuron,
    currents: Tensor,
    threshold: Tensor | float = 1.0,
    state: State | None = None,
    params: Params | None = None,
) -> str:
    """Describe the first step and neuron where :func:`agreement` counts a mismatch; empty without one."""
    for step, each in enumerate(_compare_steps(neuron, reference, currents, threshold, state, params)):
        differ = each.spikes != each.expected
        if bool(differ.any()):
            at = tuple(int(index) for index in differ.nonzero()[0])
            membrane, compared = each.heights()
            height = membrane[at]
            level = torch.as_tensor(compared, dtype=torch.float64, device=height.device).expand(differ.shape)[at]
            ulps = float((height.double() - level).abs() / unit_in_last_place(height, level))
            return (
                f"step {step}, neuron {list(at)}, h {float(height):.9g}, threshold {float(level):.9g}, "
                f"{ulps:.3g} ulp apart"
            )
    return ""


class _Step(NamedTuple):
    """One step of both neurons from the reference's state, ``[B, ...]`` each; heights as of :func:`heights`."""

    heights: Callable[[], tuple[Tensor, Tensor | float]]
    spikes: Tensor
    expected: Tensor


def _compare_steps(
    neuron: Neuron,
    reference: Neuron,
    currents: Tensor,
    threshold: Tensor | float,
    state: State | None,
    params: Params | None,
) -> Iterator[_Step]:
    spec = reference.spec
    thresholds = steps_of(threshold, currents)
    params = check_params(spec.complete(params), currents)
    before = reference.initial_state(currents[0], params) if state is None else state
    _require_spiking(spec)
    for current, level in zip(currents.unbind(0), thresholds, strict=True):
        compared = partial(heights, spec, current, before, level, params)
        spikes, _ = neuron.step(current, before, level, params)
        expected, before = reference.step(current, before, level, params)
        yield _Step(compared, spikes, expected)


def heights(
    spec: NeuronSpec, current: Tensor, state: State, threshold: Tensor | float, params: Params
) -> tuple[Tensor, Tensor | float]:
    """Return the membrane that a neuron compares in one step, ``[B, ...]``, and the level; dimensionless.

    Near the level both equal the step's own values to the bit, as the subtraction is exact there.

    Raises:
        SpikingError: The neuron does not fire.
    """
    spec = _require_spiking(spec)
    distances: list[Tensor] = []
    recording = copy.copy(spec)

    def fire(u: Tensor) -> tuple[Tensor, Tensor]:
        distances.append(u)
        return spec.fire(u)

    object.__setattr__(recording, "fire", fire)  # specs are frozen
    recording.step(current, state, threshold, params)
    level = 1.0 if spec.relative else threshold
    return distances[0] + level, level


def _require_spiking(spec: NeuronSpec) -> SpikingSpec:
    if not isinstance(spec, SpikingSpec):
        raise SpikingError(f"{spec.kind} neurons do not fire, so there is no threshold to compare with")
    return spec


def within_margin(h: Tensor, threshold: Tensor | float, steps: int = 1) -> Tensor:
    """Return where ``|h - threshold|`` is at most :data:`MARGIN_ULPS` units in the last place of h's dtype.

    The unit is that of the larger of the two values.

    Args:
        h: Membrane before the reset, any shape, dimensionless.
        threshold: Broadcasts against ``h``.
        steps: Number of steps over which rounding errors add up; the leak does not amplify them.

    Returns:
        A bool tensor, the shape of ``h``.
    """
    levels = torch.as_tensor(threshold, dtype=torch.float64, device=h.device)
    return (h.double() - levels).abs() <= steps * MARGIN_ULPS * unit_in_last_place(h, levels)


def unit_in_last_place(h: Tensor, level: Tensor) -> Tensor:
    """Return the unit in the last place, in h's dtype, of the larger value; float64."""
    _, exponent = torch.frexp(torch.maximum(h.double().abs(), level.double().abs()))
    return torch.ldexp(torch.full_like(h, torch.finfo(h.dtype).eps, dtype=torch.float64), exponent - 1)
