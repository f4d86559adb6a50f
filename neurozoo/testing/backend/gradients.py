"""The gradients of one call of a neuron, and how far apart they may be."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.core.interfaces import Neuron
from neurozoo.testing.backend.inputs import made_up_currents

__all__ = ["gradients_of", "tolerance_of", "trains_alike"]

ULPS = {True: 100, False: 1000}
"""Allowed difference of a gradient by exact or not, in units of the dtype's rounding, relative to the largest."""
BFLOAT16_ULPS = {True: 8, False: 32}
"""The same for bfloat16, in which a hundred units would be nearly all of the largest."""


def tolerance_of(dtype: torch.dtype, exact: bool) -> float:
    """Allowed difference of a gradient, as a share of its tensor's largest, dimensionless."""
    ulps = BFLOAT16_ULPS if dtype == torch.bfloat16 else ULPS
    return ulps[exact] * torch.finfo(dtype).eps


@torch.no_grad()
def trains_alike(
    neuron: Neuron, oracle: Neuron, currents: Tensor, threshold: Tensor | float, state: Tensor | None
) -> Tensor:
    """Which neurons ``[B, ...]`` have the same spike train from both, a bool tensor."""
    spikes, expected = (n.scan(currents, state, threshold)[0] for n in (neuron, oracle))
    return (spikes == expected).all(0)


def gradients_of(
    neuron: Neuron, currents: Tensor, threshold: Tensor | float, state: Tensor | None, counted: Tensor
) -> dict[str, Tensor | None]:
    """The gradients of a weighted sum of spikes and last membranes, by argument; None where there is none.

    Args:
        neuron: What to run.
        currents: ``[T, B, ...]``, dimensionless.
        threshold: As for :meth:`~neurozoo.core.interfaces.Neuron.scan`; differentiated if a tensor.
        state: Membrane to start from, ``[B, ...]``; at rest if None. Differentiated.
        counted: The neurons in the sum, bool ``[B, ...]``.
    """
    leaves: dict[str, Tensor] = {"currents": currents.detach().clone().requires_grad_()}
    leaves["state"] = (neuron.initial_state(currents[0]) if state is None else state).detach().clone().requires_grad_()
    if isinstance(threshold, Tensor):
        leaves["threshold"] = threshold.detach().clone().requires_grad_()
    spikes, v = neuron.scan(leaves["currents"], leaves["state"], leaves.get("threshold", threshold))
    weights = made_up_currents(*spikes.shape, dtype=spikes.dtype, seed=1) * counted
    found = torch.autograd.grad(
        (spikes * weights).sum() + (v * weights[0]).sum(), list(leaves.values()), allow_unused=True
    )
    return dict(zip(leaves, found, strict=True))
