"""TAILOR: private and common parts of the modalities, a ladder of cross encoders, label queries (AAAI 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.multimodal import LabelHead, Tokens
from neurozoo.core.published import AuthorsNames, Quirk
from neurozoo.core.signals import Batch, Problem
from neurozoo.heads.label_decoder import LabelDecoderHead
from neurozoo.models.multimodal.authors import POOLERS, encoder_names, layer_names
from neurozoo.models.multimodal.encoder import Layers, PostNormLayers, draw_like_bert, feature_encoders
from neurozoo.models.multimodal.modalities import ModalityModel, Size, Weight, undividable
from neurozoo.nn.attention import LAYER_NORM_EPS
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.kept import Kept
from neurozoo.nn.sequence import at_relative_times, pooled, tokens, zero_padding

__all__ = ["TAILOR"]

ADVERSARIAL, DIFFERENCE, COMMON = 0.01, 5e-6, 0.5
"""Weights of the loss terms, as published."""
PAIRS = 60 * 60
"""Pairs of rows at the published length: with it, a mean over pairs has the size of the published sum."""

_DECODER = r"decoder\.decoder\.layer\.0\."
_NAMES = (
    *encoder_names({"bert": "text", "visual": "vision", "audio": "audio"}),
    *((rf"private_feature_extractor\.{i}\.0\.(.+)", rf"private.{ours}.\1")
      for i, ours in enumerate(("text", "vision", "audio"))),
    (r"common_feature_extractor\.0\.(.+)", r"common.\1"),
    (r"modal_discriminator\.0\.(.+)", r"discriminator.inner.\1"),
    (r"modal_discriminator\.3\.(.+)", r"discriminator.outer.\1"),
    (r"common_classfier\.0\.(.+)", r"common_classifier.\1"),
    *(pair for i, cross in enumerate(("va", "vat", "pc"))
      for pair in (
          *layer_names(rf"{cross}_cross\.encoder", f"ladder.{i}.layers"),
          (rf"{cross}_cross\.embeddings\.LayerNorm\.(.+)", rf"ladder.{i}.norm.\1"),
          (rf"{cross}_cross\.embeddings\.position_embeddings\.(.+)", rf"ladder.{i}.positions.\1"),
          (rf"{cross}_cross\.embeddings\.token_type_embeddings\.(.+)", rf"ladder.{i}.types.\1"),
      )),
    (r"decoder\.embeddings\.word_embeddings\.weight", "head.labels"),
    (r"decoder\.embeddings\.LayerNorm\.(.+)", r"head.label_norm.\1"),
    *((rf"{_DECODER}{theirs}_attn\.att\.(query|key|value)\.(.+)", rf"head.{ours}_attention.\1.\2")
      for theirs, ours in (("slf", "self"), ("enc", "cross"))),
    *((rf"{_DECODER}{theirs}_attn\.output\.dense\.(.+)", rf"head.{ours}_attention.out.\1")
      for theirs, ours in (("slf", "self"), ("enc", "cross"))),
    *((rf"{_DECODER}{theirs}_attn\.output\.LayerNorm\.(.+)", rf"head.{ours}_norm.\1")
      for theirs, ours in (("slf", "self"), ("enc", "cross"))),
    (rf"{_DECODER}intermediate\.dense\.(.+)", r"head.inner.\1"),
    (rf"{_DECODER}output\.dense\.(.+)", r"head.outer.\1"),
    (rf"{_DECODER}output\.LayerNorm\.(.+)", r"head.output_norm.\1"),
    (r"cross_classifier\.dense\.(.+)", r"head.classifier.\1"),
)  # fmt: skip


class TAILOR(ModalityModel):
    """Versatile multimodal learning for multi-label emotion recognition (Zhang et al., AAAI 2022).

    Each modality m is encoded, ``e_m``, and split: ``P_m = tanh(Lin_m(e_m))`` and ``C_m = tanh(Lin(e_m))``, with one
    linear for the common parts, whose sum is C. A ladder of cross encoders joins the private parts from the last to the
    first, and C at the end; the label head reads its last sequence. In training a discriminator tells modalities by
    their private parts and, behind a reversed gradient, should fail at the common ones; spaces that overlap cost, and
    C has to answer alone.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, in the order of ``data.inputs``; any task per sample.
            Published: text, vision, audio.
        parts: Fill the slots.
        neuron: For a label head with neurons of its own.
        hidden: Width d of all sequences.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forwards.
        layers: Layers of the encoders, one number for all, or one for each modality by name.
        cross_layers: Layers of each cross encoder.
        dropout: Probability, in encoders and cross encoders, and on the common parts.
        classifier_dropout: Probability, on the private parts, in the discriminator and on the common answer.
        auxiliary: What the terms that are added to the task's loss are multiplied with; 0 is the model without them.
        padding: ``masked``, or as published ``visible``, rows of zeros like others.
        rows: Rows that count in the loss terms and in C: the ``valid`` ones, or as published ``all``. C then is a sum
            row by row, which needs equal lengths; otherwise it has the relative times of the first modality.
        common_row: What C is asked by: its ``mean`` over valid rows, or as published its ``first`` row.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {"head": "label-head"}
    slot_defaults = {"head": "label-decoder"}  # noqa: RUF012
    authors_names = AuthorsNames(_NAMES, POOLERS)
    quirks: ClassVar[Mapping[str, Quirk]] = {
        "padding": Quirk("visible", "masked", "a prediction depends on the padding of its batch"),
        "rows": Quirk("all", "valid", "padding counts in the loss, and modalities of unequal lengths cannot be read"),
        "common_row": Quirk("first", "mean", "the common classifier reads one row"),
    }

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Size = 256,
        heads: Size = 8,
        inner: Size = 256,
        layers: Layers | dict[str, Layers] = 4,
        cross_layers: Layers = 3,
        dropout: Probability = 0.3,
        classifier_dropout: Probability = 0.1,
        auxiliary: Weight = 1.0,
        padding: Literal["masked", "visible"] = "masked",
        rows: Literal["valid", "all"] = "valid",
        common_row: Literal["mean", "first"] = "mean",
    ) -> None:
        super().__init__(problem)
        self.auxiliary = auxiliary
        self.masked, self.all_rows, self.first_row = padding == "masked", rows == "all", common_row == "first"
        lengths = [problem.signals[name].length for name in self.modalities]
        sizes = hidden, heads, inner
        self.encoders = feature_encoders(problem.signals, *sizes, layers, dropout)
        self.private = nn.ModuleDict({name: nn.Linear(hidden, hidden) for name in self.modalities})
        self.common = nn.Linear(hidden, hidden)
        self.dropout, self.classifier_dropout = Dropout(dropout), Dropout(classifier_dropout)
        # As published, every table has a row for each row of the whole ladder.
        total = sum(lengths) + lengths[0]
        behind = [sum(lengths[m:]) for m in range(len(lengths))]
        places = [lengths[-1], *lengths[-3::-1], behind[0]] if len(lengths) > 1 else lengths
        self.ladder = nn.ModuleList([CrossEncoder(total, place, *sizes, cross_layers, dropout) for place in places])
        several = len(self.modalities) > 1
        self.discriminator = Discriminator(hidden, len(self.modalities), classifier_dropout) if several else None
        self.common_classifier = nn.Linear(hidden, problem.outputs)
        self.apply(draw_like_bert)
        self.head: LabelHead = parts("head", self.layout(hidden, heads, dropout, neuron))
        if isinstance(self.head, LabelDecoderHead):
            self.head.apply(draw_like_bert)
        self.kept = Kept()

    def forward(self, batch: Batch) -> Tensor:
        read = self.as_stored if self.all_rows else self.sequence
        given = {name: read(name, batch, self.masked) for name in self.modalities}
        encoded = {m: self.encoders[m](each) for m, each in given.items()}
        private = {m: self._split(self.private[m], each, self.classifier_dropout) for m, each in encoded.items()}
        common = {m: self._split(self.common, each, self.dropout) for m, each in encoded.items()}
        whole = self._whole([*common.values()])
        joined = self._climb([*private.values()], whole)
        if self.training:
            self.kept.keep(private=[*private.values()], common=[*common.values()], whole=whole)
        return self.head.outputs(joined, batch.target if self.training else None)

    def _split(self, linear: nn.Module, encoded: Tokens, dropout: nn.Module) -> Tokens:
        x = torch.tanh(dropout(linear(encoded.x)))
        return encoded.with_x(x if self.all_rows else zero_padding(x, encoded.mask))

    def _whole(self, common: Sequence[Tokens]) -> Tokens:
        """Return C ``[B, L, d]``."""
        if not self.all_rows:
            return at_the_first(common)
        longest = max(each.x.shape[1] for each in common)
        rows = [F.pad(each.x, (0, 0, 0, longest - each.x.shape[1])) for each in common]
        return tokens(torch.stack(rows).sum(0), None)

    def _climb(self, private: Sequence[Tokens], whole: Tokens) -> Tokens:
        """Return the last sequence of the ladder."""
        *before, joined = private
        *crosses, last = self.ladder
        for n, (cross, each) in enumerate(zip(crosses, reversed(before), strict=True)):
            joined = cross(*((each, joined) if n else (joined, each)))
        return cast(Tokens, last(joined, whole))

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        if not self.kept:
            return {}
        private, common, whole = (self.kept.pop(name) for name in ("private", "common", "whole"))
        pooled_common = whole.x[:, 0] if self.first_row else pooled(whole)
        answer = self.common_classifier(pooled_common)
        terms = {"common_answer": COMMON * self.problem.task.loss(self.classifier_dropout(answer), target)}
        if self.discriminator is not None:
            reversed_common = [each.with_x(_reversed(each.x)) for each in common]
            for name, each in (("private_modality", private), ("common_modality", reversed_common)):
                found = [self._told_apart(sequence, m) for m, sequence in enumerate(each)]
                terms[name] = ADVERSARIAL * torch.stack(found).sum()
            pairs = [self._overlap(x, y) for x, y in combinations(private, 2)]
            terms["private_difference"] = DIFFERENCE * torch.stack(pairs).sum()
        overlaps = [self._overlap(x, y) for x, y in zip(common, private, strict=True)]
        terms["common_difference"] = DIFFERENCE * torch.stack(overlaps).sum()
        return {name: self.auxiliary * term for name, term in terms.items()}

    def _told_apart(self, sequence: Tokens, modality: int) -> Tensor:
        """Return the cross-entropy of the discriminator at the rows of a modality, 0-d: of samples, then of rows."""
        assert self.discriminator is not None
        lost: Tensor = -self.discriminator(sequence.x).log_softmax(-1)[..., modality]
        if self.all_rows:
            return lost.mean()
        valid = sequence.valid
        return ((lost * valid).sum(1) / valid.sum(1).clamp(min=1)).mean()

    def _overlap(self, x: Tokens, y: Tokens) -> Tensor:
        """Return the sum over pairs of rows of their squared products, of their mean if not all rows count, 0-d."""
        overlap: Tensor = (x.x @ y.x.transpose(1, 2)).square().sum((1, 2))
        if not self.all_rows:
            overlap = overlap * (PAIRS / (x.valid.sum(1) * y.valid.sum(1)).clamp(min=1))
        return overlap.mean()

    def roles(self) -> Mapping[str, str]:
        # Weights of the input norms decay in the published code, unlike those of other norms.
        return {f"encoders.{name}.input_norm.weight": "weight" for name in self.modalities}

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from undividable(**params)
        lengths = {} if problem is None else {name: each.length for name, each in problem.signals.items()}
        if params["rows"] == "all" and len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            yield "rows", f"all rows are added row by row, and the lengths differ: {found}; set it to valid"


