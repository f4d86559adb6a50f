"""A spiking convnet on frames or pictures: convolution, normalisation, neurons, pooling; a linear readout."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.models.stepwise import Channels, Steps, Stepwise
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout
from neurozoo.nn.synapses import Normalised

__all__ = ["SpikingConvNet"]


class SpikingConvNet(Stepwise):
    """Classifies frames, one step per frame, or a picture that is held for some steps.

    Each block is ``convolution -> batch norm -> neurons -> average pooling by 2``; a linear reads the last block at
    every step. Normalisation is over the valid positions of T and B.

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; LIF by default.
        channels: Of each block.
        kernel: Edge of the convolutions, odd.
        time_steps: T for which a picture is held.
        readout: How a sample is read from the outputs of all steps; a task per step takes each step's.
    """

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        channels: Channels = (16, 32),
        kernel: Annotated[int, Field(ge=1, le=15)] = 3,
        time_steps: Steps = 4,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem, 3, "frames [L, C, H, W]", readout, time_steps)
        choice = parts("neuron") or LIF()
        width, height, breadth = frame = self.shape.shape
        self.blocks = nn.ModuleList()
        for out in channels:
            if min(height, breadth) < 2:
                raise DataError(
                    f"{len(channels)} blocks halve frames of {frame[1]} x {frame[2]} to nothing; give fewer channels, "
                    "or larger frames"
                )
            convolution = nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=False)
            self.blocks.append(choice.layer(neuron, Normalised(convolution, out), shape=(out, 1, 1)))
            width, height, breadth = out, height // 2, breadth // 2
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(width * height * breadth, problem.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        if not params["kernel"] % 2:
            yield "kernel", f"{params['kernel']} is even, and the frame would shift; give an odd one"

    def forward(self, batch: Batch) -> Tensor:
        first, *others = self.blocks
        signal, spikes, valid = self.drive(first, batch)
        for block in others:
            spikes = block(self._pooled(spikes), valid=valid)
        return self.answer(self.head(self._pooled(spikes).flatten(2)), signal, valid)

    def _pooled(self, spikes: Tensor) -> Tensor:
        pooled: Tensor = self.pool(spikes.flatten(0, 1))
        return pooled.view(*spikes.shape[:2], *pooled.shape[1:])
