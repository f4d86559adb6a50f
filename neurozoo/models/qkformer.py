"""QKFormer: stages of spiking attention, linear in tokens but for the last (Zhou et al., NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron, SpikingLayer
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Steps, Stepwise
from neurozoo.nn.layers import Layers
from neurozoo.nn.steps import Readout
from neurozoo.nn.transformer import (
    BIAS,
    Bias,
    Current,
    Depth,
    Ratio,
    ResidualBlock,
    SelfAttention,
    Size,
    SpikingMLP,
    after_attention,
    default_neurons,
    problems_of_sizes,
)

__all__ = ["QKFormer"]

Stem = Literal["same", "eighth"]
DIVISORS: Mapping[Stem, int] = {"same": 2, "eighth": 8}
"""Width of the first stage divided by the channels of its first layer, by stem."""


def _names() -> tuple[tuple[str, str], ...]:
    """Return the table of the authors' names; theirs count stages from 1."""
    found: list[tuple[str, str]] = []
    for stage in range(3):
        patches, theirs = f"stages.{stage}.patches", f"patch_embed{stage + 1}[.]proj"
        first = "" if stage == 0 else "3?"  # the later stages begin with proj or proj3
        layers = [(first, "layers.0"), ("_res", "shortcut")]
        layers += [(str(n), f"layers.{n}") for n in (1, 2, 3)] if stage == 0 else [("4", "layers.1")]
        for suffix, here in layers:
            found.append((rf"{theirs}{suffix}_conv[.](.*)", rf"{patches}.{here}.synapse.weight.\1"))
            found.append((rf"{theirs}{suffix}_bn[.](.*)", rf"{patches}.{here}.synapse.norm.\1"))
        block, kinds = rf"stage{stage + 1}[.](\d+)[.]", (("conv", "weight"), ("bn", "norm"))
        for kind, own in kinds:
            name = rf"stages.{stage}.blocks.\1"
            found.append((rf"{block}t?ssa[.](q|k|v|proj)_{kind}[.](.*)", rf"{name}.attention.\2.synapse.{own}.\3"))
            found.append((rf"{block}mlp[.]mlp(\d)_{kind}[.](.*)", rf"{name}.mlp.fc\2.synapse.{own}.\3"))
    return (*found, (r"head[.](.*)", r"head.\1"))


