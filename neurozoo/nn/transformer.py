"""Blocks that spiking transformers share; all of them take and return ``[T, B, C, H, W]``.

Tokens are the places of a picture, row by row, and a linear map of tokens is a convolution of kernel 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import SpikingLayer, Synapse
from neurozoo.core.published import Quirk
from neurozoo.nn.attention import SpikingAttention
from neurozoo.nn.layers import Layers
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import merged
from neurozoo.nn.synapses import Normalised, conv_norm

__all__ = [
    "BIAS",
    "Bias",
    "ConvStages",
    "Current",
    "Depth",
    "FiredSynapse",
    "Pools",
    "Ratio",
    "ResidualBlock",
    "SelfAttention",
    "Size",
    "SpikingMLP",
    "after_attention",
    "default_neurons",
    "max_pool",
    "over_rows",
    "problems_of_sizes",
    "to_picture",
    "to_tokens",
]

Size = Annotated[int, Field(ge=1, le=4096)]
"""Number of channels, or of heads."""
Depth = Annotated[int, Field(ge=1, le=64)]
"""Number of blocks."""
Ratio = Annotated[int, Field(ge=1, le=16)]
"""Width of an MLP, in widths of its input."""
Bias = Literal["none", "before-norm"]
"""Which linear maps have a bias."""
BIAS = Quirk(
    "before-norm",
    "none",
    "linear maps before a batch norm have a bias that the norm cancels, so that it learns nothing",
)
"""The quirk that all of these models have."""
Current = Literal["raw", "normalised"]
"""What drives neurons after attention: sums of spikes or of their products, or these with batch norm."""
Pools = Annotated[tuple[Annotated[int, Field(ge=1, le=4)], ...], Field(max_length=4)]
"""Stages, from 1, at whose end a picture is halved."""
RAW_THRESHOLD = 0.5
"""Threshold of neurons after attention that ``raw`` currents drive, as published; others have 1."""


def default_neurons() -> LIF:
    """Return the neurons of these models as published: tau 2, a detached reset, a sigmoid surrogate."""
    return LIF(detach_reset=True, surrogate="sigmoid", alpha=4.0)


def after_attention(layers: Layers, width: int, current: Current) -> tuple[SpikingLayer, float]:
    """Make the neurons that sums over tokens or channels drive, and return them with their threshold.

    Raw sums may leave them silent or saturated.
    """
    if current == "raw":
        return layers.neurons(width), RAW_THRESHOLD
    return layers.of(Normalised(nn.Identity(), width), width), 1.0


def max_pool(stride: int = 2) -> nn.MaxPool2d:
    """Make a max pool 3x3 that halves a picture, rounding up, or with stride 1 keeps its size."""
    return nn.MaxPool2d(3, stride, padding=1)


def to_tokens(x: Tensor) -> Tensor:
    """Return tokens ``[T, B, H W, C]`` of a picture."""
    return x.flatten(3).transpose(2, 3)


def to_picture(tokens: Tensor, like: Tensor) -> Tensor:
    """Return tokens ``[T, B, H W, C]`` as a picture of the height and width of another."""
    return tokens.transpose(2, 3).reshape(*tokens.shape[:2], tokens.shape[3], *like.shape[3:])


def problems_of_sizes(width: int, heads: int, multiple: int, pools: Sequence[int] = ()) -> Iterable[tuple[str, str]]:
    """Yield parameters of impossible sizes, each with what is wrong, as ``Model.check_params`` does.

    Args:
        width: Channels D.
        heads: Number of heads, which has to divide D.
        multiple: D divided by the channels of the first layer.
        pools: Numbers of the stages that pool, from 1.
    """
    if width % multiple:
        yield "width", f"{width} is no multiple of {multiple}, and the first layer has width / {multiple} channels"
    if width % heads:
        yield "heads", f"{heads} heads do not divide width = {width}; choose a divisor"
    if len(set(pools)) < len(pools):
        yield "pools", f"{list(pools)} names a stage twice, and a stage pools once; name it once"


class ConvStages(nn.Module):
    """Stages ``convolution 3x3 -> batch norm -> neurons -> [max pool]``, which pool spikes.

    Args:
        layers: Makes the layers.
        widths: Channels of the input, then of each stage.
        pools: Numbers of the stages, from 1, that pool.
    """

    def __init__(self, layers: Layers, widths: Sequence[int], pools: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(layers.conv(*pair) for pair in pairwise(widths))
        self.pools = pools
        self.pool = max_pool()

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return the last stage's spikes; ``valid`` is ``[T, B]``."""
        for number, stage in enumerate(self.stages, 1):
            x = stage(x, valid=valid)
            if number in self.pools:
                x = merged(self.pool, x)
        return x


