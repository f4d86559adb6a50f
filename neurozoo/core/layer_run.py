"""How an engine runs one layer of neurons: inputs and state go in, outputs and state come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.neuron import State

__all__ = ["LayerRun", "Numbers", "Ran", "Stepper"]

Numbers = NDArray[np.float32]


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


class Stepper:
    """Steps of one sample, one at a time, with the state kept between them; for streams.

    Args:
        run: The layer.
        given: Shape of one step's input, without T and B.
        threshold: As of :meth:`LayerRun.run`, the same at each step.
        state: Before the first step, ``[1, ...]`` each; None for rest.
    """

    def __init__(
        self, run: LayerRun, given: Sequence[int], threshold: Tensor | float = 1.0, state: State | None = None
    ) -> None:
        self._run, self._given, self._threshold = run, tuple(given), threshold
        self.state = state

    @property
    def state(self) -> State | None:
        """The state after the last step, ``[1, ...]`` each; None for rest. It can be set, and is copied."""
        return self._state

    @state.setter
    def state(self, state: State | None) -> None:
        self._state = None if state is None else tuple(each.clone() for each in state)

    def step(self, x: Numbers) -> Numbers:
        """Run a step, and return its outputs, flat; they may be overwritten by the next step.

        Args:
            x: Inputs, contiguous, of the size of the shape; not kept.
        """
        made = self._run.run(torch.from_numpy(x).view(1, 1, *self._given), self.state, self._threshold)
        self._state = made.state
        outputs: Numbers = made.outputs.reshape(-1).numpy()
        return outputs


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

    def stepper(self, given: Sequence[int], threshold: Tensor | float = 1.0, state: State | None = None) -> Stepper:
        """Return what runs a sample step by step.

        Override it if a step can be run with less around it, and for a synapse over time, whose steps need others: the
        state then holds the inputs or currents that are still needed, after those of the neurons, and a state without
        them starts with silence.
        """
        return Stepper(self, given, threshold, state)
