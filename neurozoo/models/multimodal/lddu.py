"""LDDU: a Gaussian for each modality and label, whose spread weighs the answer (ACL Findings 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.multimodal import Tokens
from neurozoo.core.published import AuthorsNames, Quirk
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.multimodal.authors import POOLERS, encoder_names
from neurozoo.models.multimodal.contrast import NO_CLASS, QueueContrast, pair_classes
from neurozoo.models.multimodal.encoder import Layers, draw_like_bert, feature_encoders
from neurozoo.models.multimodal.modalities import ModalityModel, Size, Weight, check_multilabel
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.kept import Kept

__all__ = ["LDDU"]

COMMON, CALIBRATION = 0.3, 0.3
"""Weights of two loss terms, as published; those of the others are 1."""
TEMPERATURE = 2 * 0.07
"""Of the contrast. Its rows are two unit vectors, one behind the other."""
SMALLEST = 1e-7
"""Probability below which the answer is not resolved."""

_OURS = {"bert": "text", "visual": "vision", "audio": "audio"}
_ORDER = ("vision", "audio", "text")
_NAMES = (
    *encoder_names(_OURS),
    (r"embedding_layer\.weight", "labels"),
    *(
        pair
        for i, name in enumerate(_ORDER)
        for pair in (
            (rf"label_wise_attention\.label_projection\.{i}\.(.+)", rf"by_label.{name}.query.\1"),
            (rf"label_wise_attention\.seq_projection\.{i}\.(.+)", rf"by_label.{name}.key.\1"),
            (rf"label_wise_attention\.out_projection\.{i}\.(.+)", rf"by_label.{name}.out.\1"),
            (rf"encoder\.{i}\.linear\.(\d)\.(.+)", rf"gaussians.{name}.hidden.\1.\2"),
            (rf"encoder\.{i}\.output\.(.+)", rf"gaussians.{name}.hidden.2.\1"),
            (rf"encoder\.{i}\.fc_mu\.(.+)", rf"gaussians.{name}.mean.\1"),
            (rf"encoder\.{i}\.fc_var\.(.+)", rf"gaussians.{name}.log_variance.\1"),
        )
    ),
    (r"common_classfier\.0\.(.+)", r"common.inner.\1"),
    (r"common_classfier\.3\.(.+)", r"common.outer.\1"),
    (r"final_classifier\.(\d+)\.0\.(.+)", r"of_means.\1.inner.\2"),
    (r"final_classifier\.(\d+)\.3\.(.+)", r"of_means.\1.outer.\2"),
    (r"var_classifier1\.(\d+)\.0\.(.+)", r"of_spreads.\1.inner.\2"),
    (r"var_classifier1\.(\d+)\.3\.(.+)", r"of_spreads.\1.outer.\2"),
    (r"queue", "contrast.queue"),
    (r"queue_label", "contrast.classes"),
    (r"queue_ptr", "contrast.pointer"),
)
_UNUSED = {**POOLERS, r"(final_classifer2|var_classifier2)\..+": "never called"}


class LDDU(ModalityModel):
    """Latent distribution decoupling with uncertainty (Huang et al., Findings of ACL 2025).

    Label-wise attention makes a vector v for each modality and label, and from it mean and spread of a Gaussian;
    nothing is sampled. One network for all labels says by v how far the means are to be trusted, c; for each label one
    answers by the means, a, and one by the spreads, b. The probability is ``a c + b (1 - c)``. In training c has to
    answer alone, the Gaussians are contrasted, and the spreads are calibrated by c.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, in the order of ``data.inputs``; the task multilabel.
            Published: vision, audio, text.
        parts: Has no slot to fill.
        neuron: Unused.
        hidden: Width d of all sequences.
        heads: Attention heads of the encoders; divides ``hidden``.
        inner: Width of the feed-forwards.
        layers: Layers of the encoders, one number for all, or one for each modality by name.
        projection: Width p of the label-wise attention.
        latent: Width z of the Gaussians.
        queue: Rows of the queue of Gaussians that the contrast remembers.
        dropout: Probability, in the encoders.
        classifier_dropout: Probability, in the label-wise attention and the answers.
        auxiliary: What the terms that are added to the task's loss are multiplied with; 0 is the model without them.
        padding: ``masked``, or as published ``visible``, rows of zeros like others.
        anchors: Rows that the contrast asks for partners: those of the ``batch``, or as published ``all``, the queue's
            and the noise in it too.
        calibration: What the spreads' shares are of: a sample's ``labels``, as those of c, or as published the whole
            ``batch``.
    """

    whole_batch: ClassVar[Literal["training"]] = "training"
    authors_names = AuthorsNames(_NAMES, _UNUSED, own=("contrast.queue", "contrast.classes", "contrast.pointer"))
    quirks: ClassVar[Mapping[str, Quirk]] = {
        "padding": Quirk("visible", "masked", "a prediction depends on the padding of its batch"),
        "anchors": Quirk("all", "batch", "most of the contrast asks rows that have no gradient, at first of noise"),
        "calibration": Quirk("batch", "labels", "a divergence of shares that add up to 1 and to B"),
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
        layers: Layers | dict[str, Layers] = 3,
        projection: Size = 256,
        latent: Size = 128,
        queue: Size = 8192,
        dropout: Probability = 0.3,
        classifier_dropout: Probability = 0.1,
        auxiliary: Weight = 1.0,
        padding: Literal["masked", "visible"] = "masked",
        anchors: Literal["batch", "all"] = "batch",
        calibration: Literal["labels", "batch"] = "labels",
    ) -> None:
        super().__init__(problem)
        check_multilabel(problem)
        self.auxiliary = auxiliary
        self.masked, self.over_batch = padding == "masked", calibration == "batch"
        names, outputs, half = self.modalities, problem.outputs, max(hidden // 2, 1)
        self.encoders = feature_encoders(problem.signals, hidden, heads, inner, layers, dropout)
        self.labels = nn.Parameter(torch.randn(outputs, hidden))
        self.by_label = nn.ModuleDict(
            {name: LabelWiseAttention(hidden, projection, classifier_dropout) for name in names}
        )
        self.gaussians = nn.ModuleDict({name: Gaussian(hidden, latent) for name in names})
        self.common = TwoLayers(len(names) * hidden, half, classifier_dropout)
        wide = len(names) * latent, half, classifier_dropout
        self.of_means = nn.ModuleList([TwoLayers(*wide) for _ in range(outputs)])
        self.of_spreads = nn.ModuleList([TwoLayers(*wide) for _ in range(outputs)])
        self.encoders.apply(draw_like_bert)
        self.contrast = QueueContrast(queue, 2 * latent, TEMPERATURE, anchors == "all")
        self.kept = Kept()

    def forward(self, batch: Batch) -> Tensor:
        present: list[Tensor] = []
        vectors: list[Tensor] = []
        means: list[Tensor] = []
        spreads: list[Tensor] = []
        for name in self.modalities:
            encoded: Tokens = self.encoders[name](self.sequence(name, batch, self.masked))
            there = encoded.valid.any(1)[:, None, None]
            vector = self.by_label[name](self.labels, encoded)
            mean, spread = self.gaussians[name](vector)
            # A modality that a sample lacks is 0 in all of them.
            present.append(there[:, 0, 0])
            for kept, value in ((vectors, vector), (means, mean), (spreads, spread)):
                kept.append(value * there)
        trust = self.common(torch.cat(vectors, -1))  # [B, K]
        share = trust.sigmoid()
        by_mean, by_spread = (
            torch.stack([network(x[:, k]) for k, network in enumerate(networks)], 1).sigmoid()
            for networks, x in ((self.of_means, torch.cat(means, -1)), (self.of_spreads, torch.cat(spreads, -1)))
        )
        if self.training:
            self.kept.keep(present=torch.stack(present, 1), trust=trust, means=means, spreads=spreads)
        return torch.logit(by_mean * share + by_spread * (1 - share), SMALLEST)

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        if not self.kept:
            return {}
        present, trust, means, spreads = (self.kept.pop(name) for name in ("present", "trust", "means", "spreads"))
        terms = {
            "common": COMMON * self.problem.task.loss(trust, target),
            "contrast": self._contrast(torch.stack(means, 1), torch.stack(spreads, 1), target, present),
            "calibration": CALIBRATION * self._calibration(torch.cat(spreads, -1), trust.sigmoid()),
        }
        return {name: self.auxiliary * term for name, term in terms.items()}

    def _contrast(self, means: Tensor, spreads: Tensor, target: Tensor, present: Tensor) -> Tensor:
        rows = torch.cat([F.normalize(means, dim=-1), F.normalize(spreads, dim=-1)], -1)  # [B, M, K, 2 z]
        classes = pair_classes(target, len(self.modalities)).masked_fill(~present[..., None], int(NO_CLASS))
        return cast(Tensor, self.contrast(rows.flatten(0, 2), classes.flatten()))

    def _calibration(self, spreads: Tensor, share: Tensor) -> Tensor:
        """Return how far the spreads' sizes are from c, 0-d: half the divergences both ways, over B K."""
        size: Tensor = torch.linalg.vector_norm(spreads, dim=-1)  # [B, K]
        found = size.flatten().log_softmax(0).view_as(size) if self.over_batch else size.log_softmax(1)
        wanted = share.log_softmax(1)
        both_ways = (wanted.exp() - found.exp()) * (wanted - found)
        return both_ways.sum() / (2 * size.numel())

    def roles(self) -> Mapping[str, str]:
        # Weights of the input norms decay in the published code, unlike those of other norms.
        return {f"encoders.{name}.input_norm.weight": "weight" for name in self.modalities}


