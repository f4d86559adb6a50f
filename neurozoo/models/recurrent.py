"""A recurrent spiking net on spike trains or features: recurrent neurons, and a leaky readout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import LISpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.model import Model, NeuronChoice, Parts, only_signal
from neurozoo.core.signals import Batch, Problem
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout, as_steps, read_out, to_positions

__all__ = ["RecurrentNet"]

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(min_length=1, max_length=12)]


class RecurrentNet(Model):
    """Reads a sequence one step a position; each hidden layer's spikes come back to it a step later.

    Args:
        problem: One signal of spike trains or features ``[L, N]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``; LIF by default.
        neuron: Makes the backend's neuron.
        hidden: Neurons of each layer.
        recurrent: Whether spikes come back; if not, the layers are feed-forward.
        self_connections: Whether a neuron's spikes come back to itself.
        dropout: Probability, on the spikes between layers, in training.
        readout_decay: Of the leaky readout, dimensionless.
        readout: What of the readout's membrane is the sample's output; a task per step takes each step's.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {"neuron": NeuronChoice}
    optional = ("neuron",)

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Widths = (128,),
        recurrent: bool = True,
        self_connections: bool = False,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        readout_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem)
        self.name, shape = only_signal(problem, 1, "spike trains or features [L, N]")
        self.readout: Readout = readout
        choice = parts("neuron") or LIF()
        width = shape.dim
        self.layers = nn.ModuleList()
        for size in hidden:
            back = None
            if recurrent:
                back = nn.Linear(size, size, bias=False)
                nn.init.orthogonal_(back.weight, gain=0.5)
            self.layers.append(
                choice.layer(
                    neuron,
                    nn.Linear(width, size),
                    shape=(size,),
                    recurrent=back,
                    self_connections=self_connections,
                )
            )
            width = size
        self.dropout = nn.Dropout(dropout)
        # Its gain keeps the size of a current that is held.
        spec = LISpec(decay=readout_decay, gain=1 - readout_decay)
        self.head = SpikingLayer(neuron_for(neuron, spec), nn.Linear(width, problem.outputs))

    def forward(self, batch: Batch) -> Tensor:
        signal = self.signal(batch, self.name)
        steps, valid = as_steps(signal)
        for layer in self.layers:
            steps = self.dropout(layer(steps, valid=valid))
        outputs: Tensor = self.head(steps, valid=valid)  # [T, B, K]
        if self.problem.task.per_step:
            return to_positions(outputs, signal.valid)
        return read_out(outputs, valid, self.readout)
