"""SpikeGPT: a language model whose neurons step along the tokens, with a linear recurrence in place of attention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.equations import spike
from neurozoo.core.layer import MakeNeuron, Synapse
from neurozoo.core.model import NeuronChoice, Parts
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.models.stepwise import Stepwise
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.kept import Kept
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout

__all__ = ["SpikeGPT", "weighted_average"]

Size = Annotated[int, Field(ge=1, le=65_536)]
PULL = 1e-4
"""Weight of the published gradient that pulls the largest logit to 0, dimensionless."""


class SpikeGPT(Stepwise):
    """Reads token numbers, one a step, and adds spikes to a stream of features (Zhu et al. 2024).

    ``x = LN(step(E[token]))``; in each block ``x = x + LIF(mix of tokens)`` and ``x = x + LIF(mix of channels)``; then
    a layer norm and a linear. Every step sees the steps before it only.

    Args:
        problem: One signal of token numbers ``[L]``; next tokens (``multiclass`` per step), or any other task.
        parts: Builds the slot ``neuron``; the published LIF by default.
        width: Features D.
        depth: Blocks.
        vocabulary: Number of different tokens V; null for the number of outputs of a task per step.
        dropout: Annotated[float, Field(ge=0, lt=1)], on the features after each block.
        readout: How a sample is read from the outputs of all steps; a task per step takes each step's.
        start: ``awake`` draws every matrix; ``silent`` sets those that give the neurons' currents to 0.
        pull: ``hidden`` adds to the gradient, and to no loss, what pulls each position's largest output to 0.
    """

    quirks: ClassVar = {
        "start": Quirk("silent", "awake", "no neuron gets a current at the start, so that none fires"),
        "pull": Quirk("hidden", "none", "a gradient that is in no loss pulls the largest output of each position to 0"),
    }
    variants: ClassVar = {
        "spikegpt-18-768": Variant(
            params={"width": 768, "depth": 18}, shape=(), length=1024, outputs=50_277, parameters=215_399_424,
            source="Zhu et al., TMLR 2024 (arXiv 2302.13939), the model of 216 M parameters on OpenWebText",
            per_step=True,
        ),
    }  # fmt: skip
    authors_names: ClassVar = AuthorsNames(
        (
            (r"emb\.weight", "embedding"),
            (r"blocks\.0\.ln0\.(weight|bias)", r"first_norm.\1"),
            (r"blocks\.(\d+)\.ln1\.(weight|bias)", r"blocks.\1.token_norm.\2"),
            (r"blocks\.(\d+)\.ln2\.(weight|bias)", r"blocks.\1.channel_norm.\2"),
            (r"blocks\.(\d+)\.att\.time_(decay|first)", r"blocks.\1.tokens.synapse.\2"),
            (r"blocks\.(\d+)\.att\.time_mix_([kvr])", r"blocks.\1.tokens.synapse.shifts.\2"),
            (r"blocks\.(\d+)\.att\.(key|value|receptance|output)\.weight", r"blocks.\1.tokens.synapse.\2.weight"),
            (r"blocks\.(\d+)\.ffn\.time_mix_([kr])", r"blocks.\1.channels.synapse.shifts.\2"),
            (r"blocks\.(\d+)\.ffn\.(key|value|receptance)\.weight", r"blocks.\1.channels.synapse.\2.weight"),
            (r"ln_out\.(weight|bias)", r"last_norm.\1"),
            (r"head\.weight", "head.weight"),
        )
    )

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        width: Size = 512,
        depth: Annotated[int, Field(ge=1, le=256)] = 12,
        vocabulary: Size | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.03,
        readout: Readout = "last",
        start: Literal["awake", "silent"] = "awake",
        pull: Literal["none", "hidden"] = "none",
    ) -> None:
        super().__init__(problem, 0, "token numbers [L]", readout)
        size = vocabulary or problem.outputs
        choice = parts("neuron") or LIF(tau=2.0)
        self.embedding = nn.Parameter(torch.empty(size, width))
        self.first_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            _Block(choice, neuron, width, block, depth, start == "silent") for block in range(depth)
        )
        self.dropout = Dropout(dropout)
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, problem.outputs, bias=False)
        self.pull = pull
        self._kept = Kept()
        nn.init.orthogonal_(self.embedding, math.sqrt(max(size, width)) * 1e-4)
        _orthogonal(self.head, 0.5)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        if params["vocabulary"] is None and problem is not None and not problem.task.per_step:
            yield (
                "vocabulary",
                "a task per sample has outputs that are no tokens; give the number of tokens",
            )

    def forward(self, batch: Batch) -> Tensor:
        signal, tokens, valid = self.steps(batch)
        size = len(self.embedding)
        if tokens.is_floating_point():
            raise DataError(f"{self.name} is {batch.signals[self.name].values.dtype}; tokens are whole numbers")
        looked_at = tokens.device.type == "cpu" and tokens.numel() and not torch.compiler.is_compiling()
        if looked_at and not 0 <= int(tokens.min()) <= int(tokens.max()) < size:
            raise DataError(
                f"{self.name} has tokens from {int(tokens.min())} to {int(tokens.max())}, and the model has 0 to "
                f"{size - 1}; set model.params.vocabulary to their number"
            )
        x = self.first_norm(nn.functional.embedding(tokens, spike(self.embedding, "atan", 2.0)))
        for block in self.blocks:
            x = self.dropout(block(x, valid))
        outputs = self.head(self.last_norm(x))
        if self.training and self.pull == "hidden":
            self._kept.keep(outputs=outputs, valid=valid)
        return self.answer(outputs, signal, valid)

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        """Return the published gradient as a term that is 0."""
        if not self._kept:
            return {}
        outputs, valid = self._kept.pop("outputs"), self._kept.pop("valid")
        largest = outputs.amax(-1).square()
        mean = largest.mean() if valid is None else (largest * valid).sum() / valid.sum().clamp(min=1)
        pull = 0.5 * PULL * mean
        return {"pull": pull - pull.detach()}


class _Block(nn.Module):
    """Spikes of the mix of tokens, then of the mix of channels, are added to the features."""

    def __init__(
        self, choice: NeuronChoice, neuron: MakeNeuron, width: int, block: int, depth: int, silent: bool
    ) -> None:
        super().__init__()
        self.token_norm, self.channel_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = choice.layer(neuron, TokenMix(width, block, depth, silent), shape=(width,))
        self.channels = choice.layer(neuron, ChannelMix(width, block, depth, silent), shape=(width,))

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return ``[T, B, D]`` of the same; ``valid`` is ``[T, B]``."""
        x = x + self.tokens(self.token_norm(x), valid=valid)
        mixed: Tensor = x + self.channels(self.channel_norm(x), valid=valid)
        return mixed


