"""Spikformer: a transformer whose queries, keys, values and residuals are spikes (Zhou et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Steps, Stepwise
from neurozoo.nn.layers import Layers
from neurozoo.nn.steps import Readout
from neurozoo.nn.transformer import (
    BIAS,
    Bias,
    ConvStages,
    Current,
    Depth,
    Pools,
    Ratio,
    ResidualBlock,
    SelfAttention,
    Size,
    SpikingMLP,
    default_neurons,
    problems_of_sizes,
)

__all__ = ["Spikformer"]


class Spikformer(Stepwise):
    """Splits frames or pictures into patches by convolutions, and attends between the patches at each step.

    Blocks are ``x + attention(x)`` and ``x + mlp(x)``; what is added are spikes, so that x holds whole numbers.

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; by default LIF with tau 2, a detached reset and a sigmoid surrogate.
        width: Channels D of a patch; a multiple of 8.
        heads: Attention heads; divides ``width``.
        depth: Blocks.
        ratio: Width of the MLP, in widths.
        pools: Which of the four stages of patch splitting halve the picture, rounding up.
        scale: Factor of the attention's product, of ``attention_current`` raw; dimensionless.
        attention_current: What drives the neurons after attention: ``raw`` products (as published), or the products
            ``normalised``, with which they fire at initialisation.
        bias: ``before-norm`` gives linear maps a bias that the batch norm after them cancels (as published); ``none``.
        query_bias: Whether ``before-norm`` is for queries, keys and values too (as published for pictures).
        time_steps: T for which a picture is held.
        readout: How a sample is read from the outputs of all steps; a task per step takes each step's.
    """

    quirks: ClassVar = {
        "attention_current": Quirk("raw", "normalised", "the neurons after attention hardly fire at initialisation"),
        "bias": BIAS,
    }
    variants: ClassVar = {
        "spikformer-4-384": Variant(
            params={"width": 384, "heads": 12, "depth": 4, "scale": 0.125, "pools": (3, 4), "query_bias": True},
            shape=(3, 32, 32),
            length=1,
            outputs=10,
            parameters=9_324_730,
            unused=6_144,
            source="arXiv 2209.15425, CIFAR-10",
        ),
        "spikformer-2-256-dvs": Variant(
            params={"width": 256, "heads": 16, "depth": 2, "scale": 0.25, "pools": (1, 2, 3, 4)},
            shape=(2, 128, 128),
            length=16,
            outputs=10,
            parameters=2_566_666,
            unused=18_944,
            source="arXiv 2209.15425, CIFAR10-DVS",
        ),
    }
    authors_names: ClassVar = AuthorsNames(
        (
            (r"patch_embed[.]proj_conv[.](.*)", r"patches.stages.0.synapse.weight.\1"),
            (r"patch_embed[.]proj_conv(\d)[.](.*)", r"patches.stages.\1.synapse.weight.\2"),
            (r"patch_embed[.]proj_bn[.](.*)", r"patches.stages.0.synapse.norm.\1"),
            (r"patch_embed[.]proj_bn(\d)[.](.*)", r"patches.stages.\1.synapse.norm.\2"),
            (r"patch_embed[.]rpe_conv[.](.*)", r"position.synapse.weight.\1"),
            (r"patch_embed[.]rpe_bn[.](.*)", r"position.synapse.norm.\1"),
            (r"block[.](\d+)[.]attn[.](q|k|v|proj)_bn[.](.*)", r"blocks.\1.attention.\2.synapse.norm.\3"),
            (r"block[.](\d+)[.]attn[.](q|k|v|proj)_\w+[.](.*)", r"blocks.\1.attention.\2.synapse.weight.\3"),
            (r"block[.](\d+)[.]mlp[.](fc\d)_bn[.](.*)", r"blocks.\1.mlp.\2.synapse.norm.\3"),
            (r"block[.](\d+)[.]mlp[.](fc\d)_\w+[.](.*)", r"blocks.\1.mlp.\2.synapse.weight.\3"),
            (r"head[.](.*)", r"head.\1"),
        ),
        {r"block[.]\d+[.]norm\d[.].*|norm[.].*": "a layer norm that is never called", "pos_embed": "never added"},
    )

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        width: Size = 384,
        heads: Size = 12,
        depth: Depth = 4,
        ratio: Ratio = 4,
        pools: Pools = (3, 4),
        scale: Annotated[float, Field(gt=0)] = 0.125,
        attention_current: Current = "normalised",
        bias: Bias = "none",
        query_bias: bool = False,
        time_steps: Steps = 4,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem, 3, "frames [L, C, H, W]", readout, time_steps)
        choice = parts("neuron") or default_neurons()
        layers, biased = Layers(choice, neuron), bias == "before-norm"
        widths = (self.shape.shape[0], width // 8, width // 4, width // 2, width)
        self.patches = ConvStages(layers, widths, pools)
        self.position = layers.conv(width, width)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                SelfAttention(
                    layers,
                    width,
                    heads,
                    scale=scale,
                    current=attention_current,
                    query_bias=biased and query_bias,
                    bias=biased,
                ),
                SpikingMLP(layers, width, ratio, bias=biased),
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(width, problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from problems_of_sizes(params["width"], params["heads"], 8, params["pools"])

    def forward(self, batch: Batch) -> Tensor:
        signal, x, valid = self.steps(batch)
        x = self.patches(x, valid)
        x = x + self.position(x, valid=valid)
        for block in self.blocks:
            x = block(x, valid)
        return self.answer(self.head(x.mean((3, 4))), signal, valid)
