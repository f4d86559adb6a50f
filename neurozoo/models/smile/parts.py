"""Base classes of the parts that fill SMILE's slots besides fusion and label head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from neurozoo.core.model import Part
from neurozoo.core.multimodal import Layout, Tokens
from neurozoo.nn.attention import EncoderBlock, encode_each

__all__ = ["Encoder", "Layout", "Scaling", "ThresholdPolicy", "Tokens", "TorchBlocks"]


class ThresholdPolicy(Part):
    """Computes the firing threshold of the spiking branches from the modalities' projections."""

    least_spiking: ClassVar[int] = 1
    """Number of spiking modalities that it needs; a recipe with fewer is refused."""
    whole_sequence: ClassVar[bool] = True
    """Whether it reads whole sequences; if not, it may be called without projections."""
    whole_batch: ClassVar[bool] = False
    """Whether a sample's threshold depends on the others of its batch; then only one process can train it."""

    @abstractmethod
    def forward(self, projected: Mapping[str, Tokens]) -> Tensor:
        """Return the threshold, 0-d for all samples or ``[B]`` for each, finite, dimensionless.

        Args:
            projected: The spiking modalities' projections, in the recipe's order.

        Raises:
            SpikingError: The threshold is not finite.
        """

    def base(self) -> float | None:
        """Return the threshold without the samples' effect on it, dimensionless; None if there is none."""
        return None


class Scaling(Part):
    """Scales the attended sequence by a spiking branch's firing rates."""

    whole_batch: ClassVar[bool] = False
    """Whether a sample's scaling depends on the others of its batch; then only one process can train it."""

    @abstractmethod
    def forward(self, encoded: Tokens, rates: Tensor) -> Tensor:
        """Return the scaled sequence ``u``, ``[B, L, D]``.

        Args:
            encoded: The sequence ``h`` to scale.
            rates: Firing rates ``[B, L, D]``, in spikes per step, between 0 and 1.
        """


class Encoder(ABC):
    """Computes SMILE's encoder blocks, equal to calling them up to rounding.

    A plain object without parameters and state: those stay in the blocks, so that checkpoints do not depend on it.

    Args:
        layout: Sizes that the model's parts share; keyword-only parameters follow.
    """

    def __init__(self, layout: Layout) -> None:  # noqa: B027 - called by subclasses
        pass

    @abstractmethod
    def encode(
        self, blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
    ) -> list[Tokens]:
        """Return the result of each block for its query and source.

        Blocks whose modules have hooks must be called.

        Args:
            blocks: Independent of one another, in training or evaluation, with or without a gradient.
            queries: One per block, ``[B, Q, D]``.
            sources: One per block, ``[B, S, D]``; the same object as the query if a block attends to its own query.
        """


class TorchBlocks(Encoder):
    """Calls each block; the default.

    Args:
        layout: Not used.
    """

    def encode(
        self, blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
    ) -> list[Tokens]:
        return encode_each(blocks, queries, sources)