class _Mix(Synapse):
    """Gets all steps, and mixes the features of each step with those of the step before."""

    over_time = True

    def __init__(self, width: int, shifts: Mapping[str, float]) -> None:
        super().__init__()
        at = torch.arange(width) / width
        self.shifts = nn.ParameterDict({name: nn.Parameter(at**power) for name, power in shifts.items()})

    def mixed(self, x: Tensor, name: str) -> Tensor:
        """Return ``mu x_t + (1 - mu) x_{t-1}`` of ``[T, B, D]``; before the first step all is 0."""
        before = torch.cat((torch.zeros_like(x[:1]), x[:-1]))
        share: Tensor = self.shifts[name]
        return share * x + (1 - share) * before


class TokenMix(_Mix):
    """A gated average of the values so far, which decays with their age (section 2 of the paper; RWKV, Peng 2023).

    Args:
        width: Features D.
        block: Number of the block, from 0.
        depth: Number of blocks.
        silent: Whether the matrices that give the currents start at 0, as published.
    """

    def __init__(self, width: int, block: int, depth: int, silent: bool) -> None:
        place, left = block / max(depth - 1, 1), 1 - block / depth
        super().__init__(width, {"k": left, "v": left, "r": left / 2})
        self.shifts["v"].data += 0.3 * place
        channel = torch.arange(width) / max(width - 1, 1)
        self.decay = nn.Parameter(-5 + 8 * channel ** (0.7 + 1.3 * place))
        self.first = nn.Parameter(math.log(0.3) + ((torch.arange(width) + 1) % 3 - 1) / 2)
        self.key, self.value, self.receptance, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        _orthogonal(self.value)
        if silent:
            for each in (self.key, self.receptance, self.output):
                nn.init.zeros_(each.weight)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[T, B, D]`` of features ``[T, B, D]``."""
        key, value = self.key(self.mixed(x, "k")), self.value(self.mixed(x, "v"))
        gate = torch.sigmoid(self.receptance(self.mixed(x, "r")))
        average = weighted_average(key, value, -torch.exp(self.decay), self.first)
        currents: Tensor = self.output(gate * average)
        return currents

    def rescale(self, gain: Tensor) -> bool:
        self.output.weight.mul_(gain[:, None])
        return True


class ChannelMix(_Mix):
    """A gated MLP of each token, with squared ReLUs; arguments as of :class:`TokenMix`."""

    def __init__(self, width: int, block: int, depth: int, silent: bool) -> None:
        left = 1 - block / depth
        super().__init__(width, {"k": left, "r": left})
        self.key = nn.Linear(width, 4 * width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(4 * width, width, bias=False)
        _orthogonal(self.key)
        if silent:
            for each in (self.receptance, self.value):
                nn.init.zeros_(each.weight)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[T, B, D]`` of features ``[T, B, D]``."""
        key = torch.relu(self.key(self.mixed(x, "k"))).square()
        currents: Tensor = torch.sigmoid(self.receptance(self.mixed(x, "r"))) * self.value(key)
        return currents

    def rescale(self, gain: Tensor) -> bool:
        self.value.weight.mul_(gain[:, None])
        return True


