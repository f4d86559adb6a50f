"""Base classes of the parts (kind ``part``) that fill SMILE's slots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from neurozoo.core.interfaces import Layout, Tokens
from neurozoo.nn.attention import EncoderBlock, encode_each

__all__ = ["Encoder", "TorchBlocks"]


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
