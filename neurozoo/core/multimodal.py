"""Interfaces of multimodal models: sequences with masks, fusions, label heads."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Part

__all__ = ["Features", "Fusion", "LabelHead", "Layout", "Tokens", "WholeBatch"]

WholeBatch = bool | Literal["training"]
"""Whether a sample's output depends on the others of its batch; ``training``: its terms of the loss alone do."""


@dataclass(frozen=True)
class Tokens:
    """A sequence with its mask and positions.

    Attributes:
        x: ``[B, L, D]``.
        mask: ``[B, L]`` bool, True where valid; None if all are.
        position: ``[B or 1, L]`` int64, counted from the first valid row.
        segments: Modalities of the rows with their numbers of rows, in order, L in total; empty if unknown. A part
            that computes with them says what it does without.
    """

    x: Tensor
    mask: Tensor | None
    position: Tensor
    segments: tuple[tuple[str, int], ...] = ()

    def with_x(self, x: Tensor) -> Tokens:
        """Return other features at the same positions."""
        return Tokens(x, self.mask, self.position, self.segments)

    def of(self, modality: str) -> Tokens:
        """Return the same rows as one segment of a modality."""
        return Tokens(self.x, self.mask, self.position, ((modality, self.x.shape[1]),))

    @property
    def valid(self) -> Tensor:
        """``mask``, or a mask of True ``[B, L]`` if every row is valid."""
        return torch.ones(self.x.shape[:2], dtype=torch.bool, device=self.x.device) if self.mask is None else self.mask


@dataclass(frozen=True)
class Features:
    """One modality after refinement, the input of a fusion.

    Attributes:
        projected: The linear projection, ``[B, L, D]``.
        encoded: After the modality's encoder.
        enhanced: After the model's further processing; equals ``encoded`` if there is none.
        primary: Whether the model enhances it; a context modality is only encoded.
        spikes: Trains 0 and 1 of a primary modality at the same rows, ``x [B, L, T, D]``, if the fusion needs them.
    """

    projected: Tokens
    encoded: Tokens
    enhanced: Tokens
    primary: bool
    spikes: Tokens | None = None


@dataclass(frozen=True)
class Layout:
    """Sizes that the parts of one model share; each part is built as ``Part(layout, **params)``.

    Attributes:
        hidden: Width D of every sequence inside the model.
        heads: Attention heads; divides ``hidden``.
        dropout: Probability, dimensionless.
        primary: Names of the modalities that the model enhances, in order.
        context: Names of the modalities that it only encodes.
        outputs: Number of outputs K.
        encode: Replaces ``neurozoo.nn.attention.encode_each``, which calls each block; None for that.
        neuron: Makes the backend's neuron, for parts with neurons of their own; None for the oracle.
        labels: Names of the outputs, in order; empty if they are not known.
    """

    hidden: int
    heads: int
    dropout: float
    primary: tuple[str, ...]
    context: tuple[str, ...]
    outputs: int
    encode: Callable[[Sequence[Any], Sequence[Tokens], Sequence[Tokens]], list[Tokens]] | None = None
    neuron: MakeNeuron | None = None
    labels: tuple[str, ...] = ()


class Fusion(Part):
    """Combines the refined modalities to one sequence. ``__init__`` takes a :class:`Layout` first."""

    width: int | None = None
    """Features of the fused sequence; None for the layout's ``hidden``. The head is built for this width."""
    whole_batch: ClassVar[WholeBatch] = False
    """Whether one process has to train it, see :data:`WholeBatch`."""
    needs_spikes: ClassVar[bool] = False
    """Whether it reads ``Features.spikes``."""

    @abstractmethod
    def forward(self, features: Mapping[str, Features]) -> Tokens:
        """Return the fused sequence ``[B, L', D]`` with its mask; padding must not affect valid positions."""


class LabelHead(Part):
    """Maps a sequence to one logit per output. ``__init__`` takes a :class:`Layout` first."""

    whole_batch: ClassVar[WholeBatch] = False
    """Whether one process has to train it, see :data:`WholeBatch`."""
    _takes_target: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        kinds = [each.kind for each in inspect.signature(cls.forward).parameters.values()]
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        # The head itself, the sequence, the target.
        cls._takes_target = inspect.Parameter.VAR_POSITIONAL in kinds or sum(kind in by_place for kind in kinds) > 2

    def outputs(self, sequence: Tokens, target: Tensor | None) -> Tensor:
        """Return outputs ``[B, K]``; a model calls this.

        A head whose ``forward`` takes the sequence alone never gets a target.

        Args:
            sequence: Input ``[B, L, D]``.
            target: Of the batch in training; None in evaluation.
        """
        found: Tensor = self(sequence, target) if self._takes_target else self(sequence)
        return found

    @abstractmethod
    def forward(self, sequence: Tokens, target: Any = None) -> Tensor:
        """Return outputs ``[B, K]``; invalid positions must not affect them.

        Args:
            sequence: Input ``[B, L, D]``.
            target: Of the batch, for heads that use it in training; None in evaluation.
        """
