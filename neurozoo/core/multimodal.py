"""What multimodal models are made of: sequences with masks, fusions, label heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from neurozoo.core.model import Part

__all__ = ["Features", "Fusion", "LabelHead", "Layout", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """A sequence with its mask and positions.

    Attributes:
        x: ``[B, L, D]``.
        mask: ``[B, L]`` bool, True where valid; None where every position counts.
        position: ``[B or 1, L]`` int64, counted from the first valid row.
        segments: Whose rows they are: modalities with their numbers of rows, in order, L together; empty where
            that is not known.
    """

    x: Tensor
    mask: Tensor | None
    position: Tensor
    segments: tuple[tuple[str, int], ...] = ()

    def with_x(self, x: Tensor) -> Tokens:
        """Other features at the same places."""
        return Tokens(x, self.mask, self.position, self.segments)

    def of(self, modality: str) -> Tokens:
        """The same rows, as a modality's."""
        return Tokens(self.x, self.mask, self.position, ((modality, self.x.shape[1]),))


@dataclass(frozen=True)
class Features:
    """One modality after refinement, as a fusion gets it.

    Attributes:
        projected: The linear projection, ``[B, L, D]``.
        encoded: After the modality's own encoder.
        enhanced: After whatever else the model does to it; equals ``encoded`` where that is nothing.
        primary: Whether the model enhances it; a context modality is only encoded.
    """

    projected: Tokens
    encoded: Tokens
    enhanced: Tokens
    primary: bool


@dataclass(frozen=True)
class Layout:
    """What the fusions and label heads of one model have in common; each is built as ``Part(layout, **params)``.

    Attributes:
        hidden: Width D of every sequence inside the model.
        heads: Attention heads; divides ``hidden``.
        dropout: Probability, dimensionless.
        primary: Names of the modalities that the model enhances, in order.
        context: Names of the modalities that it only encodes.
        outputs: Number of outputs K.
        encode: Computes encoder blocks of their queries and sources (``neurozoo.nn.attention.encode_each``), where the
            model has another way than calling each; None to call each block.
    """

    hidden: int
    heads: int
    dropout: float
    primary: tuple[str, ...]
    context: tuple[str, ...]
    outputs: int
    encode: Callable[[Sequence[Any], Sequence[Tokens], Sequence[Tokens]], list[Tokens]] | None = None


class Fusion(Part):
    """Makes one sequence of the refined modalities.

    As for every part, ``__init__`` takes a :class:`Layout`, then keyword-only parameters.
    """

    width: int | None = None
    """Features of the fused sequence; None for the layout's ``hidden``."""

    @abstractmethod
    def forward(self, features: Mapping[str, Features]) -> Tokens:
        """The fused sequence ``[B, L', D]`` with its mask; padding must not reach valid positions."""


class LabelHead(Part):
    """Makes one logit for each output of a sequence."""

    @abstractmethod
    def forward(self, sequence: Tokens, target: Any = None) -> Tensor:
        """Outputs ``[B, K]``; positions that the mask leaves out must not matter.

        Args:
            sequence: What to read.
            target: Of the batch, in training, for heads that are taught with it; None in evaluation.
        """
