"""SpikEmo's spiking core: one Spikformer for the utterances of all modalities (Yu, Wang and Qiao 2024)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.equations import spike
from neurozoo.core.layer import MakeNeuron, SpikingLayer, Synapse
from neurozoo.core.model import Model, NeuronChoice, Parts
from neurozoo.core.multimodal import Tokens
from neurozoo.core.published import AuthorsNames, Quirk
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.fusions.multiattn import MultiAttention
from neurozoo.models.multimodal.modalities import Size, wrong_signals
from neurozoo.models.stepwise import Steps
from neurozoo.nn.attention import SpikingAttention
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.sequence import tokens, zero_padding
from neurozoo.nn.steps import read_out

__all__ = ["SpikEmo"]

Depth = Annotated[int, Field(ge=1, le=64)]
Current = Literal["normalised", "raw"]
SCALE = 0.125
"""Factor of the products of spikes, dimensionless, as published."""
RAW_THRESHOLD = 0.5
"""Threshold of the neurons that the raw products drive, dimensionless, as published."""


class SpikEmo(Model):
    """Recognises the emotion of each utterance of a conversation from any number of modalities.

    Of each modality's projection x the signs, ``H(x)``, drive one Spikformer for T steps. Its mean output r over the
    steps scales the features, ``x + x softmax(r)``, the softmax over the utterances. Then each modality attends to the
    others (:class:`~neurozoo.fusions.multiattn.MultiAttention`), and a linear joins them utterance by utterance.

    The recurrence over the dialogue that the paper has in front, of another paper, is no part of it.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, all with the same utterances as positions; a task per
            step, or per sample, whose answer is the mean over the utterances.
        parts: Builds the slot ``neuron``; by default LIF with tau 10 and a detached reset.
        hidden: Width d of all sequences.
        spiking_heads: Heads of the spiking attention; divides ``hidden``.
        depth: Blocks of the Spikformer.
        ratio: Width of its feed-forward, in widths.
        time_steps: T, for which the signs are held.
        heads: Heads of the attention between modalities; divides ``hidden``.
        layers: Layers of it.
        inner: Width of its feed-forward; None for 4 d.
        classifier: Width of the layer before the last, in widths. Published: 2 for MELD, 1 for IEMOCAP.
        dropout: Probability.
        state: ``reset`` starts each modality's neurons at rest; ``crossing`` starts them, as published, from the
            membranes that the modality before it left.
        padding: ``masked`` excludes padding everywhere; ``visible`` includes it, as published.
        attention_current: What drives the neurons after the spiking attention: the products ``raw``, as published, or
            with a layer norm, ``normalised``.
        dropout_at: ``features`` of the classifier, or its ``logits``, as published.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {"neuron": NeuronChoice}
    optional: ClassVar[Collection[str]] = ("neuron",)
    works_without_spikes = True
    quirks: ClassVar[Mapping[str, Quirk]] = {
        "state": Quirk("crossing", "reset", "the neurons of a modality start from what another modality left in them"),
        "padding": Quirk("visible", "masked", "the prediction depends on the padding of the batch"),
        "attention_current": Quirk("raw", "normalised", "the neurons after attention never fire at initialisation"),
        "dropout_at": Quirk("logits", "features", "dropout sets outputs to 0, which says nothing of their classes"),
    }
    authors_names: ClassVar[AuthorsNames | None] = AuthorsNames(
        (
            (r"(text|audio)_fc\.(.*)", r"project.\1.\2"),
            (r"visual_fc\.(.*)", r"project.vision.\1"),
            (r"spikformer_model\.last_ln\.(.*)", r"norm.\1"),
            (
                r"spikformer_model\.blocks\.(\d+)\.attn\.last_m\.(.*)",
                r"blocks.\1.attention.out.synapse.weight.\2",
            ),
            (r"spikformer_model\.blocks\.(\d+)\.attn\.last_ln\.(.*)", r"blocks.\1.attention.out.synapse.norm.\2"),
            (r"spikformer_model\.blocks\.(\d+)\.attn\.([qkv])_m\.(.*)", r"blocks.\1.attention.\2.synapse.weight.\3"),
            (r"spikformer_model\.blocks\.(\d+)\.attn\.([qkv])_ln\.(.*)", r"blocks.\1.attention.\2.synapse.norm.\3"),
            (r"spikformer_model\.blocks\.(\d+)\.mlp\.fc(\d)\.(.*)", r"blocks.\1.mlp.fc\2.synapse.weight.\3"),
            (r"spikformer_model\.blocks\.(\d+)\.mlp\.ln(\d)\.(.*)", r"blocks.\1.mlp.fc\2.synapse.norm.\3"),
            *(
                (rf"multiattn\.multiattn_{theirs}\.multiattn_layers\.(\d+)\.{inside}", rf"fusion.nets.{ours}.\1.{here}")
                for theirs, ours in (("text", "text"), ("audio", "audio"), ("visual", "vision"))
                for inside, here in (
                    *(
                        (rf"attn_{n + 1}\.attention_heads\.(\d+)\.{part}_matrix\.(.*)",
                         rf"attentions.{n}.{part}.heads.\2.\3")
                        for n in (0, 1)
                        for part in ("query", "key", "value")
                    ),
                    *((rf"attn_{n + 1}\.projection_matrix\.(.*)", rf"attentions.{n}.out.\2") for n in (0, 1)),
                    *((rf"add_norm_{n + 1}\.layer_norm\.(.*)", rf"attention_norms.{n}.\2") for n in (0, 1)),
                    (r"add_norm_3\.layer_norm\.(.*)", r"norm.\2"),
                    (r"ff\.linear_W1\.(.*)", r"inner.\2"),
                    (r"ff\.linear_W2\.(.*)", r"outer.\2"),
                )
            ),
            (r"fc\.(.*)", r"join.\1"),
            (r"mlp\.linear_1\.(.*)", r"classifier.\1"),
            (r"mlp\.linear_2\.(.*)", r"head.\1"),
        )
    )  # fmt: skip

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Size = 256,
        spiking_heads: Size = 8,
        depth: Depth = 2,
        ratio: Annotated[int, Field(ge=1, le=16)] = 4,
        time_steps: Steps = 32,
        heads: Size = 4,
        layers: Depth = 2,
        inner: Size | None = None,
        classifier: Annotated[int, Field(ge=1, le=16)] = 2,
        dropout: Probability = 0.1,
        state: Literal["reset", "crossing"] = "reset",
        padding: Literal["masked", "visible"] = "masked",
        attention_current: Current = "normalised",
        dropout_at: Literal["features", "logits"] = "features",
    ) -> None:
        super().__init__(problem)
        for _, wrong in _check_signals(problem):
            raise DataError(wrong)
        self.modalities, self.time_steps = tuple(problem.signals), time_steps
        self.crossing, self.masked, self.dropout_at = state == "crossing", padding == "masked", dropout_at
        choice = parts("neuron") or LIF(tau=10.0, detach_reset=True)
        self.project = nn.ModuleDict({m: nn.Linear(each.dim, hidden) for m, each in problem.signals.items()})
        self.blocks = nn.ModuleList(
            _Block(choice, neuron, hidden, spiking_heads, ratio, attention_current) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(hidden)
        self.fusion = MultiAttention(self.modalities, hidden, heads, layers, inner or 4 * hidden, dropout)
        self.join = nn.Linear(len(self.modalities) * hidden, hidden)
        self.classifier = nn.Linear(hidden, classifier * hidden)
        self.head = nn.Linear(classifier * hidden, problem.outputs)
        self.dropout = Dropout(dropout)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        for name in ("heads", "spiking_heads"):
            if params["hidden"] % params[name]:
                hidden = params["hidden"]
                yield name, f"{params[name]} heads do not divide hidden = {hidden}; choose a divisor of {hidden}"
        if problem is not None:
            yield from _check_signals(problem)

    def forward(self, batch: Batch) -> Tensor:
        """Return outputs ``[B, K]``, or ``[B, L, K]`` if the task is per step.

        Raises:
            DataError: The modalities have different numbers of utterances.
        """
        sequences = {name: self._projected(name, batch) for name in self.modalities}
        lengths = {name: each.x.shape[1] for name, each in sequences.items()}
        if len(set(lengths.values())) > 1:
            there = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"all modalities have the same utterances, and found are: {there}; pad them alike")
        scaled = {
            name: self._scaled(sequence, rates)
            for (name, sequence), rates in zip(sequences.items(), self.rates(list(sequences.values())), strict=True)
        }
        fused = self.fusion(scaled)
        joined = self.join(torch.cat([zero_padding(each.x, each.mask) for each in fused.values()], 2))
        features = torch.relu(self.classifier(joined))
        if self.dropout_at == "features":
            outputs: Tensor = self.head(self.dropout(features))
        else:
            outputs = self.dropout(self.head(features))
        return self._answer(outputs, batch)

    def rates(self, sequences: list[Tokens]) -> list[Tensor]:
        """Return the Spikformer's mean output over the steps, ``[B, L, d]``, of each modality's projection."""
        signs = torch.stack([spike(each.x, "atan", 2.0) for each in sequences])
        x = self._in_steps(signs)
        valid = None
        if self.masked:
            masks = torch.stack([each.valid for each in sequences])
            valid = self._in_steps(masks) if self.crossing else masks.flatten(0, 1)[None]
        for block in self.blocks:
            x = block(x, valid)
        x = self.norm(x)
        if self.crossing:
            return [each.mean(0) for each in x.unflatten(0, (len(sequences), self.time_steps))]
        return list(x.mean(0).unflatten(0, (len(sequences), signs.shape[1])))

    def _in_steps(self, x: Tensor) -> Tensor:
        """Return ``[T, M B, ...]`` of ``[M, B, ...]``; where states cross, ``[M T, B, ...]``."""
        if self.crossing:
            return x[:, None].expand(-1, self.time_steps, *x.shape[1:]).flatten(0, 1)
        return x.flatten(0, 1).expand(self.time_steps, -1, *x.shape[2:])

    def _projected(self, name: str, batch: Batch) -> Tokens:
        signal = self.signal(batch, name)
        return tokens(self.project[name](signal.values), signal.valid if self.masked else None)

    def _scaled(self, sequence: Tokens, rates: Tensor) -> Tokens:
        if sequence.mask is not None:
            rates = rates.masked_fill(~sequence.mask[..., None], torch.finfo(rates.dtype).min)
        return sequence.with_x(sequence.x + sequence.x * torch.softmax(rates, 1))

    def _answer(self, outputs: Tensor, batch: Batch) -> Tensor:
        masks = [batch.signals[name].valid for name in self.modalities]
        # An utterance is there if any modality has it.
        there = None if any(each is None for each in masks) else torch.stack(cast(list[Tensor], masks)).any(0)
        if not self.problem.task.per_step:
            return read_out(outputs.transpose(0, 1), None if there is None else there.T, "mean")
        return zero_padding(outputs, there)

    def extra_repr(self) -> str:
        return f"modalities={self.modalities}, crossing={self.crossing}, masked={self.masked}"


