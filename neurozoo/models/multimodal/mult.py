"""MulT as a model for emotions: cross-modal transformers, and a linear on what they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.multimodal import Features
from neurozoo.core.published import AuthorsNames, Quirk
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.fusions.mult import Layers, MulTFusion, Padding
from neurozoo.models.multimodal.modalities import ModalityModel, Size, undividable
from neurozoo.nn.dropout import Dropout, Probability

__all__ = ["LETTERS", "MulT", "net_names"]

LETTERS: Mapping[str, str] = {"l": "text", "a": "audio", "v": "vision"}
"""The authors' letters of the modalities."""


def net_names(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """Return the names of the tensors of all nets, as pairs for :class:`~neurozoo.core.published.AuthorsNames`.

    Args:
        theirs: Regular expression for what is before the nets' names, without groups.
        ours: The module here, with its dot.
    """
    nets = [
        (f"{letter}_{kind}", f"{ours}{here}")
        for letter, name in LETTERS.items()
        for kind, here in (
            *((f"with_{o}", f"nets.{name}.{of}") for o, of in LETTERS.items()),
            ("mem", f"memory.{name}"),
        )
    ]
    inside = (
        (r"layer_norm\.(.+)", r"norm.\1"),
        (r"layers\.(\d+)\.fc1\.(.+)", r"layers.\1.inner.\2"),
        (r"layers\.(\d+)\.fc2\.(.+)", r"layers.\1.outer.\2"),
        (r"layers\.(\d+)\.layer_norms\.0\.(.+)", r"layers.\1.attention_norm.\2"),
        (r"layers\.(\d+)\.layer_norms\.1\.(.+)", r"layers.\1.norm.\2"),
        (r"layers\.(\d+)\.self_attn\.in_proj_(weight|bias)", r"layers.\1.attention.\2"),
        (r"layers\.(\d+)\.self_attn\.out_proj\.(.+)", r"layers.\1.attention.out.\2"),
    )
    return tuple((rf"{theirs}trans_{net}\.{x}", rf"{here}.{y}") for net, here in nets for x, y in inside)


class MulT(ModalityModel):
    """Multimodal transformer (Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences, 2019).

    Each modality is projected to D features, and the fusion ``mult`` makes one vector of all; a linear maps it to one
    output per label. See :class:`~neurozoo.fusions.mult.MulTFusion`.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, in the order of ``data.inputs``; any task per sample.
        context: The modality that comes first, and on whose features and attention weights there is dropout; published:
            text. Null for none.
        hidden: Width D of all sequences. A modality of D features is not projected, as published.
        heads: Attention heads; divides ``hidden``.
        layers: Layers of each net between two modalities.
        memory_layers: Layers of the nets behind them; null for ``layers``, but at least 3.
        causal: Whether a row sees no later ones.
        dropout: Probability, inside the nets.
        input_dropout: Probability, on the context's features.
        output_dropout: Probability, in front of the last linears.
        padding: ``masked`` excludes padding everywhere; ``visible`` includes it, as published.
    """

    quirks: ClassVar[Mapping[str, Quirk]] = {
        "padding": Quirk(
            "visible", "masked", "a prediction depends on the padding of its batch, and reads its last row"
        )
    }
    authors_names: ClassVar[AuthorsNames | None] = AuthorsNames(
        (
            *((rf"proj_{letter}\.weight", f"project.{name}.weight") for letter, name in LETTERS.items()),
            *net_names("", "fusion."),
            (r"proj1\.(.+)", r"fusion.first.\1"),
            (r"proj2\.(.+)", r"fusion.second.\1"),
            (r"out_layer\.(.+)", r"head.\1"),
        ),
        {r".*(version|_float_tensor)": "a mark of the library's, and no weight"},
    )

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        context: str | None = None,
        hidden: Size = 30,
        heads: Size = 5,
        layers: Layers = 5,
        memory_layers: Layers | None = None,
        causal: bool = True,
        dropout: Probability = 0.1,
        input_dropout: Probability = 0.25,
        output_dropout: Probability = 0.0,
        padding: Padding = "masked",
    ) -> None:
        super().__init__(problem)
        for _, wrong in _check_context(problem, context):
            raise DataError(wrong)
        self.context, self.masked = context, padding == "masked"
        first = () if context is None else (context,)
        primary = tuple(name for name in self.modalities if name != context)
        dims = {name: problem.signals[name].dim for name in (*first, *primary)}
        self.project = nn.ModuleDict(
            {name: nn.Linear(dim, hidden, bias=False) if dim != hidden else nn.Identity() for name, dim in dims.items()}
        )
        self.input_dropout = Dropout(input_dropout)
        self.fusion = MulTFusion(
            replace(self.layout(hidden, heads, dropout), primary=primary, context=first),
            layers=layers,
            memory_layers=memory_layers,
            causal=causal,
            padding=padding,
            output="wide",
        )
        self.fusion.dropout = Dropout(output_dropout)
        self.head = nn.Linear(self.fusion.width or hidden, problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from undividable(**params)
        if problem is not None:
            yield from _check_context(problem, params["context"])

    def forward(self, batch: Batch) -> Tensor:
        given = {}
        for name, project in self.project.items():
            sequence = self.sequence(name, batch, self.masked)
            x = self.input_dropout(sequence.x) if name == self.context else sequence.x
            projected = sequence.with_x(project(x))
            given[name] = Features(projected, projected, projected, name != self.context)
        outputs: Tensor = self.head(self.fusion(given).x[:, 0])
        return outputs


def _check_context(problem: Problem, context: str | None) -> Iterable[tuple[str, str]]:
    if context is not None and context not in problem.signals:
        there = ", ".join(f"{name} {shape}" for name, shape in problem.signals.items())
        yield "context", f"the data has no modality {context!r}; there are: {there}"