class CrossEncoder(nn.Module):
    """Layers of BERT over two sequences, one behind the other, with tables of positions and of which of the two.

    Args:
        length: Rows of the table of positions.
        place: Position of the second sequence's first row.
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forward.
        layers: Number of layers.
        dropout: Probability.
    """

    def __init__(
        self, length: int, place: int, hidden: int, heads: int, inner: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.place = place
        self.positions = nn.Embedding(length, hidden)
        self.types = nn.Embedding(2, hidden)
        self.norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.layers = PostNormLayers(hidden, heads, inner, layers, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, first: Tokens, second: Tokens) -> Tokens:
        """Return ``[B, L1 + L2, D]``; rows outside the joined mask are seen by no other."""
        samples = first.x.shape[0]  # not len, which an exported program would fix
        last = self.positions.num_embeddings - 1
        ranks = [first.position.clamp(max=self.place - 1), (second.position + self.place).clamp(max=last)]
        position = torch.cat([each.expand(samples, -1) for each in ranks], 1)
        rows = [each.x + self.types.weight[n] for n, each in enumerate((first, second))]
        x = self.dropout(self.norm(torch.cat(rows, 1) + self.positions(position)))
        unmasked = first.mask is None and second.mask is None
        mask = None if unmasked else torch.cat([first.valid, second.valid], 1)
        return Tokens(self.layers(x, mask), mask, position, (*first.segments, *second.segments))


class Discriminator(nn.Module):
    """Tells which modality a row is of: ``Lin(relu(dropout(Lin(x))))``.

    Args:
        hidden: Features D.
        modalities: Classes M.
        dropout: Probability.
    """

    def __init__(self, hidden: int, modalities: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(hidden, max(hidden // 2, 1)), nn.Linear(max(hidden // 2, 1), modalities)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[..., M]`` of ``[..., D]``."""
        return cast(Tensor, self.outer(torch.relu(self.dropout(self.inner(x)))))


class _Reversal(torch.autograd.Function):
    """The identity, with the gradient's sign reversed (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def _reversed(x: Tensor) -> Tensor:
    found: Tensor = _Reversal.apply(x)  # type: ignore[no-untyped-call]
    return found


def at_the_first(sequences: Sequence[Tokens]) -> Tokens:
    """Return the sum of sequences at the relative times of the first one, ``[B, L, D]``.

    A modality that a sample lacks adds 0. A sample without the first has one row, at which the others give their means.
    """
    base, *others = sequences
    total = zero_padding(base.x, base.mask)
    alone = ~base.valid.any(1)
    for each in others:
        there = each.valid.any(1)[:, None, None]
        rows = at_relative_times(zero_padding(each.x, each.mask), each.mask, base.mask, total.shape[1])
        total = total + there * torch.where(alone[:, None, None], pooled(each)[:, None], rows)
    if base.mask is None:
        return tokens(total, None)
    first = torch.zeros_like(base.mask)
    first[:, 0] = alone & torch.stack([each.valid.any(1) for each in sequences], 1).any(1)
    mask = base.mask | first
    return tokens(zero_padding(total, mask), mask)