class QKFormer(Stepwise):
    """Halves pictures or frames from stage to stage, with token attention of queries and keys, then self-attention.

    All stages but the last have one block of token attention: whether the queries of a token and head fire together
    decides whether its keys pass. The last has blocks of spiking self-attention.

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; by default LIF with tau 2, a detached reset and a sigmoid surrogate.
        width: Channels D of the last stage; each earlier stage has half of the next one's.
        heads: Attention heads of all stages; divides the width of the first.
        token_stages: Stages with token attention.
        depth: Blocks of self-attention in the last stage.
        ratio: Width of the MLP, in widths.
        stem: Whether the first stage keeps the ``same`` resolution, or makes an ``eighth`` of it, rounding up.
        scale: Factor of the self-attention's product, of ``attention_current`` raw; dimensionless.
        attention_current: What drives the neurons after attention: ``raw`` sums of spikes (as published), or sums
            ``normalised``, with which they are neither silent nor saturated at initialisation.
        state: Whether the last neurons of self-attention keep their state ``per-sample``, or ``over-samples``: from
            one sample of the batch to the next, with T B steps (as published).
        bias: ``before-norm`` gives linear maps a bias that the batch norm after them cancels (as published); ``none``.
        time_steps: T for which a picture is held.
        readout: How a sample is read from the outputs of all steps; a task per step takes each step's.
    """

    quirks: ClassVar = {
        "attention_current": Quirk(
            "raw", "normalised", "neurons after attention are silent or saturated at initialisation"
        ),
        "state": Quirk("over-samples", "per-sample", "a prediction depends on the other samples of its batch"),
        "bias": BIAS,
    }
    variants: ClassVar = {
        "qkformer-4-384": Variant(
            params={"width": 384, "heads": 8, "token_stages": 2, "depth": 2, "ratio": 4, "stem": "same"},
            shape=(3, 32, 32),
            length=1,
            outputs=10,
            parameters=6_706_234,
            source="arXiv 2403.16552, CIFAR-10",
        ),
        "qkformer-2-256-dvs": Variant(
            params={"width": 256, "heads": 16, "token_stages": 1, "depth": 1, "ratio": 1, "stem": "eighth"},
            shape=(2, 128, 128),
            length=16,
            outputs=10,
            parameters=1_504_138,
            source="arXiv 2403.16552, CIFAR10-DVS",
        ),
    }
    authors_names: ClassVar = AuthorsNames(_names())

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        width: Size = 384,
        heads: Size = 8,
        token_stages: Annotated[int, Field(ge=0, le=2)] = 2,
        depth: Depth = 2,
        ratio: Ratio = 4,
        stem: Stem = "same",
        scale: Annotated[float, Field(gt=0)] = 0.125,
        attention_current: Current = "normalised",
        state: Literal["per-sample", "over-samples"] = "per-sample",
        bias: Bias = "none",
        time_steps: Steps = 4,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem, 3, "frames [L, C, H, W]", readout, time_steps)
        layers, biased = Layers(parts("neuron") or default_neurons(), neuron), bias == "before-norm"
        attend = SelfAttention if state == "per-sample" else _OverSamples
        channels = self.shape.shape[0]
        self.stages = nn.ModuleList()
        for left in range(token_stages, -1, -1):
            wide = width >> left
            patches = _patches(layers, channels, wide) if self.stages else _stem(layers, channels, wide, stem)
            attentions = (
                [_TokenAttention(layers, wide, heads, attention_current, bias=biased)]
                if left
                else [
                    attend(layers, wide, heads, scale=scale, current=attention_current, bias=biased)
                    for _ in range(depth)
                ]
            )
            blocks = [ResidualBlock(each, SpikingMLP(layers, wide, ratio, bias=biased)) for each in attentions]
            self.stages.append(_Stage(patches, blocks))
            channels = wide
        self.head = nn.Linear(width, problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        halved = 2 ** params["token_stages"]
        wrong = list(problems_of_sizes(params["width"], 1, halved * DIVISORS[params["stem"]]))
        yield from wrong
        first = params["width"] // halved
        if not wrong and first % params["heads"]:
            yield "heads", f"{params['heads']} heads do not divide the first stage's {first} channels; choose a divisor"

    def forward(self, batch: Batch) -> Tensor:
        signal, x, valid = self.steps(batch)
        for stage in self.stages:
            x = stage(x, valid)
        return self.answer(self.head(x.mean((3, 4))), signal, valid)


class _Stage(nn.Module):
    """Patch embedding, then blocks."""

    def __init__(self, patches: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.patches, self.blocks = patches, nn.ModuleList(blocks)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        x = self.patches(x, valid)
        for block in self.blocks:
            x = block(x, valid)
        return x


class _Patches(nn.Module):
    """Patch embedding: layers in a row, and a shortcut layer from one of them to the end, where spikes are added.

    Args:
        layers: In order.
        shortcut: Maps its input to the shape of the last layer's output.
        before: Number of layers before the shortcut's start; 0 for the input.
    """

    def __init__(self, layers: Sequence[SpikingLayer], shortcut: SpikingLayer, before: int) -> None:
        super().__init__()
        self.layers, self.shortcut, self.before = nn.ModuleList(layers), shortcut, before

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return 0, 1 or 2 at each place, ``[T, B, C, H, W]``."""
        for layer in self.layers[: self.before]:
            x = layer(x, valid=valid)
        start = x
        for layer in self.layers[self.before :]:
            x = layer(x, valid=valid)
        added: Tensor = x + self.shortcut(start, valid=valid)
        return added


def _stem(layers: Layers, channels: int, width: int, stem: Stem) -> _Patches:
    if stem == "same":
        half = width // 2
        return _Patches([layers.conv(channels, half), layers.conv(half, width)], layers.conv(half, width, 1), before=1)
    widths = (width // 8, width // 4, width // 2, width)
    halving = [layers.conv(widths[n], widths[n + 1], pool=True) for n in range(3)]
    return _Patches([layers.conv(channels, widths[0]), *halving], layers.conv(widths[1], width, 1, stride=4), before=2)


def _patches(layers: Layers, channels: int, width: int) -> _Patches:
    return _Patches(
        [layers.conv(channels, width), layers.conv(width, width, pool=True)],
        layers.conv(channels, width, 1, stride=2),
        before=0,
    )


class _TokenAttention(nn.Module):
    """A gate for each token and head: neurons that the sum of the head's queries drives; it lets the keys pass."""

    def __init__(self, layers: Layers, width: int, heads: int, current: Current, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = (layers.conv(width, width, 1) for _ in range(2))
        self.gate, self.threshold = after_attention(layers, heads, current)
        self.proj = layers.conv(width, width, 1, bias=bias)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return spikes ``[T, B, D, H, W]``; ``valid`` is ``[T, B]``."""
        by_head = (self.heads, x.shape[2] // self.heads)
        queries, keys = (layer(x, valid=valid).unflatten(2, by_head) for layer in (self.q, self.k))
        gate = self.gate(queries.sum(3), self.threshold, valid=valid)  # [T, B, heads, H, W]
        spikes: Tensor = self.proj((gate[:, :, :, None] * keys).flatten(2, 3), valid=valid)
        return spikes


class _OverSamples(SelfAttention):
    """Self-attention whose last neurons have T B steps: their state passes from sample to sample, as published."""

    def project(self, x: Tensor, valid: Tensor | None) -> Tensor:
        rows = x.flatten(0, 1)[:, None]
        return super().project(rows, None if valid is None else valid.flatten()[:, None]).reshape(x.shape)
