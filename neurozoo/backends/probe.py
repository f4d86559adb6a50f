"""One spiking layer by itself: its input recorded or made up, two backends on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.backends.agreement import Agreement, agreement
from neurozoo.core.interfaces import Neuron
from neurozoo.core.layer import spiking_layers

__all__ = ["LayerCall", "LayerProbe", "active_share", "driving_currents", "probe", "record_calls"]


@dataclass(frozen=True)
class LayerCall:
    """What went through a spiking layer.

    Attributes:
        currents: ``[T, B, ...]``, detached, dimensionless.
        threshold: As the layer got it, detached.
        spikes: ``[T, B, ...]``, detached.
    """

    currents: Tensor
    threshold: Tensor | float
    spikes: Tensor


@dataclass(frozen=True)
class LayerProbe:
    """How a backend's layer compares with the reference's on the same input.

    Attributes:
        agreement: Of the spikes, each step judged by itself.
        gradient_difference: Largest difference of the gradients of currents and threshold, as a
            share of that gradient's largest, over the neurons whose spike trains are the same.
        rate: Spikes a step, by the reference.
        active: Share of the neurons that fire at least once, by the reference.
    """

    agreement: Agreement
    gradient_difference: float
    rate: float
    active: float

    def __add__(self, later: LayerProbe) -> LayerProbe:
        """Both together: counts summed, the larger gradient difference, rates by how much each one holds."""
        mine, its = self.agreement.spikes, later.agreement.spikes
        share = its / (mine + its) if mine + its else 0.0
        return LayerProbe(
            self.agreement + later.agreement,
            _larger(self.gradient_difference, later.gradient_difference),
            self.rate + share * (later.rate - self.rate),
            self.active + share * (later.active - self.active),
        )


@contextmanager
def record_calls(module: nn.Module) -> Iterator[dict[str, LayerCall]]:
    """Collect the input and output of each spiking layer at every forward inside the block.

    A later call of a layer replaces an earlier one.
    """
    calls: dict[str, LayerCall] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], spikes: Tensor) -> None:
            currents = args[0] if args else kwargs["currents"]
            threshold = args[1] if len(args) > 1 else kwargs.get("threshold", 1.0)
            threshold = threshold.detach().clone() if isinstance(threshold, Tensor) else threshold
            calls[name] = LayerCall(currents.detach().clone(), threshold, spikes.detach())

        return hook

    handles = [
        layer.register_forward_hook(keep(name), with_kwargs=True) for name, layer in spiking_layers(module).items()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def active_share(spikes: Tensor) -> float:
    """The share of neurons ``[B, ...]`` that fire at least once in ``spikes`` ``[T, B, ...]``."""
    return float(spikes.amax(0).mean(dtype=torch.float64)) if spikes.numel() else 0.0


def probe(neuron: Neuron, reference: Neuron, currents: Tensor, threshold: Tensor | float) -> LayerProbe:
    """Hold one neuron against another on the same input, from rest.

    Args:
        neuron: The one to judge.
        reference: The one to judge by; both have the same spec.
        currents: ``[T, B, ...]``, dimensionless.
        threshold: As for :meth:`~neurozoo.core.interfaces.Neuron.scan`.

    Raises:
        SpikingError: The threshold's shape does not fit.
    """
    spikes, leaves = _run(neuron, currents, threshold)
    expected, own_leaves = _run(reference, currents, threshold)
    # A flipped spike has another gradient: only neurons with the same train are compared.
    same = (spikes == expected).all(0)
    weights = _noise(currents) * same
    difference = 0.0
    for got, want in zip(_gradients(spikes, leaves, weights), _gradients(expected, own_leaves, weights), strict=True):
        error, largest = float((got - want).abs().max()), float(want.abs().max())
        difference = max(difference, error / largest if largest > 0 else error)
    expected = expected.detach()
    return LayerProbe(
        agreement(neuron, reference, currents, threshold),
        difference,
        rate=float(expected.mean(dtype=torch.float64)),
        active=active_share(expected),
    )


def driving_currents(reference: Neuron, like: Tensor, threshold: Tensor | float, active: float = 0.25) -> Tensor:
    """Made-up currents that make about a given share of the neurons fire at least once.

    The same normal noise each time, in units of the threshold, its strength found by bisection.

    Args:
        reference: The neuron to calibrate by.
        like: Shape ``[T, B, ...]``, dtype and device of the currents.
        threshold: As for :meth:`~neurozoo.core.interfaces.Neuron.scan`.
        active: Wanted share of neurons, between 0 and 1.

    Returns:
        Currents; where no strength reaches the share, those that come nearest from below.
    """
    unit = _noise(like) * (threshold.detach() if isinstance(threshold, Tensor) else threshold)
    low, high = 0.0, 64.0
    with torch.no_grad():
        for _ in range(24):
            strength = (low + high) / 2
            fired = active_share(reference.scan(unit * strength, None, threshold)[0])
            low, high = (strength, high) if fired < active else (low, strength)
    return unit * low


def _larger(a: float, b: float) -> float:
    """The larger of two; NaN where one is, which ``max`` would lose."""
    return a if math.isnan(a) or b <= a else b


def _run(neuron: Neuron, currents: Tensor, threshold: Tensor | float) -> tuple[Tensor, list[Tensor]]:
    leaves = [currents.detach().clone().requires_grad_()]
    if isinstance(threshold, Tensor) and threshold.is_floating_point():
        threshold = threshold.detach().clone().requires_grad_()
        leaves.append(threshold)
    with torch.enable_grad():
        return neuron.scan(leaves[0], None, threshold)[0], leaves


def _gradients(spikes: Tensor, leaves: list[Tensor], weights: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(spikes, leaves, weights, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]


def _noise(like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=generator).to(like)
