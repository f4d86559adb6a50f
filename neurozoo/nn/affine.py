"""A synapse as a matrix with a gain and a shift for each neuron: what linears and their batch norm are when trained."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from neurozoo.nn.synapses import Normalised, NormalisedTokens

__all__ = ["Affine", "affine_of"]


class Affine(NamedTuple):
    """Currents ``gain (W x) + shift``.

    Attributes:
        weight: W, ``[N, D]``.
        gain: ``[N]``.
        shift: ``[N]``.
    """

    weight: Tensor
    gain: Tensor
    shift: Tensor


@torch.no_grad()
def affine_of(synapse: nn.Module | None) -> Affine | None:
    """Return a synapse in evaluation as a matrix, gains and shifts; None if it is something else.

    A batch norm is ``x a + (b - m a)`` with ``a = g / sqrt(v + eps)``, in the order in which torch computes it.
    """
    if type(synapse) is nn.Linear:
        weight = synapse.weight.detach()
        shift = weight.new_zeros(len(weight)) if synapse.bias is None else synapse.bias.detach()
        return Affine(weight, torch.ones_like(shift), shift)
    if not isinstance(synapse, Normalised) or isinstance(synapse, NormalisedTokens):
        return None
    made, norm = synapse.weight, synapse.norm
    if type(made) is not nn.Linear or made.bias is not None or type(norm) is not nn.BatchNorm1d:
        return None
    if norm.running_mean is None or norm.running_var is None:
        return None
    gain = (1 / (norm.running_var + norm.eps).sqrt()) * norm.weight.detach()
    return Affine(made.weight.detach(), gain, norm.bias.detach() - norm.running_mean * gain)
