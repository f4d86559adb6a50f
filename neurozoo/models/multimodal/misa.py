"""MISA as a model: a recurrent net for each modality in front of shared and private spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.multimodal import Tokens, WholeBatch
from neurozoo.core.published import AuthorsNames
from neurozoo.core.signals import Batch, Problem
from neurozoo.fusions.misa import SharedPrivate, Weight, weighted_terms
from neurozoo.models.multimodal.modalities import ModalityModel, Size
from neurozoo.nn.dropout import Probability
from neurozoo.nn.kept import Kept
from neurozoo.nn.sequence import left_aligned
from neurozoo.nn.steps import read_out, reversed_steps

__all__ = ["MISA"]

ORDER: Mapping[str, tuple[int, str]] = {"t": (0, "text"), "v": (1, "vision"), "a": (2, "audio")}
"""The authors' letters of the modalities, with their places and names here."""


class MISA(ModalityModel):
    """Modality-invariant and -specific representations (Hazarika et al., MISA, 2020), with recurrent nets for all.

    Two bidirectional LSTMs, with a layer norm between them, read the valid rows of a modality. Their last states are
    its vector, 4 times as wide as its features. The vectors go through
    :class:`~neurozoo.fusions.misa.SharedPrivate`, whose three terms are added to the loss, and a linear. A modality
    that a sample lacks is left out of the attention and of the terms.

    The paper's text branch is BERT; the authors' code has this one as its alternative, on word vectors that it trains.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, in the order of ``data.inputs``; any task per sample.
        hidden: Features d of both spaces.
        heads: Attention heads between the 2 M vectors; divides ``hidden``.
        inner: Width of that layer's feed-forward.
        dropout: Probability.
        difference: Weight of the term by which spaces differ, dimensionless.
        similarity: Weight of the term by which shared vectors are alike, dimensionless.
        reconstruction: Weight of the mean squared error of what the two spaces give back, dimensionless.
    """

    whole_batch: ClassVar[WholeBatch] = "training"
    authors_names: ClassVar[AuthorsNames | None] = AuthorsNames(
        (
            *(
                (rf"{letter}rnn{number}\.(\w+_l0){theirs}", rf"branches.{name}.{layer}.{way}.\1")
                for letter, (_, name) in ORDER.items()
                for number, layer in ((1, "first"), (2, "second"))
                for theirs, way in (("", "forwards"), ("_reverse", "backwards"))
            ),
            *((rf"{letter}layer_norm\.(.+)", rf"branches.{name}.norm.\1") for letter, (_, name) in ORDER.items()),
            *(
                (rf"{theirs}\.(.+)", rf"spaces.{ours}.{place}.\1")
                for letter, (place, _) in ORDER.items()
                for theirs, ours in (
                    (rf"project_{letter}\.project_{letter}", "project"),
                    (rf"project_{letter}\.project_{letter}_layer_norm", "project_norm"),
                    (rf"private_{letter}\.private_{letter}_\d", "private"),
                    (rf"recon_{letter}\.recon_{letter}_\d", "rebuild"),
                )
            ),
            (r"shared\.shared_1\.(.+)", r"spaces.shared.\1"),
            (r"transformer_encoder\.layers\.0\.self_attn\.in_proj_(.+)", r"spaces.attention.\1"),
            (r"transformer_encoder\.layers\.0\.self_attn\.out_proj\.(.+)", r"spaces.attention.out.\1"),
            (r"transformer_encoder\.layers\.0\.linear1\.(.+)", r"spaces.inner.\1"),
            (r"transformer_encoder\.layers\.0\.linear2\.(.+)", r"spaces.outer.\1"),
            (r"transformer_encoder\.layers\.0\.norm1\.(.+)", r"spaces.attention_norm.\1"),
            (r"transformer_encoder\.layers\.0\.norm2\.(.+)", r"spaces.output_norm.\1"),
            (r"fusion\.fusion_layer_1\.(.+)", r"spaces.mix.\1"),
            (r"fusion\.fusion_layer_3\.(.+)", r"head.\1"),
        ),
        {
            r"sp_discriminator\..+": "computed, and in no loss",
            r"embed\.weight": "word vectors, which are features here",
        },
    )

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Size = 128,
        heads: Size = 2,
        inner: Annotated[int, Field(ge=1, le=65_536)] = 2048,
        dropout: Probability = 0.1,
        difference: Weight = 0.3,
        similarity: Weight = 1.0,
        reconstruction: Weight = 1.0,
    ) -> None:
        super().__init__(problem)
        dims = [problem.signals[name].dim for name in self.modalities]
        self.branches = nn.ModuleDict({m: _Branch(dim) for m, dim in zip(self.modalities, dims, strict=True)})
        self.spaces = SharedPrivate([4 * dim for dim in dims], hidden, heads, inner, dropout)
        self.head = nn.Linear(len(dims) * hidden, problem.outputs)
        self.weights = {"difference": difference, "similarity": similarity, "reconstruction": reconstruction}
        self.kept = Kept()

    def forward(self, batch: Batch) -> Tensor:
        given = [self.sequence(name, batch) for name in self.modalities]
        vectors = [branch(each) for branch, each in zip(self.branches.values(), given, strict=True)]
        present = torch.stack([each.valid.any(1) for each in given], 1)
        found = self.spaces(vectors, present)
        if self.training:
            self.kept.keep(present=present, **found)
        outputs: Tensor = self.head(found["fused"])
        return outputs

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        return weighted_terms(self.kept, self.weights)


class _Branch(nn.Module):
    """Two bidirectional LSTMs over the valid rows, with a layer norm between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _BothWays(width, width), _BothWays(2 * width, width)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, sequence: Tokens) -> Tensor:
        """Return ``[B, 4 D]`` of ``[B, L, D]``: the last states of both, forwards, then backwards."""
        aligned = left_aligned(sequence.x, sequence.mask)
        valid = None if aligned.mask is None else aligned.mask.T
        rows, ahead, back = self.first(aligned.x.transpose(0, 1), valid)
        _, ahead_again, back_again = self.second(self.norm(rows), valid)
        return torch.cat([ahead, ahead_again, back, back_again], 1)


class _BothWays(nn.Module):
    """A bidirectional LSTM over the valid steps, which come first; the others change nothing."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.forwards, self.backwards = nn.LSTM(inputs, width), nn.LSTM(inputs, width)

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs ``[L, B, 2 width]`` of ``[L, B, inputs]`` and the last states ``[B, width]`` of both ways.

        Args:
            x: Steps.
            valid: ``[L, B]``; None if all are.
        """
        ahead, _ = self.forwards(x)
        back, _ = self.backwards(reversed_steps(x, valid))
        last = [read_out(cast(Tensor, each), valid, "last") for each in (ahead, back)]
        return torch.cat([ahead, reversed_steps(back, valid)], 2), last[0], last[1]
