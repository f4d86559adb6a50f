"""Spiking nets on spike trains or features, recurrent or feed-forward, with a leaky readout."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.recording import neuron_layers
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Decay, Stepwise, Widths, leaky_readout
from neurozoo.nn.eprop import EProp, Gradient
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout, as_steps

__all__ = ["RecurrentNet"]


class RecurrentNet(Stepwise):
    """Reads a sequence one step per position; each hidden layer's spikes return to it a step later.

    Args:
        problem: One signal of spike trains or features ``[L, N]``; any task, per sample or per step.
        parts: Builds the slot ``neuron``; LIF by default.
        hidden: Neurons of each layer.
        recurrent: Whether spikes return; if not, the layers are feed-forward.
        self_connections: Whether a neuron's spikes return to itself.
        dropout: Probability, on the spikes between layers, in training.
        readout_decay: Of the leaky readout, dimensionless.
        readout: How a sample is read from the readout's membrane; a task per step takes each step's.
        gradient: ``bptt``; or of one hidden layer ``e-prop``, whose memory does not grow with the steps, or
            ``e-prop-random`` with fixed random numbers as feedback.
    """

    default: ClassVar[type[Any]] = LIF
    """The neurons if a recipe names none."""

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Widths = (128,),
        recurrent: bool = True,
        self_connections: bool = False,
        dropout: Decay = 0.0,
        readout_decay: Decay = 0.9,
        readout: Readout = "mean",
        gradient: Gradient = "bptt",
    ) -> None:
        super().__init__(problem, 1, "spike trains or features [L, N]", readout)
        choice = parts("neuron") or self.default()
        width = self.shape.dim
        self.layers = nn.ModuleList()
        for size in hidden:
            back = None
            if recurrent:
                back = nn.Linear(size, size, bias=False)
                nn.init.orthogonal_(back.weight, gain=0.5)
            synapse = nn.Linear(width, size)
            self.layers.append(
                choice.layer(neuron, synapse, shape=(size,), recurrent=back, self_connections=self_connections)
            )
            width = size
        self.dropout = nn.Dropout(dropout)
        self.head = leaky_readout(neuron, width, problem.outputs, readout_decay)
        self.eprop = None
        if gradient != "bptt":
            (layer,) = neuron_layers(self.layers).values()
            self.eprop = EProp(layer, self.head, random=gradient == "e-prop-random")

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        if params.get("gradient", "bptt") != "bptt":
            if len(params["hidden"]) > 1:
                yield "gradient", "e-prop trains one recurrent layer; give hidden one width, or choose bptt"
            if params["dropout"]:
                yield "gradient", "e-prop keeps no spikes that could be dropped; set dropout to 0, or choose bptt"

    def forward(self, batch: Batch) -> Tensor:
        if self.eprop is not None and self.training and torch.is_grad_enabled():
            signal = self.signal(batch, self.name)
            steps, valid = as_steps(signal)
            return self.answer(self.eprop(steps, valid=valid)[0], signal, valid)
        signal, steps, valid = self.steps(batch)
        outputs, _ = self.run_all(steps, valid)
        return self.answer(outputs, signal, valid)

    def run(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, tuple[()]]:
        for n, layer in enumerate((*self.layers, self.head)):
            x = layer(self.dropout(x) if n else x, valid=valid)
        return x, ()
