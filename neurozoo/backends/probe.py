"""Compare two backends on single spiking layers, with recorded or generated input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.backends.agreement import Agreement, agreement
from neurozoo.core.neuron import Neuron, Params

__all__ = ["LayerProbe", "active_share", "driving_currents", "probe"]


@dataclass(frozen=True)
class LayerProbe:
    """Comparison of a backend's neuron with the reference on the same input.

    Attributes:
        agreement: Of the spikes, each step compared separately.
        gradient_difference: Largest difference of the gradients of currents, threshold and tensor parameters, relative
            to the largest gradient, over the neurons whose spike trains are equal.
        rate: Spikes per step of the reference.
        active: Share of the reference's neurons that fire at least once.
    """

    agreement: Agreement
    gradient_difference: float
    rate: float
    active: float

    def __add__(self, later: LayerProbe) -> LayerProbe:
        """Combine: counts summed, the larger gradient difference, rates weighted by the number of outputs."""
        total = self.agreement.spikes + later.agreement.spikes
        share = later.agreement.spikes / total if total else 0.0
        return LayerProbe(
            self.agreement + later.agreement,
            _larger(self.gradient_difference, later.gradient_difference),
            self.rate + share * (later.rate - self.rate),
            self.active + share * (later.active - self.active),
        )


def active_share(spikes: Tensor) -> float:
    """Return the share of neurons ``[B, ...]`` that fire at least once in ``spikes`` ``[T, B, ...]``."""
    return float(spikes.amax(0).mean(dtype=torch.float64)) if spikes.numel() else 0.0


def probe(
    neuron: Neuron,
    reference: Neuron,
    currents: Tensor,
    threshold: Tensor | float,
    params: Params | None = None,
) -> LayerProbe:
    """Compare one neuron with another on the same input, from rest.

    Args:
        neuron: The neuron to check.
        reference: A neuron of the same spec.
        currents: ``[T, B, ...]``, dimensionless.
        threshold: As for :meth:`~neurozoo.core.neuron.Neuron.scan`.
        params: As for :meth:`~neurozoo.core.neuron.Neuron.scan`; the gradients of its tensors are compared as well.

    Raises:
        SpikingError: The shape of the threshold or of a parameter does not fit.
    """
    params = {name: value.detach() if isinstance(value, Tensor) else value for name, value in (params or {}).items()}
    spikes, leaves = _run(neuron, currents, threshold, params)
    expected, expected_leaves = _run(reference, currents, threshold, params)
    # A flipped spike changes the gradient, so only neurons with equal spike trains are compared.
    same = (spikes == expected).all(0)
    weights = _noise(currents) * same
    difference = 0.0
    for got, want in zip(
        _gradients(spikes, leaves, weights), _gradients(expected, expected_leaves, weights), strict=True
    ):
        error, largest = float((got - want).abs().max()), float(want.abs().max())
        difference = _larger(difference, error / largest if largest > 0 else error)
    expected = expected.detach()
    return LayerProbe(
        agreement(neuron, reference, currents, threshold, params=params),
        difference,
        rate=float(expected.mean(dtype=torch.float64)),
        active=active_share(expected),
    )


def driving_currents(
    reference: Neuron,
    like: Tensor,
    threshold: Tensor | float,
    active: float = 0.25,
    params: Params | None = None,
) -> Tensor:
    """Return noise that makes about a given share of the neurons fire at least once.

    The currents are the same normal noise at each call, in units of the threshold; bisection finds their strength.

    Args:
        reference: The neuron for the calibration.
        like: Shape ``[T, B, ...]``, dtype and device of the currents.
        threshold: As for :meth:`~neurozoo.core.neuron.Neuron.scan`.
        active: Wanted share of neurons, between 0 and 1.
        params: As for :meth:`~neurozoo.core.neuron.Neuron.scan`.

    Returns:
        Currents that reach the share or, if none do, the nearest below.
    """
    unit = _noise(like) * (threshold.detach() if isinstance(threshold, Tensor) else threshold)
    low, high = 0.0, 64.0
    with torch.no_grad():
        for _ in range(24):
            strength = (low + high) / 2
            fired = active_share(reference.scan(unit * strength, None, threshold, params)[0])
            low, high = (strength, high) if fired < active else (low, strength)
    return unit * low


def _larger(a: float, b: float) -> float:
    """Return the larger number, or NaN if one is NaN, which ``max`` may drop."""
    return a if math.isnan(a) or b <= a else b


def _run(neuron: Neuron, currents: Tensor, threshold: Tensor | float, params: Params) -> tuple[Tensor, list[Tensor]]:
    leaves: list[Tensor] = []

    def leaf(value: Tensor | float) -> Tensor | float:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]

    inputs = leaf(currents)
    assert isinstance(inputs, Tensor)
    level, values = leaf(threshold), {name: leaf(value) for name, value in params.items()}
    with torch.enable_grad():
        return neuron.scan(inputs, None, level, values or None)[0], leaves


def _gradients(spikes: Tensor, leaves: list[Tensor], weights: Tensor) -> list[Tensor]:
    gradients = torch.autograd.grad(spikes, leaves, weights, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients, strict=True)]


def _noise(like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=generator).to(like)
