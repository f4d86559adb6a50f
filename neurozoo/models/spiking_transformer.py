"""A small spiking transformer on frames or pictures: spiking self-attention without a softmax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron, SpikingLayer
from neurozoo.core.model import Model, NeuronChoice, Parts, only_signal
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout, as_steps, read_out, to_positions
from neurozoo.nn.synapses import Normalised, NormalisedTokens

__all__ = ["SpikingTransformer"]

Size = Annotated[int, Field(ge=1, le=4096)]


class SpikingTransformer(Model):
    """Splits frames into patches whose spikes attend to one another, at each step.

    Blocks are ``x + attention(x)`` and ``x + mlp(x)``. Queries, keys and values are spikes, and their product needs no
    softmax (after Zhou et al. 2023, section 3.3; here one convolution makes the patches, and the product is
    normalised).

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; LIF by default.
        neuron: Makes the backend's neuron.
        width: Features D of a patch.
        heads: Attention heads; divides ``width``.
        depth: Blocks.
        patch: Edge of a patch, in pixels; divides the frame.
        expansion: Width of the MLP, in widths.
        time_steps: T for which a picture is held; frames are their own steps.
        readout: What of the outputs at each step is the sample's; a task per step takes each.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {"neuron": NeuronChoice}
    optional = ("neuron",)

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
        time_steps: Annotated[int, Field(ge=1, le=1024)] = 4,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem)
        self.name, shape = only_signal(problem, 3, "frames [L, C, H, W]")
        self.held = time_steps if shape.length == 1 else None
        if self.held and problem.task.per_step:
            raise DataError("the task is per step, and a picture has no steps; give frames, or a task per sample")
        channels, height, breadth = shape.shape
        if height % patch or breadth % patch:
            raise DataError(f"patches of {patch} do not divide frames of {height} x {breadth}; choose another patch")
        self.readout: Readout = readout
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
        signal = self.signal(batch, self.name)
        steps, valid = as_steps(signal)
        if self.held:
            fired = self.patches(steps[0], steps=self.held)
            valid = None
        else:
            fired = self.patches(steps, valid=valid)
        x = fired.flatten(3).transpose(2, 3)  # [T, B, P, D]
        for block in self.blocks:
            x = block(x, valid)
        outputs: Tensor = self.head(x.mean(2))  # [T, B, K]
        if self.problem.task.per_step:
            return to_positions(outputs, signal.valid)
        return read_out(outputs, valid, self.readout)


class _Block(nn.Module):
    """Spiking self-attention and a spiking MLP, each added to what comes in."""

    def __init__(self, choice: NeuronChoice, neuron: MakeNeuron, width: int, heads: int, expansion: int) -> None:
        super().__init__()

        def layer(into: int, out: int) -> SpikingLayer:
            return choice.layer(neuron, NormalisedTokens(nn.Linear(into, out, bias=False), out), shape=(1, out))

        self.heads = heads
        self.query, self.key, self.value = (layer(width, width) for _ in range(3))
        # A sum of products of spikes is small or large with the number of patches: it is normalised before it fires.
        self.attended = choice.layer(neuron, NormalisedTokens(nn.Identity(), width), shape=(1, width))
        self.project = layer(width, width)
        self.widen, self.narrow = layer(width, expansion * width), layer(expansion * width, width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """``[T, B, P, D]``; ``valid`` ``[T, B]``."""
        q, k, v = (
            layer(x, valid=valid).unflatten(-1, (self.heads, -1)).transpose(2, 3)  # [T, B, H, P, D/H]
            for layer in (self.query, self.key, self.value)
        )
        # Keys with values first where that is less: there is no softmax in between.
        product = q @ (k.transpose(-2, -1) @ v)
        x = x + self.project(self.attended(product.transpose(2, 3).flatten(3), valid=valid), valid=valid)
        added: Tensor = x + self.narrow(self.widen(x, valid=valid), valid=valid)
        return added
