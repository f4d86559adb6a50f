"""An MLP of current-based neurons along a series: two states a neuron, a leaky readout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import LISpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.model import Model, NeuronChoice, Parts, only_signal
from neurozoo.core.signals import Batch, Problem
from neurozoo.nn.neuron_choices import Cuba
from neurozoo.nn.steps import Readout, as_steps, read_out, to_positions

__all__ = ["CubaMLP"]

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(min_length=1, max_length=12)]


class CubaMLP(Model):
    """Reads a series one step a position through layers of current-based neurons; answers with numbers.

    Args:
        problem: One signal of features ``[L, D]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``; current-based LIF by default.
        neuron: Makes the backend's neuron.
        hidden: Neurons of each layer.
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
        hidden: Widths = (64, 64),
        readout_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        readout: Readout = "last",
    ) -> None:
        super().__init__(problem)
        self.name, shape = only_signal(problem, 1, "features [L, D]")
        self.readout: Readout = readout
        choice = parts("neuron") or Cuba()
        widths = [shape.dim, *hidden]
        self.layers = nn.ModuleList(
            choice.layer(neuron, nn.Linear(into, out), shape=(out,)) for into, out in zip(widths, hidden, strict=False)
        )
        spec = LISpec(decay=readout_decay, gain=1 - readout_decay)
        self.head = SpikingLayer(neuron_for(neuron, spec), nn.Linear(widths[-1], problem.outputs))

    def forward(self, batch: Batch) -> Tensor:
        signal = self.signal(batch, self.name)
        steps, valid = as_steps(signal)
        for layer in self.layers:
            steps = layer(steps, valid=valid)
        outputs: Tensor = self.head(steps, valid=valid)  # [T, B, K]
        if self.problem.task.per_step:
            return to_positions(outputs, signal.valid)
        return read_out(outputs, valid, self.readout)
