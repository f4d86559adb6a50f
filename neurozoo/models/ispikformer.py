"""iSpikformer: forecasts of many series, each of which is a token of a spiking transformer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron, SpikingLayer, Synapse
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.models.stepwise import Steps, Stepwise
from neurozoo.nn.layers import Layers
from neurozoo.nn.neuron_choices import LIF
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
    problems_of_sizes,
)

__all__ = ["ISpikformer"]

Encoding = Literal["delta", "conv", "repeat"]
Statistics = Literal["by-series", "shared"]
EPS = 1e-5
"""Added to the variance of a window, in the series' unit squared."""


class ISpikformer(Stepwise):
    """Standardises each series of a window, encodes it as T spike trains, and attends between series (Lv et al. 2024).

    The window is the feature axis of a token, and the steps of the simulation carry no time of the data.

    Args:
        problem: One signal of series ``[L, C]``, all positions of which are one window; a task per sample.
        parts: Builds the slot ``neuron``; by default LIF with tau 2 and a detached reset.
        width: Features D of a series.
        heads: Attention heads; divides ``width``.
        depth: Blocks.
        ratio: Width of the MLP, in widths.
        encoder: Makes T currents of each value: of its change (``delta``), of itself and its neighbours (``conv``), or
            the value at each step (``repeat``).
        time_steps: T.
        answer: ``forecast`` gives each series H values in its own unit, K = H C outputs with the horizon slowest;
            ``pooled`` is a linear on the mean of all series.
        readout: ``mean`` over the steps, or the ``last`` one.
        statistics: Whether the encoder's norm has statistics ``by-series``, or one for all (``shared``).
        attention_current: What drives the neurons after attention: ``raw`` products (as published), or the products
            ``normalised``, with which they fire at initialisation.
        bias: ``before-norm`` gives linear maps a bias that the batch norm after them cancels (as published); ``none``.
    """

    quirks: ClassVar = {
        "readout": Quirk(
            "last", "mean", "only the last step is read, and the earlier ones act through membranes alone"
        ),
        "statistics": Quirk("shared", "by-series", "in training the scale of one series moves the currents of others"),
        "attention_current": Quirk("raw", "normalised", "the neurons after attention hardly fire at initialisation"),
        "bias": BIAS,
    }
    variants: ClassVar = {
        "ispikformer-2-256": Variant(
            params={"width": 256, "heads": 8, "depth": 2}, shape=(207,), length=12, outputs=24 * 207,
            parameters=1_596_706, source="Lv et al., ICML 2024 (arXiv 2402.01533), METR-LA, window 12, horizon 24",
            task="regression",
        ),
    }  # fmt: skip
    authors_names: ClassVar = AuthorsNames(
        (
            (r"network\.encoder\.norm\.(.*)", r"encoder.synapse.norm.\1"),
            (r"network\.encoder\.enc\.(.*)", r"encoder.synapse.map.\1"),
            (r"network\.encoder\.encoder\.0\.(.*)", r"encoder.synapse.map.\1"),
            (r"network\.encoder\.encoder\.1\.(.*)", r"encoder.synapse.norm.\1"),
            (r"network\.emb\.value_embedding\.(.*)", r"embedding.synapse.weight.\1"),
            (r"network\.emb\.bn\.(.*)", r"embedding.synapse.norm.\1"),
            (r"network\.blocks\.(\d+)\.attn\.([qkv])_m\.(.*)", r"blocks.\1.attention.\2.synapse.weight.\3"),
            (r"network\.blocks\.(\d+)\.attn\.([qkv])_bn\.(.*)", r"blocks.\1.attention.\2.synapse.norm.\3"),
            (r"network\.blocks\.(\d+)\.attn\.last_m\.(.*)", r"blocks.\1.attention.proj.synapse.weight.\2"),
            (r"network\.blocks\.(\d+)\.attn\.last_bn\.(.*)", r"blocks.\1.attention.proj.synapse.norm.\2"),
            (r"network\.blocks\.(\d+)\.mlp\.(fc\d)\.(.*)", r"blocks.\1.mlp.\2.synapse.weight.\3"),
            (r"network\.blocks\.(\d+)\.mlp\.bn(\d)\.(.*)", r"blocks.\1.mlp.fc\2.synapse.norm.\3"),
            (r"fc_out\.(.*)", r"head.\1"),
        )
    )

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        width: Size = 256,
        heads: Size = 8,
        depth: Depth = 2,
        ratio: Ratio = 4,
        encoder: Encoding = "delta",
        time_steps: Steps = 4,
        answer: Literal["forecast", "pooled"] = "forecast",
        readout: Literal["mean", "last"] = "mean",
        statistics: Statistics = "by-series",
        attention_current: Current = "normalised",
        bias: Bias = "none",
    ) -> None:
        super().__init__(problem, 1, "series [L, C]", readout)
        if problem.task.per_step:
            raise DataError("the task is per step, and a window of series is one token each; give a task per sample")
        if self.shape.length < 2:
            raise DataError(f"a window of one position of {self.name} is 0 once standardised; give a longer one")
        choice = parts("neuron") or LIF(detach_reset=True)
        layers, biased = Layers(choice, neuron), bias == "before-norm"
        (series,) = self.shape.shape
        self.time_steps, self.forecasts = time_steps, answer == "forecast"
        made = _ENCODERS[encoder](time_steps, series if statistics == "by-series" else 1)
        self.encoder: SpikingLayer = choice.layer(neuron, made, shape=(series, 1))
        self.embedding = layers.conv(self.shape.length, width, 1, bias=biased)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                SelfAttention(
                    layers, width, heads, scale=1 / 8, current=attention_current, query_bias=biased, bias=biased
                ),
                SpikingMLP(layers, width, ratio, bias=biased),
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(width, problem.outputs // series if self.forecasts else problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from problems_of_sizes(params["width"], params["heads"], 1)
        if problem is not None and len(problem.signals) == 1 and params["answer"] == "forecast":
            ((name, shape),) = problem.signals.items()
            if problem.outputs % max(shape.dim, 1):
                wrong = f"{problem.outputs} outputs are no multiple of the {shape.dim} series of {name}"
                yield (
                    "answer",
                    f"{wrong}, each of which is forecast for the same horizon; give pooled, or other outputs",
                )

    def forward(self, batch: Batch) -> Tensor:
        window, mean, deviation = self._standardised(batch)
        spikes = self.encoder(window, steps=self.time_steps)  # [T, B, C, L]
        x = self.embedding(spikes.transpose(2, 3)[..., None])  # [T, B, D, C, 1]
        for block in self.blocks:
            x = block(x, None)
        x = x[-1] if self.readout == "last" else x.mean(0)
        tokens = x.flatten(2).transpose(1, 2)  # [B, C, D]
        outputs: Tensor
        if not self.forecasts:
            outputs = self.head(tokens.mean(1))
            return outputs
        forecast = self.head(tokens) * deviation + mean  # [B, C, H]
        outputs = forecast.transpose(1, 2).flatten(1)
        return outputs

    def _standardised(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the window of each series ``[B, C, L]``, its mean and its deviation, ``[B, C, 1]``, in its unit.

        Padding counts for neither, and is 0.
        """
        _, steps, valid = self.steps(batch)
        window, length = steps.permute(1, 2, 0), self.shape.length
        # On a device the mask is not looked at, as that would wait for it.
        if window.shape[2] > length and (valid is None or (valid.device.type == "cpu" and bool(valid[length:].any()))):
            raise DataError(
                f"{self.name} has {window.shape[2]} positions, and the model reads a window of {length}; give the last "
                f"{length}, or build it for more"
            )
        counts = torch.ones_like(window[:, :1]) if valid is None else valid.T[:, None].to(window.dtype)
        number = counts.sum(2, keepdim=True).clamp(min=1)
        mean = (window * counts).sum(2, keepdim=True) / number
        centred = (window - mean) * counts
        deviation = (centred.square().sum(2, keepdim=True) / number + EPS).sqrt()
        window = centred / deviation
        if window.shape[2] < length:
            return nn.functional.pad(window, (0, length - window.shape[2])), mean, deviation
        return window[..., :length], mean, deviation


class _Encoder(Synapse):
    """Makes T currents of each value of a window ``[T, B, C, L]``, which is the same at all T."""

    over_time = True

    def __init__(self, time_steps: int, norm: int, groups: int) -> None:
        super().__init__()
        self.time_steps, self.groups = time_steps, groups
        self.norm = nn.BatchNorm1d(norm * groups)

    def normalised(self, x: Tensor) -> Tensor:
        """Normalise ``[B, N, C, L]`` with statistics for each N, or for each N and C."""
        flat = x.flatten(1, 2) if self.groups > 1 else x.flatten(2)
        made: Tensor = self.norm(flat)
        return made.view_as(x)


class _Delta(_Encoder):
    """``W_t norm(z_l - z_{l-1}) + b_t``; the first change is 0."""

    def __init__(self, time_steps: int, groups: int) -> None:
        super().__init__(time_steps, 1, groups)
        self.map = nn.Linear(1, time_steps)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[T, B, C, L]``."""
        window = x[0]
        change = torch.cat((torch.zeros_like(window[..., :1]), window.diff(dim=-1)), -1)
        currents: Tensor = self.map(self.normalised(change[:, None])[:, 0, ..., None])
        return currents.movedim(-1, 0)


class _Conv(_Encoder):
    """``norm(convolution of z along the window)``, a channel for each step."""

    def __init__(self, time_steps: int, groups: int) -> None:
        super().__init__(time_steps, time_steps, groups)
        self.map = nn.Conv2d(1, time_steps, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[T, B, C, L]``."""
        return self.normalised(self.map(x[0][:, None])).transpose(0, 1)


class _Repeat(Synapse):
    """The value itself at each step."""

    def __init__(self, time_steps: int, groups: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return ``[R, ...]`` unchanged."""
        return x


_ENCODERS: Mapping[Encoding, Any] = {"delta": _Delta, "conv": _Conv, "repeat": _Repeat}
