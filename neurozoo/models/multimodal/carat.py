"""CARAT: each modality by label, rebuilt from the others, and contrasted (AAAI 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.multimodal import Tokens
from neurozoo.core.published import AuthorsNames, Quirk
from neurozoo.core.signals import Batch, Problem
from neurozoo.heads.label_attention import attention_of_labels
from neurozoo.models.multimodal.authors import POOLERS, encoder_names
from neurozoo.models.multimodal.contrast import NO_CLASS, QueueContrast, pair_classes
from neurozoo.models.multimodal.encoder import Layers, draw_like_bert, feature_encoders
from neurozoo.models.multimodal.modalities import ModalityModel, Size, Weight, check_multilabel
from neurozoo.nn.dropout import Probability
from neurozoo.nn.kept import Kept

__all__ = ["CARAT"]

BY_LABEL, AUGMENTED, SHUFFLED = 0.01, 0.1, 0.1
"""Weights of three loss terms, as published; those of the others are 1."""
TEMPERATURE = 0.07
MOMENTUM = 0.99
"""Of the prototypes, as published."""
SMALLEST = 1e-7
"""Probability below which the answer is not resolved."""

_OURS = {"text": "text", "visual": "vision", "audio": "audio"}
_NAMES = (
    *encoder_names(_OURS),
    *(
        pair
        for theirs, ours in _OURS.items()
        for pair in (
            (rf"{theirs}_attention\.attention\.weight", f"queries.{ours}.weight"),
            (rf"{theirs}_clf_weight", f"label_weights.{ours}"),
            (rf"{theirs}_pos_protos", f"prototypes.{ours}.there"),
            (rf"{theirs}_neg_protos", f"prototypes.{ours}.absent"),
            (rf"proj_{theirs}\.linear\.0\.(.+)", rf"latent.{ours}.layers.0.\1"),
            (rf"proj_{theirs}\.output\.(.+)", rf"latent.{ours}.layers.1.\1"),
            (rf"de_proj_{theirs}\.linear\.0\.(.+)", rf"back.{ours}.layers.0.\1"),
            (rf"de_proj_{theirs}\.output\.(.+)", rf"back.{ours}.layers.1.\1"),
        )
    ),
    (r"va2t\.output\.(.+)", r"rebuild.text.layers.0.\1"),
    (r"ta2v\.output\.(.+)", r"rebuild.vision.layers.0.\1"),
    (r"tv2a\.output\.(.+)", r"rebuild.audio.layers.0.\1"),
    (r"agg\.linear\.0\.(.+)", r"aggregate.layers.0.\1"),
    (r"agg\.output\.(.+)", r"aggregate.layers.1.\1"),
    (r"queue", "contrast.queue"),
    (r"queue_label", "contrast.classes"),
    (r"queue_ptr", "contrast.pointer"),
)
_STATE = (
    *(f"prototypes.{name}.{which}" for name in _OURS.values() for which in ("there", "absent")),
    "contrast.queue",
    "contrast.classes",
    "contrast.pointer",
)


class CARAT(ModalityModel):
    """Contrastive feature reconstruction and aggregation (Peng et al., AAAI 2024).

    Label attention makes a vector l for each modality and label. Its latent z meets two prototypes of its label, there
    and absent; from their mixture in its own place, and from the other modalities in theirs, a linear rebuilds l. What
    it rebuilds of the rebuilt ones is scored by label and as a whole; the answer is the mean of both probabilities.

    In training it answers by the scores by label alone, whose loss the published code minimises, next to terms for the
    reconstruction, a supervised contrast of the latents, and an aggregation of labels, modalities and samples shuffled
    among each other.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, in the order of ``data.inputs``; the task multilabel.
            Published: text, vision, audio.
        parts: Has no slot to fill.
        neuron: Unused.
        hidden: Width d of all sequences.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forwards.
        layers: Layers of the encoders, one number for all, or one for each modality by name.
        latent: Width P of the latents.
        queue: Rows of the queue of latents that the contrast remembers.
        dropout: Probability, in the encoders.
        prototypes: Whether a latent meets them as they are, ``raw``, or at length 1, ``unit``.
        auxiliary: What the terms that are added to the task's loss are multiplied with, but for that of the whole, a
            part of the answer; 0 is the model without them.
        padding: ``masked``, or as published ``visible``, rows of zeros like others.
        anchors: Rows that the contrast asks for partners: those of the ``batch``, or as published ``all``, the queue's
            and the noise in it too.
    """

    whole_batch: ClassVar[Literal["training"]] = "training"
    authors_names = AuthorsNames(_NAMES, POOLERS, own=_STATE)
    quirks: ClassVar[Mapping[str, Quirk]] = {
        "padding": Quirk("visible", "masked", "a prediction depends on the padding of its batch"),
        "anchors": Quirk("all", "batch", "most of the contrast asks rows that have no gradient, at first of noise"),
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
        latent: Size = 64,
        queue: Size = 8192,
        dropout: Probability = 0.3,
        prototypes: Literal["raw", "unit"] = "raw",
        auxiliary: Weight = 1.0,
        padding: Literal["masked", "visible"] = "masked",
        anchors: Literal["batch", "all"] = "batch",
    ) -> None:
        super().__init__(problem)
        check_multilabel(problem)
        self.auxiliary, self.masked = auxiliary, padding == "masked"
        names, outputs, half = self.modalities, problem.outputs, max(hidden // 2, 1)
        self.encoders = feature_encoders(problem.signals, hidden, heads, inner, layers, dropout)
        self.encoders.apply(draw_like_bert)
        self.queries = nn.ModuleDict({name: nn.Linear(hidden, outputs, bias=False) for name in names})
        for linear in self.queries.values():
            nn.init.xavier_uniform_(cast(nn.Linear, linear).weight)
        self.latent = nn.ModuleDict({name: Perceptron(hidden, half, latent) for name in names})
        self.back = nn.ModuleDict({name: Perceptron(latent, half, hidden) for name in names})
        several = len(names) > 1
        self.prototypes = nn.ModuleDict(
            {name: Prototypes(outputs, latent, prototypes == "unit") for name in names if several}
        )
        self.rebuild = nn.ModuleDict({name: Perceptron(len(names) * hidden, hidden) for name in names if several})
        self.label_weights = nn.ParameterDict({name: nn.Parameter(torch.empty(outputs, hidden)) for name in names})
        for table in self.label_weights.values():
            nn.init.kaiming_uniform_(table, a=5**0.5)
        self.aggregate = Perceptron(outputs * hidden, hidden, outputs)
        self.answer = Answer()
        self.contrast = QueueContrast(queue, latent, TEMPERATURE, anchors == "all")
        self.kept = Kept()

    def forward(self, batch: Batch) -> Tensor:
        encoded = {m: self.encoders[m](self.sequence(m, batch, self.masked)) for m in self.modalities}
        present = torch.stack([each.valid.any(1) for each in encoded.values()], 1)  # [B, M]
        specific = torch.stack([self._by_label(m, each) for m, each in encoded.items()], 1)  # [B, M, K, d]
        latent = self._each(self.latent, specific)
        back = self._each(self.back, latent)
        augmented, beta = self._rebuilt(latent, back, present)
        aggregated = self.aggregate(beta.flatten(2))  # [B, M, K]
        scores = self._scores(beta).amax(1)
        probability = self.answer(aggregated, scores)
        if not self.training:
            return torch.logit(probability, SMALLEST)
        self.kept.keep(
            present=present, specific=specific, latent=latent, back=back, augmented=augmented, beta=beta,
            aggregated=aggregated,
        )  # fmt: skip
        return scores

    def _by_label(self, modality: str, sequence: Tokens) -> Tensor:
        """Return a vector for each label, ``[B, K, d]``; 0 without rows."""
        scores = self.queries[modality](sequence.x)  # [B, L, K]
        return attention_of_labels(scores, sequence.mask) @ sequence.x

    def _each(self, modules: nn.ModuleDict, x: Tensor) -> Tensor:
        """Apply each modality's module to its own of ``[B, M, ...]``."""
        return torch.stack([modules[name](x[:, m]) for m, name in enumerate(self.modalities)], 1)

    def _rebuilt(self, latent: Tensor, back: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return each modality from the others, and each from those, both ``[B, M, K, d]``; one alone stays itself."""
        if len(self.modalities) == 1:
            return back, back
        mixed = torch.stack(
            [cast(Prototypes, self.prototypes[name])(latent[:, m]) for m, name in enumerate(self.modalities)], 1
        )
        padded = self._each(self.back, mixed)
        given = torch.where(present[:, :, None, None], back, padded)
        augmented = []
        for m, name in enumerate(self.modalities):
            rows = [padded[:, n] if n == m else given[:, n] for n in range(len(self.modalities))]
            augmented.append(self.rebuild[name](torch.cat(rows, -1)))
        joined = torch.cat(augmented, -1)
        beta = torch.stack([self.rebuild[name](joined) for name in self.modalities], 1)
        return torch.stack(augmented, 1), beta

    def _scores(self, x: Tensor) -> Tensor:
        """Return a score for each modality and label, ``[B, M, K]`` of ``[B, M, K, d]``."""
        weights = torch.stack([self.label_weights[name] for name in self.modalities])
        return (x * weights).sum(-1)

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        if not self.kept:
            return {}
        kept = dict(self.kept)
        self.kept.clear()
        task, present = self.problem.task, kept["present"]
        specific, beta, aggregated = kept["specific"], kept["beta"], kept["aggregated"]
        # A modality that a sample lacks has no score of its own, unless it lacks all.
        lowest = torch.finfo(specific.dtype).min
        own = self._scores(specific).masked_fill(~present[..., None] & present.any(1)[:, None, None], lowest).amax(1)
        samples, modalities = aggregated.shape[:2]
        order, other = self.permutations(samples, target.device)
        shuffled, of_shuffled = shuffle(beta, target, order, other)
        terms = {
            "by_label": BY_LABEL * task.loss(own, target),
            "augmented": AUGMENTED * task.loss(self._scores(kept["augmented"]).amax(1), target),
            "aggregated": task.loss(aggregated.flatten(0, 1), target.repeat_interleave(modalities, 0)),
            "shuffled": SHUFFLED * task.loss(self.aggregate(shuffled.flatten(2)).flatten(0, 1), of_shuffled),
            "reconstruction": _distance(kept["back"], specific, present),
            "contrast": self._contrast(kept, target),
        }
        if modalities > 1:
            terms["augmentation"] = _distance(kept["augmented"], specific, present)
            for m, name in enumerate(self.modalities):
                cast(Prototypes, self.prototypes[name]).follow(kept["latent"][:, m], target, present[:, m])
        return {name: term if name == "aggregated" else self.auxiliary * term for name, term in terms.items()}

    def permutations(self, samples: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw permutations of samples ``[K, M, B]`` and of modalities ``[K, B, M]``."""
        outputs, modalities = self.problem.outputs, len(self.modalities)
        order = torch.rand(outputs, modalities, samples, device=device).argsort(-1)
        return order, torch.rand(outputs, samples, modalities, device=device).argsort(-1)

    def _contrast(self, kept: Mapping[str, Tensor], target: Tensor) -> Tensor:
        again = [self._each(self.latent, kept[name]) for name in ("augmented", "beta")]
        rows = F.normalize(torch.cat([kept["latent"], *again], 1), dim=-1)  # [B, 3 M, K, P]
        classes = pair_classes(target, len(self.modalities)).masked_fill(~kept["present"][..., None], int(NO_CLASS))
        return cast(Tensor, self.contrast(rows.flatten(0, 2), classes.repeat(1, 3, 1).flatten()))

    def roles(self) -> Mapping[str, str]:
        # Weights of the input norms decay in the published code, unlike those of other norms.
        return {f"encoders.{name}.input_norm.weight": "weight" for name in self.modalities}


class Perceptron(nn.Module):
    """Linears with relu between them.

    Args:
        widths: Features before, between and behind them.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(before, after) for before, after in pairwise(widths)])
        for linear in self.layers:
            nn.init.xavier_uniform_(cast(nn.Linear, linear).weight)

    def forward(self, x: Tensor) -> Tensor:
        for n, linear in enumerate(self.layers):
            x = linear(torch.relu(x) if n else x)
        return x


class Answer(nn.Module):
    """The mean of two probabilities ``[B, K]``: of scores of the whole ``[B, M, K]``, a mean over M, and by label."""

    def forward(self, aggregated: Tensor, scores: Tensor) -> Tensor:
        return (aggregated.sigmoid().mean(1) + scores.sigmoid()) / 2


class Prototypes(nn.Module):
    """Two latents for each label of a modality: where it is there, and where it is absent.

    Args:
        outputs: Labels K.
        width: Features P.
        unit: Whether a latent is compared with prototypes of length 1.
    """

    there: Tensor
    absent: Tensor

    def __init__(self, outputs: int, width: int, unit: bool) -> None:
        super().__init__()
        self.unit = unit
        self.register_buffer("there", torch.zeros(outputs, width))
        self.register_buffer("absent", torch.zeros(outputs, width))

    def forward(self, latent: Tensor) -> Tensor:
        """Return the mixture of both, ``[B, K, P]``; in evaluation the nearer one."""
        # Copies, as they change before the backward pass.
        both = torch.stack([self.there, self.absent]).to(latent.dtype)
        keys = F.normalize(both, dim=-1) if self.unit else both
        near = torch.einsum("bkp,skp->bks", F.normalize(latent, dim=-1), keys)
        if not self.training:
            return torch.where(near[..., :1] > near[..., 1:], both[0], both[1])
        return torch.einsum("bks,skp->bkp", near.softmax(-1), both)

    @torch.no_grad()
    def follow(self, latent: Tensor, target: Tensor, present: Tensor) -> None:
        """Move them towards latents ``[B, K, P]`` of length 1, sample by sample, where the modality is present."""
        rows = F.normalize(latent.detach(), dim=-1)
        for prototype, labelled in ((self.there, target > 0.5), (self.absent, target <= 0.5)):
            counts = (labelled & present[:, None]).to(rows.dtype)  # [B, K]
            later = counts.flip(0).cumsum(0).flip(0) - counts
            shares = (1 - MOMENTUM) * MOMENTUM**later * counts
            moved = torch.einsum("bk,bkp->kp", shares, rows)
            prototype.mul_((MOMENTUM ** counts.sum(0))[:, None]).add_(moved.to(prototype.dtype))


def shuffle(beta: Tensor, target: Tensor, order: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors of other samples and modalities ``[B, M, K, d]``, and the samples' labels ``[B M, K]``.

    Args:
        beta: ``[B, M, K, d]``.
        target: ``[B, K]``.
        order: Permutations of samples, ``[K, M, B]``.
        other: Permutations of modalities, ``[K, B, M]``.
    """
    samples, modalities = order.permute(2, 1, 0), other.permute(1, 2, 0)  # [B, M, K]
    k = torch.arange(target.shape[1], device=target.device)
    return beta[samples, modalities, k], target[samples, k].flatten(0, 1)


def _distance(found: Tensor, want: Tensor, present: Tensor) -> Tensor:
    """Return the sum over modalities of the mean squared difference of ``[B, M, K, d]``, of those present, 0-d."""
    return ((found - want).square().mean((2, 3)) * present).sum(1).mean()
