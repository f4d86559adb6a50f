"""A small spiking transformer on frames or pictures: spiking self-attention without a softmax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron, SpikingLayer
from neurozoo.core.model import NeuronChoice, Parts
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.models.stepwise import Steps, Stepwise
from neurozoo.nn.attention import SpikingAttention
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout
from neurozoo.nn.synapses import Normalised, NormalisedTokens

__all__ = ["SpikingTransformer"]

Size = Annotated[int, Field(ge=1, le=4096)]


class SpikingTransformer(Stepwise):
    """Splits frames into patches and applies spiking self-attention between them at each step.

    Blocks are ``x + attention(x)`` and ``x + mlp(x)``. Queries, keys and values are spikes, and their product needs no
    softmax (Zhou et al. 2023, section 3.3; unlike there, one convolution makes the patches, and the product is
    normalised).

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; LIF by default.
        width: Features D of a patch.
        heads: Attention heads; divides ``width``.
        depth: Blocks.
        patch: Edge of a patch, in pixels; divides the frame.
        expansion: Width of the MLP, in widths.
        time_steps: T for which a picture is held.
        readout: How a sample is read from the outputs of all steps; a task per step takes each step's.
    """

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        width: Size = 64,
        heads: Size = 4,
        depth: Annotated[int, Field(ge=1, le=64)] = 2,
        patch: Size = 4,
        expansion: Annotated[int, Field(ge=1, le=16)] = 2,
        time_steps: Steps = 4,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem, 3, "frames [L, C, H, W]", readout, time_steps)
        channels, height, breadth = self.shape.shape
        if height % patch or breadth % patch:
            raise DataError(f"patches of {patch} do not divide frames of {height} x {breadth}; choose another patch")
        choice = parts("neuron") or LIF()
        split = nn.Conv2d(channels, width, patch, stride=patch, bias=False)
        self.patches = choice.layer(neuron, Normalised(split, width), shape=(width, 1, 1))
        self.blocks = nn.ModuleList(_Block(choice, neuron, width, heads, expansion) for _ in range(depth))
        self.head = nn.Linear(width, problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        if params["width"] % params["heads"]:
            yield "heads", f"{params['heads']} heads do not divide width = {params['width']}; choose a divisor"

    def forward(self, batch: Batch) -> Tensor:
        signal, spikes, valid = self.drive(self.patches, batch)
        x = spikes.flatten(3).transpose(2, 3)  # [T, B, P, D]
        for block in self.blocks:
            x = block(x, valid)
        return self.answer(self.head(x.mean(2)), signal, valid)


class _Block(nn.Module):
    """Spiking self-attention and a spiking MLP, each with a residual connection."""

    def __init__(self, choice: NeuronChoice, neuron: MakeNeuron, width: int, heads: int, expansion: int) -> None:
        super().__init__()

        def layer(into: int, out: int) -> SpikingLayer:
            return choice.layer(neuron, NormalisedTokens(nn.Linear(into, out, bias=False), out), shape=(1, out))

        self.query, self.key, self.value = (layer(width, width) for _ in range(3))
        # Sums of products of spikes scale with the number of patches, so they are normalised before they fire.
        self.attention = SpikingAttention(heads)
        self.attended = choice.layer(neuron, NormalisedTokens(nn.Identity(), width), shape=(1, width))
        self.project = layer(width, width)
        self.widen, self.narrow = layer(width, expansion * width), layer(expansion * width, width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return ``[T, B, P, D]`` of the same; ``valid`` is ``[T, B]``."""
        product = self.attention(*(layer(x, valid=valid) for layer in (self.query, self.key, self.value)))
        x = x + self.project(self.attended(product, valid=valid), valid=valid)
        added: Tensor = x + self.narrow(self.widen(x, valid=valid), valid=valid)
        return added