class LabelWiseAttention(nn.Module):
    """``Lin''(dropout(softmax(q k^T / sqrt p) k))``, q and k linears of labels and rows: the values are the keys.

    Args:
        hidden: Features d.
        projection: Features p of queries and keys.
        dropout: Probability.
    """

    def __init__(self, hidden: int, projection: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(hidden, projection), nn.Linear(hidden, projection)
        self.out = nn.Linear(projection, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, labels: Tensor, sequence: Tokens) -> Tensor:
        """Return ``[B, K, d]`` of labels ``[K, d]`` and a sequence ``[B, L, d]``; finite without a valid row."""
        keys = self.key(sequence.x)
        scores = self.query(labels) @ keys.transpose(1, 2) / keys.shape[2] ** 0.5  # [B, K, L]
        if sequence.mask is not None:
            scores = scores.masked_fill(~sequence.mask[:, None], torch.finfo(scores.dtype).min)
        return cast(Tensor, self.out(self.dropout(scores.softmax(-1) @ keys)))


class Gaussian(nn.Module):
    """Mean and standard deviation ``[..., z]`` of vectors ``[..., d]``.

    Args:
        hidden: Features d.
        latent: Features z.
    """

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        between, half = max(3 * hidden // 4, 1), max(hidden // 2, 1)
        self.hidden = nn.ModuleList([nn.Linear(hidden, between), nn.Linear(between, half), nn.Linear(half, half)])
        self.mean, self.log_variance = nn.Linear(half, latent), nn.Linear(half, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for linear in self.hidden:
            x = torch.relu(linear(x))
        return self.mean(x), (self.log_variance(x) / 2).exp()


class TwoLayers(nn.Module):
    """``Lin(relu(dropout(Lin(x))))``, a number for each vector.

    Args:
        width: Features of a vector.
        half: Features between.
        dropout: Probability.
    """

    def __init__(self, width: int, half: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, half), nn.Linear(half, 1)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[...]`` of ``[..., width]``."""
        return cast(Tensor, self.outer(torch.relu(self.dropout(self.inner(x)))).squeeze(-1))