def _check_signals(problem: Problem) -> Iterable[tuple[str, str]]:
    """Yield (parameter, problem and what to do) for signals that are no modalities of the same utterances."""
    there = ", ".join(f"{name} {shape}" for name, shape in problem.signals.items())
    for wrong in wrong_signals(problem):
        yield "hidden", wrong
    if len({shape.length for shape in problem.signals.values()}) > 1:
        yield "hidden", f"all modalities have the same utterances, and the data gives: {there}; choose another model"


class _Normed(Synapse):
    """``weight -> layer norm``, of each row ``[..., D]``.

    Args:
        weight: A linear, or nothing.
        width: Its output features.
    """

    def __init__(self, weight: nn.Module, width: int) -> None:
        super().__init__()
        self.weight, self.norm = weight, nn.LayerNorm(width)
        if isinstance(weight, nn.Linear):
            nn.init.normal_(weight.weight, std=0.02)
            nn.init.zeros_(weight.bias)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[R, L, D]`` of rows ``[R, L, D']``."""
        currents: Tensor = self.norm(self.weight(x))
        return currents

    def rescale(self, gain: Tensor) -> bool:
        self.norm.weight.mul_(gain)
        self.norm.bias.mul_(gain)
        return True


class _Layers:
    """Makes layers over rows ``[T, B, L, D]``."""

    def __init__(self, choice: NeuronChoice, neuron: MakeNeuron) -> None:
        self.choice, self.neuron = choice, neuron

    def linear(self, inputs: int, outputs: int) -> SpikingLayer:
        return self.of(_Normed(nn.Linear(inputs, outputs), outputs), outputs)

    def of(self, synapse: nn.Module | None, width: int) -> SpikingLayer:
        return self.choice.layer(self.neuron, synapse, shape=(width,))


class _SelfAttention(nn.Module):
    """Spiking self-attention over utterances."""

    def __init__(self, layers: _Layers, width: int, heads: int, current: Current) -> None:
        super().__init__()
        self.q, self.k, self.v = (layers.linear(width, width) for _ in range(3))
        self.product, self.raw = SpikingAttention(heads), current == "raw"
        self.attended = layers.of(None if self.raw else _Normed(nn.Identity(), width), width)
        self.out = layers.linear(width, width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return spikes ``[T, B, L, D]``; ``valid`` is ``[T or 1, B, L]``."""
        q, k, v = (layer(x, valid=valid) for layer in (self.q, self.k, self.v))
        seen = k if valid is None else k * valid[..., None]
        product = self.product(q, seen, v) * SCALE
        spikes = self.attended(product, RAW_THRESHOLD if self.raw else 1.0, valid=valid)
        return cast(Tensor, self.out(spikes, valid=valid))


class _MLP(nn.Module):
    def __init__(self, layers: _Layers, width: int, ratio: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = layers.linear(width, ratio * width), layers.linear(ratio * width, width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        return cast(Tensor, self.fc2(self.fc1(x, valid=valid), valid=valid))


class _Block(nn.Module):
    """``x + attention(x)``, then ``x + mlp(x)``: whole numbers."""

    def __init__(
        self, choice: NeuronChoice, neuron: MakeNeuron, width: int, heads: int, ratio: int, current: Current
    ) -> None:
        super().__init__()
        layers = _Layers(choice, neuron)
        self.attention = _SelfAttention(layers, width, heads, current)
        self.mlp = _MLP(layers, width, ratio)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        x = x + self.attention(x, valid)
        return x + cast(Tensor, self.mlp(x, valid))
