"""Whether two neurons fire alike, judged one step at a time.

In floating point two ways of writing one equation can fall on two sides of the threshold, and a
single flipped spike changes all that follows. So each step starts from the reference's membrane,
and is judged by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.functional import lif_charge
from neurozoo.interfaces import Neuron, steps_of

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
    """

    spikes: int
    mismatches: int
    beyond: int
    first_step: int | None


@torch.no_grad()
def agreement(
    neuron: Neuron,
    reference: Neuron,
    currents: Tensor,
    threshold: Tensor | float = 1.0,
    state: Tensor | None = None,
) -> Agreement:
    """Compare each step of ``neuron``, started from the reference's membrane, with the reference's.

    Args:
        neuron: The one to judge.
        reference: The one to judge by; both have the same spec.
        currents: Input ``[T, B, ...]``, dimensionless.
        threshold: As for :meth:`~neurozoo.interfaces.Neuron.scan`.
        state: Membrane to start from, ``[B, ...]``; at rest by default.

    Raises:
        SpikingError: The threshold's shape does not fit.
    """
    spec = reference.spec
    v = reference.initial_state(currents[0]) if state is None else state
    differ: list[Tensor] = []
    beyond: list[Tensor] = []
    for current, level in zip(currents.unbind(0), steps_of(threshold, currents), strict=True):
        h = lif_charge(v, current, spec.tau, spec.decay_input, spec.rest)
        spikes, _ = neuron.step(current, v, level)
        expected, v = reference.step(current, v, level)
        other = spikes != expected
        differ.append(other.sum())
        beyond.append((other & ~within_margin(h, level)).sum())
    counts = torch.stack(differ).tolist()
    return Agreement(
        spikes=currents.numel(),
        mismatches=sum(counts),
        beyond=int(torch.stack(beyond).sum()),
        first_step=next((step for step, count in enumerate(counts) if count), None),
    )


def within_margin(h: Tensor, threshold: Tensor | float) -> Tensor:
    """Where ``|h - threshold|`` is at most :data:`MARGIN_ULPS` units in the last place of h's dtype.

    The unit is that of the larger of the two.

    Args:
        h: Membrane before the reset, any shape, dimensionless.
        threshold: Broadcasts against ``h``.

    Returns:
        A bool tensor, the shape of ``h``.
    """
    exact = h.double()
    levels = torch.as_tensor(threshold, dtype=torch.float64, device=h.device)
    _, exponent = torch.frexp(torch.maximum(exact.abs(), levels.abs()))
    ulp = torch.ldexp(torch.full_like(exact, torch.finfo(h.dtype).eps), exponent - 1)
    return (exact - levels).abs() <= MARGIN_ULPS * ulp
