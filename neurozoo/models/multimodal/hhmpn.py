"""HHMPN: label queries that attend to each modality behind cross-modal transformers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.published import AuthorsNames, Quirk
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.fusions.mult import CrossModal, Layers, Padding
from neurozoo.models.multimodal.modalities import ModalityModel, Size, undividable
from neurozoo.models.multimodal.mult import net_names
from neurozoo.nn.attention import MultiHeadAttention
from neurozoo.nn.dropout import Dropout, Probability

__all__ = ["HHMPN"]

SCORE = 32
"""Width inside the scores of the modalities, as published."""
STREAMS: Mapping[str, str] = {"l": "text", "a": "vision", "v": "audio"}
"""The modality for which the linears of the authors' letters are used, see ``streams``."""


class HHMPN(ModalityModel):
    """Hierarchical heterogeneous message passing (Zhang et al., AAAI 2021), as far as its code goes.

    Cross-modal transformers give ``c_m`` (:class:`~neurozoo.fusions.mult.CrossModal`), and ``m' = O_m(T_m(c_m))`` has D
    features. A table of one query for each label is refined by each modality's own decoder, in layers of attention to
    m' and two feed-forwards. What the three make of a label is weighed and added, and a vector of each label gives its
    output. The paper passes messages between labels as well; its code computes a graph for them, and uses it nowhere.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, in the order of ``data.inputs``; any task per sample.
        hidden: Width D of queries and decoders.
        heads: Attention heads of the decoders; divides ``hidden``.
        inner: Width of the feed-forwards.
        decoder_layers: Layers of each decoder.
        encoder_hidden: Width of the cross-modal transformers.
        encoder_heads: Their heads; divides ``encoder_hidden``.
        encoder_layers: Layers of each net between two modalities.
        memory_layers: Layers of the nets behind them; null for ``encoder_layers``, but at least 3.
        causal: Whether a row of the encoder sees no later ones.
        dropout: Probability, in the decoders.
        encoder_dropout: Probability, in the encoder.
        streams: Each decoder reads its ``own`` modality; or, as published, those of the first and the last modality are
            ``exchanged``, and hide the rows that are padding in their own one.
        padding: ``masked`` excludes padding everywhere; ``visible`` includes it in the encoder, as published. The
            published decoders hide rows whose features are all 0.
        weighing: The weights of a label add up to 1 over the ``modalities``; or, as published, those of a modality over
            the ``labels``.
    """

    quirks: ClassVar[Mapping[str, Quirk]] = {
        "streams": Quirk("exchanged", "own", "two modalities are exchanged, and hidden by each other's padding"),
        "padding": Quirk("visible", "masked", "a prediction depends on the padding of its batch"),
        "weighing": Quirk("labels", "modalities", "labels compete for a modality, in place of modalities for a label"),
    }
    authors_names: ClassVar[AuthorsNames | None] = AuthorsNames(
        (
            (r"encoder\.mult\.align_l\.(.+)", r"project.text.\1"),
            (r"encoder\.mult\.align_a\.(.+)", r"project.audio.\1"),
            (r"encoder\.mult\.align_v\.(.+)", r"project.vision.\1"),
            *net_names(r"encoder\.mult\.", "cross."),
            *(
                (rf"encoder\.mult\.{theirs}\.(.+)", rf"streams.{name}.{ours}.\1")
                for letter, name in STREAMS.items()
                for theirs, ours in (
                    (f"trans_{letter}1", "inner"),
                    (f"trans_{letter}2", "outer"),
                    (f"out_layer_{letter}", "out"),
                )
            ),
            *(
                (rf"decoder\.layer_{theirs}_stack\.(\d+)\.{their}", rf"decoders.{name}.\1.{our}")
                for theirs, name in (("text", "text"), ("audio", "audio"), ("visual", "vision"))
                for their, our in (
                    (r"enc_attn\.w_qs\.(.+)", r"attention.query.\2"),
                    (r"enc_attn\.w_ks\.(.+)", r"attention.key.\2"),
                    (r"enc_attn\.w_vs\.(.+)", r"attention.value.\2"),
                    (r"enc_attn\.fc\.(.+)", r"attention.out.\2"),
                    (r"enc_attn\.layer_norm\.(.+)", r"norm.\2"),
                    (r"pos_ffn1\.layer_norm\.(.+)", r"feeds.0.norm.\2"),
                    (r"pos_ffn1\.w_1\.(.+)", r"feeds.0.inner.\2"),
                    (r"pos_ffn1\.w_2\.(.+)", r"feeds.0.outer.\2"),
                    (r"pos_ffn2\.layer_norm\.(.+)", r"feeds.1.norm.\2"),
                    (r"pos_ffn2\.w_1\.(.+)", r"feeds.1.inner.\2"),
                    (r"pos_ffn2\.w_2\.(.+)", r"feeds.1.outer.\2"),
                )
            ),
            (r"decoder\.multi_angle_fus\.get_angle_1\.(.+)", r"angles.text.\1"),
            (r"decoder\.multi_angle_fus\.get_angle_2\.(.+)", r"angles.vision.\1"),
            (r"decoder\.multi_angle_fus\.get_angle_3\.(.+)", r"angles.audio.\1"),
            (r"decoder\.multi_angle_fus\.get_score_1\.(.+)", r"score_inner.\1"),
            (r"decoder\.multi_angle_fus\.get_score_2\.(.+)", r"score_outer.\1"),
            (r"decoder\.multi_angle_fus\.out_put\.(.+)", r"fused.\1"),
            (r"decoder\.tgt_word_emb\.weight", "labels"),
            (r"tgt_word_proj\.linear\.weight", "answer"),
        ),
        {r"encoder\.mult\.(proj1|proj2|out_layer)\..+|decoder\..+": "computed, and used nowhere, or never called"},
    )

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Size = 512,
        heads: Size = 8,
        inner: Size = 512,
        decoder_layers: Layers = 3,
        encoder_hidden: Size = 512,
        encoder_heads: Size = 4,
        encoder_layers: Layers = 6,
        memory_layers: Annotated[int, Field(ge=1, le=64)] | None = None,
        causal: bool = True,
        dropout: Probability = 0.2,
        encoder_dropout: Probability = 0.1,
        streams: Literal["own", "exchanged"] = "own",
        padding: Padding = "masked",
        weighing: Literal["modalities", "labels"] = "modalities",
    ) -> None:
        super().__init__(problem)
        names, k = self.modalities, problem.outputs
        self.masked, self.weighing = padding == "masked", weighing
        self.read = dict(zip(names, names, strict=True))
        if streams == "exchanged":
            self.read |= {names[0]: names[-1], names[-1]: names[0]}
        self.project = nn.ModuleDict({name: nn.Linear(problem.signals[name].dim, encoder_hidden) for name in names})
        rates = dict.fromkeys(names, encoder_dropout)
        nets = encoder_layers, memory_layers, encoder_dropout, rates
        self.cross = CrossModal(names, encoder_hidden, encoder_heads, *nets, causal, padding)
        self.streams = nn.ModuleDict({name: _Stream(self.cross.wide, hidden) for name in names})
        self.labels = nn.Parameter(torch.randn(k, hidden))
        self.decoders = nn.ModuleDict(
            {
                name: nn.ModuleList([_DecoderLayer(hidden, heads, inner, dropout) for _ in range(decoder_layers)])
                for name in names
            }
        )
        self.angles = nn.ModuleDict({name: nn.Linear(hidden, hidden) for name in names})
        self.score_inner, self.score_outer = nn.Linear(hidden, SCORE), nn.Linear(SCORE, 1)
        self.fused = nn.Linear(hidden, hidden)
        self.answer = nn.Parameter(nn.init.xavier_normal_(torch.empty(k, hidden)))

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from undividable(**params)
        width, heads = params["encoder_hidden"], params["encoder_heads"]
        if width % heads:
            yield "encoder_heads", f"{heads} heads do not divide encoder_hidden = {width}; choose a divisor of {width}"
        lengths = {} if problem is None else {name: each.length for name, each in problem.signals.items()}
        if params["streams"] == "exchanged" and len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            yield "streams", f"a decoder hides rows of another modality, and the lengths differ: {found}; set it to own"

    def forward(self, batch: Batch) -> Tensor:
        given = {name: self.sequence(name, batch, self.masked) for name in self.modalities}
        crossed = self.cross.crossed({name: each.with_x(self.project[name](each.x)) for name, each in given.items()})
        refined, present = [], []
        for name in self.modalities:
            shown = given[name].valid if self.masked else (given[name].x != 0).any(2)
            sequence = self.streams[name](crossed[self.read[name]].x)
            if shown.shape[1] != sequence.shape[1]:
                raise DataError(
                    f"a decoder hides rows of another modality: {self.read[name]} has {sequence.shape[1]} rows and "
                    f"{name} {shown.shape[1]}; pad them alike, or set model.params.streams to own"
                )
            x = self.labels.expand(sequence.shape[0], -1, -1)  # not len, which an exported program would fix
            for layer in cast(nn.ModuleList, self.decoders[name]):
                x = layer(x, sequence, shown)
            refined.append(self.angles[name](x))
            present.append(given[name].valid.any(1))
        fused = self.fused(self._weighed(torch.stack(refined, 2), torch.stack(present, 1)))
        outputs: Tensor = (fused * self.answer).sum(2)
        return outputs

    def _weighed(self, refined: Tensor, present: Tensor) -> Tensor:
        """Return the weighed sum ``[B, K, D]`` of ``[B, K, M, D]`` over the modalities that are ``present [B, M]``."""
        scores = self.score_outer(self.score_inner(refined))
        if self.weighing == "labels":
            return (torch.softmax(scores, 1) * refined).sum(2)
        scores = scores.masked_fill(~present[:, None, :, None], torch.finfo(scores.dtype).min)
        return (torch.softmax(scores, 2) * refined).sum(2)