def weighted_average(key: Tensor, value: Tensor, decay: Tensor, first: Tensor) -> Tensor:
    """Average the values of all steps so far, with weights that grow with the key and decay with age.

    ``(sum over i < t of exp((t-1-i) w + k_i) v_i + exp(u + k_t) v_t)`` divided by the same sum without the values.
    Sums are kept relative to their largest exponent, so that none overflows.

    Args:
        key: k, ``[T, B, D]``, dimensionless.
        value: v, ``[T, B, D]``.
        decay: w, ``[D]``, negative, per step.
        first: u, ``[D]``, in place of the decay for the current step.

    Returns:
        ``[T, B, D]``.
    """
    above = torch.zeros_like(key[0])
    below = torch.zeros_like(above)
    largest = torch.full_like(above, torch.finfo(above.dtype).min)
    averages = []
    for k, v in zip(key.unbind(0), value.unbind(0), strict=True):
        # The result does not depend on the reference exponent, so that it needs no gradient.
        reference = torch.maximum(largest, (first + k).detach())
        old, new = torch.exp(largest - reference), torch.exp(first + k - reference)
        averages.append((old * above + new * v) / (old * below + new))
        reference = torch.maximum(largest + decay.detach(), k.detach())
        old, new = torch.exp(largest + decay - reference), torch.exp(k - reference)
        above, below, largest = old * above + new * v, old * below + new, reference
    return torch.stack(averages)


def _orthogonal(linear: nn.Linear, scale: float = 1.0) -> None:
    outputs, inputs = linear.weight.shape
    nn.init.orthogonal_(linear.weight, scale * math.sqrt(max(outputs / inputs, 1.0)))
