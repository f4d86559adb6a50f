"""Spike-driven Transformer: residuals of membranes, and queries behind gates (Yao et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Steps, Stepwise
from neurozoo.nn.layers import Layers
from neurozoo.nn.step_loss import StepLoss
from neurozoo.nn.steps import Readout, merged
from neurozoo.nn.synapses import PooledSynapse, conv_norm
from neurozoo.nn.transformer import (
    BIAS,
    Bias,
    ConvStages,
    Current,
    Depth,
    FiredSynapse,
    Pools,
    Ratio,
    Size,
    after_attention,
    default_neurons,
    max_pool,
    over_rows,
    problems_of_sizes,
    to_picture,
    to_tokens,
)

__all__ = ["SpikeDrivenTransformer"]

Share = Annotated[float, Field(ge=0, le=1)]
PoolAxes = Literal["picture", "tokens-and-channels"]


class SpikeDrivenTransformer(Stepwise):
    """Adds membranes, and fires before each linear map, so that every weight is multiplied with spikes.

    A block is ``u + attention(u)``, then ``u + mlp(u)``, with real numbers u. Attention is a gate for each channel: a
    neuron driven by the number of places at which key and value fire together lets the channel's queries pass.

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; by default LIF with tau 2, a detached reset and a sigmoid surrogate.
        width: Channels D; a multiple of 8.
        heads: Heads, which matter for ``pool_axes: tokens-and-channels`` only; divides ``width``.
        depth: Blocks.
        ratio: Width of the MLP, in widths.
        pools: Which of the four stages of patch splitting halve the picture, rounding up.
        attention_pools: Whether keys, values, their product and the gated queries are max-pooled 3x3, as published for
            event frames.
        pool_axes: Axes of the last two of these pools: the ``picture``'s, or ``tokens-and-channels`` of a head (as
            published).
        attention_current: What drives the neurons of the gate: ``raw`` sums over all places (as published), or sums
            ``normalised``, so that their rate does not depend on the picture's size.
        bias: ``before-norm`` gives linear maps a bias that the batch norm after them cancels (as published); ``none``.
        loss_steps: Whether the loss is that of the ``mean`` over the steps (of the readout), or of ``each`` step.
        loss_share: Of ``each``: share of the squared distance of outputs to a constant, dimensionless.
        loss_level: Of ``each``: that constant.
        time_steps: T for which a picture is held.
        readout: How a sample is read from the outputs of all steps; a task per step takes each step's.
    """

    quirks: ClassVar = {
        "attention_current": Quirk(
            "raw", "normalised", "the gate's firing rate grows with the picture, until it is always open"
        ),
        "bias": BIAS,
        "pool_axes": Quirk(
            "tokens-and-channels",
            "picture",
            "two max pools mix neighbouring channels, so that the result depends on the number of heads",
        ),
    }
    variants: ClassVar = {
        "spike-driven-transformer-2-512": Variant(
            params={"width": 512, "heads": 8, "depth": 2, "pools": (3, 4)},
            shape=(3, 32, 32),
            length=1,
            outputs=10,
            parameters=10_233_418,
            unused=128,
            source="arXiv 2307.01694, CIFAR-10",
        ),
        "spike-driven-transformer-2-256-dvs": Variant(
            params={"width": 256, "heads": 8, "depth": 2, "pools": (2, 3, 4), "attention_pools": True},
            shape=(2, 128, 128),
            length=16,
            outputs=11,
            parameters=2_566_923,
            unused=128,
            source="arXiv 2307.01694, DVS128 Gesture",
        ),
    }
    authors_names: ClassVar = AuthorsNames(
        (
            (r"patch_embed[.]proj_conv3[.](.*)", r"last.weight.\1"),
            (r"patch_embed[.]proj_bn3[.](.*)", r"last.norm.\1"),
            (r"patch_embed[.]proj_lif3[.]w", "position.neurons.stored.leak"),
            (r"patch_embed[.]rpe_conv[.](.*)", r"position.synapse.weight.\1"),
            (r"patch_embed[.]rpe_bn[.](.*)", r"position.synapse.norm.\1"),
            *(
                (rf"patch_embed[.]proj_{kind}{suffix}[.]{rest}", rf"patches.stages.{n}.{own}")
                for n, suffix in enumerate(("", "1", "2"))
                for kind, rest, own in (
                    ("conv", "(.*)", r"synapse.weight.\1"),
                    ("bn", "(.*)", r"synapse.norm.\1"),
                    ("lif", "w", "stored.leak"),
                )
            ),
            (r"block[.](\d+)[.]attn[.]shortcut_lif[.]w", r"blocks.\1.attention.fires.stored.leak"),
            (r"block[.](\d+)[.]attn[.]talking_heads_lif[.]w", r"blocks.\1.attention.gate.stored.leak"),
            (r"block[.](\d+)[.]attn[.]([qkv])_conv[.](.*)", r"blocks.\1.attention.\2.synapse.weight.\3"),
            (r"block[.](\d+)[.]attn[.]([qkv])_bn[.](.*)", r"blocks.\1.attention.\2.synapse.norm.\3"),
            (r"block[.](\d+)[.]attn[.]([qkv])_lif[.]w", r"blocks.\1.attention.\2.stored.leak"),
            (r"block[.](\d+)[.]attn[.]proj_conv[.](.*)", r"blocks.\1.attention.proj.weight.\2"),
            (r"block[.](\d+)[.]attn[.]proj_bn[.](.*)", r"blocks.\1.attention.proj.norm.\2"),
            (r"block[.](\d+)[.]mlp[.](fc\d)_conv[.](.*)", r"blocks.\1.mlp.\2.synapse.weight.\3"),
            (r"block[.](\d+)[.]mlp[.](fc\d)_bn[.](.*)", r"blocks.\1.mlp.\2.synapse.norm.\3"),
            (r"block[.](\d+)[.]mlp[.](fc\d)_lif[.]w", r"blocks.\1.mlp.\2.neurons.stored.leak"),
            (r"head_lif[.]w", "fires.stored.leak"),
            (r"head[.](.*)", r"head.\1"),
        ),
        {
            r"block[.]\d+[.]attn[.]talking_heads[.].*": "a map between heads that is never called",
            r"block[.]\d+[.]attn[.]attn_lif[.]w|patch_embed[.]rpe_lif[.]w": "of neurons that are never called",
        },
    )

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        width: Size = 512,
        heads: Size = 8,
        depth: Depth = 2,
        ratio: Ratio = 4,
        pools: Pools = (3, 4),
        attention_pools: bool = False,
        pool_axes: PoolAxes = "picture",
        attention_current: Current = "normalised",
        bias: Bias = "none",
        loss_steps: Literal["mean", "each"] = "mean",
        loss_share: Share = 0.001,
        loss_level: float = 1.0,
        time_steps: Steps = 4,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem, 3, "frames [L, C, H, W]", readout, time_steps)
        layers, biased = Layers(parts("neuron") or default_neurons(), neuron), bias == "before-norm"
        self.patches = ConvStages(layers, (self.shape.shape[0], width // 8, width // 4, width // 2), pools)
        self.last = conv_norm(width // 2, width)
        if 4 in pools:
            self.last = PooledSynapse(self.last.weight, width)
        self.position = FiredSynapse(layers, width, width, 3)
        self.blocks = nn.ModuleList(
            _Block(
                _GatedQueries(
                    layers, width, heads, attention_current, pool_axes if attention_pools else None, bias=biased
                ),
                _MembraneMLP(layers, width, ratio, bias=biased),
            )
            for _ in range(depth)
        )
        self.fires = layers.neurons(width)
        self.head = nn.Linear(width, problem.outputs)
        self.step_loss = StepLoss(problem.task, loss_share, loss_level) if loss_steps == "each" else None

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from problems_of_sizes(params["width"], params["heads"], 8, params["pools"])
        if params["loss_steps"] == "each" and problem is not None and problem.task.per_step:
            yield "loss_steps", "the task is per step, and its loss is that of each step already; give mean"

    def forward(self, batch: Batch) -> Tensor:
        signal, x, valid = self.steps(batch)
        u = over_rows(self.last, self.patches(x, valid), valid)
        u = u + self.position(u, valid)
        for block in self.blocks:
            u = block(u, valid)
        spikes = self.fires(u.mean((3, 4), keepdim=True), valid=valid)
        outputs = self.head(spikes.flatten(2))
        answer = self.answer(outputs, signal, valid)
        if self.step_loss is not None:
            self.step_loss.keep(outputs, answer, valid)
        return answer


class _Block(nn.Module):
    """Attention and MLP, each added to the membranes."""

    def __init__(self, attention: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp

    def forward(self, u: Tensor, valid: Tensor | None) -> Tensor:
        """Return membranes ``[T, B, D, H, W]``; ``valid`` is ``[T, B]``."""
        after: Tensor = self.mlp(u + self.attention(u, valid), valid)
        return after


class _GatedQueries(nn.Module):
    """Spike-driven self-attention: a gate for each channel, by the places at which keys and values fire together."""

    def __init__(
        self, layers: Layers, width: int, heads: int, current: Current, pools: PoolAxes | None, *, bias: bool
    ) -> None:
        super().__init__()
        self.fires = layers.neurons(width)
        self.q, self.k, self.v = (layers.conv(width, width, 1) for _ in range(3))
        self.gate, self.threshold = after_attention(layers, width, current)
        self.proj = conv_norm(width, width, 1, bias=bias)
        self.heads, self.pools, self.pool = heads, pools, max_pool(stride=1)

    def forward(self, u: Tensor, valid: Tensor | None) -> Tensor:
        """Return currents ``[T, B, D, H, W]`` of membranes of this shape; ``valid`` is ``[T, B]``."""
        s = self.fires(u, valid=valid)
        q, k, v = (layer(s, valid=valid) for layer in (self.q, self.k, self.v))
        if self.pools is not None:
            k, v = merged(self.pool, k), merged(self.pool, v)
        together = self._pooled(k * v).sum((3, 4), keepdim=True)
        gate = self.gate(together, self.threshold, valid=valid)  # [T, B, D, 1, 1]
        return over_rows(self.proj, self._pooled(q * gate), valid)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pools is None:
            return x
        if self.pools == "picture":
            return merged(self.pool, x)
        by_head = torch.stack(to_tokens(x).chunk(self.heads, -1), 2)  # [T, B, heads, N, D / heads]
        pooled = merged(self.pool, by_head)  # a window of tokens and channels
        return to_picture(pooled.transpose(2, 3).flatten(3), x)


class _MembraneMLP(nn.Module):
    """Two maps of spikes at each place; with a hidden layer as wide as the stream, both are added to it."""

    def __init__(self, layers: Layers, width: int, ratio: int, *, bias: bool) -> None:
        super().__init__()
        self.fc1 = FiredSynapse(layers, width, ratio * width, bias=bias)
        self.fc2 = FiredSynapse(layers, ratio * width, width, bias=bias)
        self.same = ratio == 1

    def forward(self, u: Tensor, valid: Tensor | None) -> Tensor:
        """Return membranes ``[T, B, D, H, W]``, the residual included."""
        hidden = self.fc1(u, valid)
        if self.same:
            u = hidden = u + hidden
        after: Tensor = u + self.fc2(hidden, valid)
        return after