class SelfAttention(nn.Module):
    """Spiking self-attention ``q (k^T v)``, without a softmax (Zhou et al. 2023, section 3.3).

    Args:
        layers: Makes the layers.
        width: Channels D.
        heads: Heads H; divides ``width``.
        scale: Factor of ``raw`` products, dimensionless.
        current: What drives the neurons after attention.
        query_bias: Whether the maps to q, k and v have a bias, which the norm after them cancels.
        bias: Whether the last map has one.
    """

    def __init__(
        self,
        layers: Layers,
        width: int,
        heads: int,
        *,
        scale: float,
        current: Current,
        query_bias: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.q, self.k, self.v = (layers.conv(width, width, 1, bias=query_bias) for _ in range(3))
        self.product, self.scale = SpikingAttention(heads), scale
        self.attended, self.threshold = after_attention(layers, width, current)
        self.proj = layers.conv(width, width, 1, bias=bias)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return spikes ``[T, B, D, H, W]``; ``valid`` is ``[T, B]``."""
        q, k, v = (to_tokens(layer(x, valid=valid)) for layer in (self.q, self.k, self.v))
        product = to_picture(self.product(q, k, v), x) * self.scale
        return self.project(self.attended(product, self.threshold, valid=valid), valid)

    def project(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return the spikes of the last layer."""
        spikes: Tensor = self.proj(x, valid=valid)
        return spikes


class FiredSynapse(nn.Module):
    """``neurons -> convolution -> batch norm``: gives currents, to be added to a stream of real numbers.

    Args:
        layers: Makes the neurons.
        inputs: Channels of the stream.
        outputs: Channels of the currents.
        kernel: Edge of the convolution, odd.
        bias: Whether it has a bias, which the norm after it cancels.
    """

    def __init__(self, layers: Layers, inputs: int, outputs: int, kernel: int = 1, *, bias: bool = False) -> None:
        super().__init__()
        self.neurons = layers.neurons(inputs)
        self.synapse = conv_norm(inputs, outputs, kernel, bias=bias)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return currents ``[T, B, C, H, W]`` of membranes ``[T, B, C', H, W]``; ``valid`` is ``[T, B]``."""
        return over_rows(self.synapse, self.neurons(x, valid=valid), valid)


def over_rows(synapse: Synapse, x: Tensor, valid: Tensor | None) -> Tensor:
    """Apply a synapse that drives no neurons to ``[T, B, ...]`` with T and B merged; ``valid`` is ``[T, B]``."""
    rows = synapse(x.flatten(0, 1), None if valid is None else valid.flatten())
    currents: Tensor = rows.view(*x.shape[:2], *rows.shape[1:])
    return currents


class SpikingMLP(nn.Module):
    """Two layers of neurons at each place: ``width -> ratio * width -> width``.

    Args:
        layers: Makes the layers.
        width: Channels D.
        ratio: Width of the hidden layer, in widths.
        bias: Whether both maps have a bias, which the norm after them cancels.
    """

    def __init__(self, layers: Layers, width: int, ratio: int, *, bias: bool = False) -> None:
        super().__init__()
        self.fc1 = layers.conv(width, ratio * width, 1, bias=bias)
        self.fc2 = layers.conv(ratio * width, width, 1, bias=bias)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return spikes ``[T, B, D, H, W]``; ``valid`` is ``[T, B]``."""
        spikes: Tensor = self.fc2(self.fc1(x, valid=valid), valid=valid)
        return spikes


class ResidualBlock(nn.Module):
    """``x + attention(x)``, then ``x + mlp(x)``: spikes are added, so x holds whole numbers.

    Args:
        attention: Maps ``x, valid`` to spikes of the shape of x.
        mlp: The same.
    """

    def __init__(self, attention: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return ``[T, B, D, H, W]``; ``valid`` is ``[T, B]``."""
        x = x + self.attention(x, valid)
        added: Tensor = x + self.mlp(x, valid)
        return added
