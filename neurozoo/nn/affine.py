"""A synapse as weights with a gain and a shift for each neuron: what linears, convolutions and batch norm are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from neurozoo.nn.delays import DelayedLinear
from neurozoo.nn.synapses import Normalised, NormalisedTokens, PooledSynapse

__all__ = ["Affine", "Convolution", "Delays", "affine_of", "convolution_of", "delays_of"]


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


class Convolution(NamedTuple):
    """Currents ``gain (W * x) + shift`` of a convolution in two dimensions, with a border of zeros.

    Attributes:
        weight: W, ``[C', C, KH, KW]``.
        gain: Of the channels, ``[C']``.
        shift: Likewise.
        stride: Along H and W; likewise ``padding`` and ``dilation``.
        pool: Applied to the currents ``[R, C', H', W']`` before the neurons; None for none.
    """

    weight: Tensor
    gain: Tensor
    shift: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    pool: nn.Module | None = None

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the places of the currents of frames of so many places."""
        high, wide = (
            (size + 2 * border - apart * (kernel - 1) - 1) // stride + 1
            for size, border, apart, kernel, stride in zip(
                (height, width), self.padding, self.dilation, self.weight.shape[2:], self.stride, strict=True
            )
        )
        return high, wide


class Delays(NamedTuple):
    """Currents of synapses with delays, ``gain c[t] + shift``, ``c[t] = sum over m of K_m x[t + m - (M - 1)]``.

    Attributes:
        kernels: K, ``[N, D, M]``, the longest delay first.
        gain: ``[N]``.
        shift: ``[N]``.
        late: Steps after the last input that have currents.
    """

    kernels: Tensor
    gain: Tensor
    shift: Tensor
    late: int


@torch.no_grad()
def delays_of(synapse: nn.Module | None) -> Delays | None:
    """Return a synapse in evaluation as delays, gains and shifts; None if it is something else."""
    found = _weighted(synapse)
    made = None if found is None else found[0]
    if found is None or not isinstance(made, DelayedLinear):
        return None
    return Delays(made.kernels(made.evaluated == "rounded").detach(), *found[1:], made.reach)


@torch.no_grad()
def affine_of(synapse: nn.Module | None) -> Affine | None:
    """Return a synapse in evaluation as a matrix, gains and shifts; None if it is something else."""
    found = _weighted(synapse)
    if found is None or type(found[0]) is not nn.Linear:
        return None
    return Affine(found[0].weight.detach(), *found[1:])


@torch.no_grad()
def convolution_of(synapse: nn.Module | None) -> Convolution | None:
    """Return a synapse in evaluation as a convolution, gains, shifts and pool; None if it is something else."""
    found = _weighted(synapse, pooled=True)
    made = None if found is None else found[0]
    if found is None or type(made) is not nn.Conv2d or made.groups != 1 or made.padding_mode != "zeros":
        return None
    if isinstance(made.padding, str):
        return None
    stride, padding, dilation = ((size[0], size[1]) for size in (made.stride, made.padding, made.dilation))
    pool = synapse.pool if isinstance(synapse, PooledSynapse) else None
    return Convolution(made.weight.detach(), found[1], found[2], stride, padding, dilation, pool)


_WEIGHTED = (nn.Linear, nn.Conv2d, DelayedLinear)


def _weighted(synapse: nn.Module | None, *, pooled: bool = False) -> tuple[nn.Module, Tensor, Tensor] | None:
    """Return the linear or convolution in a synapse, gains and shifts; None if it has none or more than that.

    A batch norm is ``x a + (b - m a)`` with ``a = g / sqrt(v + eps)``, in the order in which torch computes it.
    """
    if synapse is not None and type(synapse) in _WEIGHTED:
        weight, bias = synapse.get_parameter("weight").detach(), getattr(synapse, "bias", None)
        shift = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        return synapse, torch.ones_like(shift), shift
    other = NormalisedTokens if pooled else NormalisedTokens | PooledSynapse
    if not isinstance(synapse, Normalised) or isinstance(synapse, other):
        return None
    made, norm = synapse.weight, synapse.norm
    if type(made) not in _WEIGHTED or getattr(made, "bias", None) is not None or type(norm) is not nn.BatchNorm1d:
        return None
    if norm.running_mean is None or norm.running_var is None:
        return None
    gain = (1 / (norm.running_var + norm.eps).sqrt()) * norm.weight.detach()
    return made, gain, norm.bias.detach() - norm.running_mean * gain
