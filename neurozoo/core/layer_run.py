"""How an engine runs one layer of neurons: inputs and state go in, outputs and state come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor

from neurozoo.core.neuron import State

__all__ = ["LayerRun", "Ran"]


class Ran(NamedTuple):
    """What :meth:`LayerRun.run` returns.

    Attributes:
        outputs: Of the neurons, ``[T, B, ...]``.
        state: After the last step, as of :meth:`neurozoo.core.layer.SpikingLayer.run`.
        driven: Currents including the recurrent ones, ``[T, B, ...]``; None if they were not asked for.
    """

    outputs: Tensor
    state: State
    driven: Tensor | None = None


class LayerRun(ABC):
    """A layer of neurons, prepared by an engine from the layer's weights as they are; it has no hidden state."""

    dense: ClassVar[bool] = False
    """Whether it does what the layer does without an engine."""
    ordered: ClassVar[bool] = True
    """Whether sums run in the order of :mod:`neurozoo.nn.ordered`, so that outputs are the oracle's to the bit."""
    sparse: bool = True
    """Whether inputs of 0 cost nothing; if not, the synapse runs as it is, and only its neurons by the engine."""
    words: str = ""
    """How the layer runs, for people to read, such as ``a row of 128 weights for each input that is not 0``."""

    @abstractmethod
    def run(
        self,
        x: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        *,
        valid: Tensor | None = None,
        driven: bool = False,
    ) -> Ran:
        """Run some steps, without gradients.

        Args:
            x: Inputs ``[T, B, ...]``, T >= 1.
            state: As an earlier call returned it; rest by default.
            threshold: A float, 0-d, ``[B]`` for each sample, or as many axes as the currents, each their size or 1.
            valid: ``[T, B]``, for a synapse over time; None for all.
            driven: Whether to return the currents.
        """
