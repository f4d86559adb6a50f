"""A spiking convnet on frames or pictures: convolution, normalisation, neurons, pooling; a linear readout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Model, NeuronChoice, Parts, only_signal
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.nn.neuron_choices import LIF
from neurozoo.nn.steps import Readout, as_steps, read_out, to_positions
from neurozoo.nn.synapses import Normalised

__all__ = ["SpikingConvNet"]

Channels = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=12)]


class SpikingConvNet(Model):
    """Classifies frames, each a step of the simulation, or a picture that is held for some steps.

    Each block is ``convolution -> batch norm -> neurons -> average pooling by 2``; a linear reads the last block at
    every step. Normalisation is over T and B, and leaves padding out.

    Args:
        problem: One signal of frames ``[L, C, H, W]``, or pictures (L = 1); any task.
        parts: Builds the slot ``neuron``; LIF by default.
        neuron: Makes the backend's neuron.
        channels: Of each block.
        kernel: Edge of the convolutions, odd.
        time_steps: T for which a picture is held; frames are their own steps.
        readout: What of the outputs at each step is the sample's; a task per step takes each.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {"neuron": NeuronChoice}
    optional = ("neuron",)

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        channels: Channels = (16, 32),
        kernel: Annotated[int, Field(ge=1, le=15)] = 3,
        time_steps: Annotated[int, Field(ge=1, le=1024)] = 4,
        readout: Readout = "mean",
    ) -> None:
        super().__init__(problem)
        self.name, shape = only_signal(problem, 3, "frames [L, C, H, W]")
        self.held = time_steps if shape.length == 1 else None
        if self.held and problem.task.per_step:
            raise DataError("the task is per step, and a picture has no steps; give frames, or a task per sample")
        self.readout: Readout = readout
        choice = parts("neuron") or LIF()
        width, (height, breadth) = shape.shape[0], shape.shape[1:]
        self.blocks = nn.ModuleList()
        for out in channels:
            if min(height, breadth) < 2:
                raise DataError(
                    f"{len(channels)} blocks halve frames of {shape.shape[1]} x {shape.shape[2]} to nothing; give "
                    "fewer channels, or larger frames"
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
        signal = self.signal(batch, self.name)
        steps, valid = as_steps(signal)
        if self.held:
            steps, valid = steps.expand(self.held, *steps.shape[1:]), None
        for number, block in enumerate(self.blocks):
            held = self.held if number == 0 else None
            fired = block(steps[0] if held else steps, steps=held, valid=valid)
            steps = self.pool(fired.flatten(0, 1)).unflatten(0, fired.shape[:2])
        outputs: Tensor = self.head(steps.flatten(2))  # [T, B, K]
        if self.problem.task.per_step:
            return to_positions(outputs, signal.valid)
        return read_out(outputs, valid, self.readout)
