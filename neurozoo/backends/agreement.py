"""Whether two neurons fire alike, judged one step at a time.

In floating point two ways of writing one equation can fall on two sides of the threshold, and a
single flipped spike changes all that follows. So each step starts from the reference's membrane,
and is judged by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.core.equations import lif_charge
from neurozoo.core.interfaces import Neuron, steps_of

__all__ = ["MARGIN_ULPS", "Agreement", "agreement", "within_margin"]

MARGIN_ULPS = 8
"""How near to the threshold, in units in the last place, an inexact backend may differ."""


@dataclass(frozen=True)
class Agreement:
    """How two neurons' spikes compare.

    Attributes:
        spikes: How many were compared (neurons times steps).
        mismatches: How many differ.
        beyond: How many of those are further than the margin from the threshold.
        first_step: The first step with a mismatch, from 0; None without one.
        parted: How many neurons' spike trains differ when each backend runs on by itself.
        stray: How many of those part at a step where the membrane is further from the threshold
            than the margin of all steps so far together: not by rounding.
    """

    spikes: int
    mismatches: int
    beyond: int
    first_step: int | None
    parted: int
    stray: int

    def __add__(self, later: Agreement) -> Agreement:
        """Both together; the first step is that of the first with a mismatch."""
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
    state: Tensor | None = None,
) -> Agreement:
    """Compare the steps of ``neuron``, each started from the reference's membrane, with the reference's.

    Args:
        neuron: The one to judge.
        reference: The one to judge by; both have the same spec.
        currents: Input ``[T, B, ...]``, dimensionless.
        threshold: As for :meth:`~neurozoo.core.interfaces.Neuron.scan`.
        state: Membrane to start from, ``[B, ...]``; at rest by default.

    Raises:
        SpikingError: The threshold's shape does not fit.
    """
    spec = reference.spec
    v = reference.initial_state(currents[0]) if state is None else state
    thresholds = steps_of(threshold, currents)
    trains, _ = neuron.scan(currents, state, threshold)
    together = torch.ones_like(v, dtype=torch.bool)
    counts: list[Tensor] = []
    for step, (current, train, level) in enumerate(
        zip(currents.unbind(0), trains.unbind(0), thresholds, strict=True), start=1
    ):
        h = lif_charge(v, current, spec.tau, spec.decay_input, spec.rest)
        spikes, _ = neuron.step(current, v, level)
        expected, v = reference.step(current, v, level)
        differ, parts = spikes != expected, together & (train != expected)
        together &= ~parts
        beyond, stray = differ & ~within_margin(h, level), parts & ~within_margin(h, level, step)
        counts.append(torch.stack([x.sum() for x in (differ, beyond, parts, stray)]))
    table = torch.stack(counts).tolist()
    mismatches, beyond_all, parted, stray_all = (sum(column) for column in zip(*table, strict=True))
    return Agreement(
        spikes=currents.numel(),
        mismatches=mismatches,
        beyond=beyond_all,
        first_step=next((step for step, row in enumerate(table) if row[0]), None),
        parted=parted,
        stray=stray_all,
    )


def within_margin(h: Tensor, threshold: Tensor | float, steps: int = 1) -> Tensor:
    """Where ``|h - threshold|`` is at most :data:`MARGIN_ULPS` units in the last place of h's dtype.

    The unit is that of the larger of the two.

    Args:
        h: Membrane before the reset, any shape, dimensionless.
        threshold: Broadcasts against ``h``.
        steps: Over how many steps rounding has added up; the leak lets none of it grow.

    Returns:
        A bool tensor, the shape of ``h``.
    """
    exact = h.double()
    levels = torch.as_tensor(threshold, dtype=torch.float64, device=h.device)
    _, exponent = torch.frexp(torch.maximum(exact.abs(), levels.abs()))
    ulp = torch.ldexp(torch.full_like(exact, torch.finfo(h.dtype).eps), exponent - 1)
    return (exact - levels).abs() <= steps * MARGIN_ULPS * ulp