class _Stream(nn.Module):
    """``O(T(c))``: two linears as wide as the encoder, and one to the decoders' width."""

    def __init__(self, wide: int, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer, self.out = nn.Linear(wide, wide), nn.Linear(wide, wide), nn.Linear(wide, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.out(self.outer(torch.relu(self.inner(x)))))


class _Attention(MultiHeadAttention):
    """Attention without biases."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__(hidden, heads, dropout)
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden, bias=False) for _ in range(4))


class _Feed(nn.Module):
    """``LN(x + W2 relu(W1 x))``."""

    def __init__(self, hidden: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer, self.norm = nn.Linear(hidden, inner), nn.Linear(inner, hidden), nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.dropout(self.outer(F.relu(self.inner(x)))) + x))


class _DecoderLayer(nn.Module):
    """Post-norm attention of the labels to a sequence, then two feed-forwards."""

    def __init__(self, hidden: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.norm = _Attention(hidden, heads, dropout), nn.LayerNorm(hidden)
        self.feeds = nn.ModuleList([_Feed(hidden, inner, dropout) for _ in range(2)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sequence: Tensor, shown: Tensor) -> Tensor:
        x = self.norm(self.dropout(self.attention(x, sequence, sequence, shown)) + x)
        for feed in self.feeds:
            x = feed(x)
        return x
