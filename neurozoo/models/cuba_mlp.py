"""An MLP of current-based neurons along a series: two states per neuron, a leaky readout."""

from __future__ import annotations

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.signals import Problem
from neurozoo.models.recurrent import RecurrentNet
from neurozoo.models.stepwise import Decay, Widths
from neurozoo.nn.neuron_choices import Cuba
from neurozoo.nn.steps import Readout

__all__ = ["CubaMLP"]


class CubaMLP(RecurrentNet):
    """Reads a series one step per position through feed-forward layers of current-based neurons.

    Args:
        problem: One signal of features ``[L, D]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``; current-based LIF by default.
        hidden: Neurons of each layer.
        readout_decay: Of the leaky readout, dimensionless.
        readout: How a sample is read from the readout's membrane; a task per step takes each step's.
    """

    default = Cuba

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Widths = (64, 64),
        readout_decay: Decay = 0.9,
        readout: Readout = "last",
    ) -> None:
        super().__init__(
            problem, parts, neuron, hidden=hidden, recurrent=False, readout_decay=readout_decay, readout=readout
        )
