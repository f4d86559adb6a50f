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
    """Chooses the firing threshold of the spiking branches, from the modalities' projections."""

    least_spiking: ClassVar[int] = 1
    """How many spiking modalities it needs; a recipe with fewer is refused."""
    whole_sequence: ClassVar[bool] = True
    """Whether it reads whole sequences; if not, it can be asked before any is known, with no projections."""
    whole_batch: ClassVar[bool] = False
    """Whether a sample's threshold depends on the others of its batch; then one process alone can train it."""

    @abstractmethod
    def forward(self, projected: Mapping[str, Tokens]) -> Tensor:
        """The threshold, 0-d for all samples or ``[B]`` for each, finite, dimensionless.

        Args:
            projected: The spiking modalities' projections, in the recipe's order.

        Raises:
            SpikingError: The threshold is not finite.
        """

    def base(self) -> float | None:
        """The threshold that its samples move, dimensionless; None where it is made of them alone."""
        return None


class Scaling(Part):
    """Turns a spiking branch's firing rates into a scaling of the attended sequence."""

    whole_batch: ClassVar[bool] = False
    """Whether what it gives a sample depends on the others of its batch; then one process alone can train it."""

    @abstractmethod
    def forward(self, encoded: Tokens, rates: Tensor) -> Tensor:
        """The scaled sequence ``u``, ``[B, L, D]``.

        Args:
            encoded: The sequence ``h`` to scale.
            rates: Firing rates ``[B, L, D]``, in spikes a step, between 0 and 1.
        """


class Encoder(ABC):
    """Computes SMILE's encoder blocks, with the blocks' own results up to rounding.

    A plain object without parameters and without state: parameters stay in the blocks, so that checkpoints do not
    depend on the encoder.

    Args:
        layout: Sizes that the model's parts share; as for every part, keyword-only parameters follow.
    """

    def __init__(self, layout: Layout) -> None:  # noqa: B027 - called by subclasses
        pass

    @abstractmethod
    def encode(
        self, blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
    ) -> list[Tokens]:
        """Return the result of each block for its query and source.

        A block whose modules have hooks must be called.

        Args:
            blocks: Independent of one another, in training or evaluation, with or without a gradient.
            queries: One a block, ``[B, Q, D]``.
            sources: One a block, ``[B, S, D]``; the same object as the query where a block attends to its own query.
        """


class TorchBlocks(Encoder):
    """Calls each block: the default, under the name that recipes of earlier versions may give.

    Args:
        layout: Not used.
    """

    def encode(
        self, blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]
    ) -> list[Tokens]:
        return encode_each(blocks, queries, sources)
