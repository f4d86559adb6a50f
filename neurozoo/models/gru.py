"""A gated recurrent net without spikes: the control that a spiking net on sequences is compared with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.stepwise import Stepwise
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.steps import Readout

__all__ = ["GatedNet"]


class GatedNet(Stepwise):
    """Reads a sequence one step per position with gated recurrent units (Cho et al. 2014), then a linear.

    With the state h of the step before, in the form in which the reset gate acts on what the state drives::

        r = sigmoid(W_r x + b_r + U_r h + c_r)
        z = sigmoid(W_z x + b_z + U_z h + c_z)
        n = tanh(W_n x + b_n + r (U_n h + c_n))
        h = (1 - z) n + z h

    Nothing in it spikes, whatever the backend is.

    Args:
        problem: One signal of spike trains or features ``[L, N]``, or of frames ``[L, C, H, W]``, whose pixels become
            features; any task, per sample or per step.
        parts: Has no slot to fill.
        neuron: Unused.
        hidden: Units H.
        dropout: Probability, on the state before the linear, in training.
        readout: How a sample is read from the outputs of the steps; a task per step takes each step's.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {}
    optional: ClassVar[Collection[str]] = ()

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 64,
        dropout: Probability = 0.0,
        readout: Readout = "mean",
    ) -> None:
        axes = [1, *(len(each.shape) for each in problem.signals.values())]
        super().__init__(problem, max(axes), "spike trains, features or frames [L, ...]", readout)
        self.input = nn.Linear(self.shape.dim, 3 * hidden)
        self.recurrent = nn.Linear(hidden, 3 * hidden)
        for linear in (self.input, self.recurrent):
            for parameter in linear.parameters():
                nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(hidden, problem.outputs)

    def forward(self, batch: Batch) -> Tensor:
        signal, x, valid = self.steps(batch)
        driven = self.input(x.flatten(2))
        state = driven.new_zeros(x.shape[1], self.recurrent.in_features)
        states = []
        for step in driven:
            (r_in, z_in, n_in), (r_back, z_back, n_back) = step.chunk(3, 1), self.recurrent(state).chunk(3, 1)
            update = torch.sigmoid(z_in + z_back)
            candidate = torch.tanh(n_in + torch.sigmoid(r_in + r_back) * n_back)
            state = torch.lerp(candidate, state, update)
            states.append(state)
        # Steps after a sample's valid ones come last, and reach none of these.
        return self.answer(self.head(self.dropout(torch.stack(states))), signal, valid)
