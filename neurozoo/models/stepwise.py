"""Base class of the models whose simulation steps are the positions of one signal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import LISpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.model import Model, NeuronChoice, only_signal
from neurozoo.core.saving import compact_saves
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import DataError
from neurozoo.nn.steps import Readout, StepReadout, as_steps, read_out, to_positions

__all__ = ["Channels", "Decay", "Steps", "Stepwise", "Widths", "leaky_readout", "smallest_side"]

Steps = Annotated[int, Field(ge=1, le=1024)]
Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(min_length=1, max_length=12)]
Channels = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=12)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Stepwise(Model):
    """Takes one signal whose positions are the steps of the simulation, for any task, per sample or per step.

    Args:
        problem: One signal.
        axes: Number of axes of a position.
        form: Text for errors, such as ``frames [L, C, H, W]``.
        readout: How a sample is read from the outputs of all steps; a task per step takes each step's.
        held: T for which a signal of one position, a picture, is held; None if it is not.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {"neuron": NeuronChoice}
    optional: ClassVar[Collection[str]] = ("neuron",)
    shape: SignalShape
    """Shape of the signal."""

    answering: int | None = None
    """Number of steps at the end of a sample that answer; None for all."""

    def __init__(self, problem: Problem, axes: int, form: str, readout: Readout, held: int | None = None) -> None:
        super().__init__(problem)
        self.name, self.shape = only_signal(problem, axes, form)
        self.readout: Readout = readout
        self.held = held if self.shape.length == 1 else None
        if self.held and problem.task.per_step:
            raise DataError("the task is per step, and a picture has no steps; give frames, or a task per sample")

    @property
    def reading(self) -> StepReadout:
        """How the answer follows from the outputs of the last layer, step by step."""
        return StepReadout("last" if self.problem.task.per_step else self.readout, self.answering)

    def __call__(self, inputs: Batch | Tensor | Mapping[str, Tensor]) -> Tensor:
        if torch.compiler.is_compiling():
            return super().__call__(inputs)
        with compact_saves(_values(inputs)):
            return super().__call__(inputs)

    def drive(self, first: nn.Module, batch: Batch) -> tuple[Signal, Tensor, Tensor | None]:
        """Run the first layer; for a picture its synapse runs once, and its neurons for all steps.

        Returns:
            The signal, the layer's outputs ``[T, B, ...]``, and the valid steps ``[T, B]``; None if all are.
        """
        signal, steps, valid = self.steps(batch)
        if self.held:
            return signal, first(steps[0], steps=self.held), None
        return signal, first(steps, valid=valid), valid

    def steps(self, batch: Batch) -> tuple[Signal, Tensor, Tensor | None]:
        """Return the signal, its steps ``[T, B, *shape]``, and the valid ones ``[T, B]``; None if all are.

        A picture is repeated, so that a batch norm over T and B counts it T times, as published for transformers. Other
        models use :meth:`drive`, which saves T - 1 runs of the first synapse.
        """
        signal = self.signal(batch, self.name)
        x, valid = as_steps(signal)
        if self.held:
            if len(x) != 1:
                raise DataError(f"{self.name} has {len(x)} positions, and the model takes pictures, which have one")
            x = x.expand(self.held, *x.shape[1:])
            valid = None if valid is None else valid.expand(self.held, -1)
        return signal, x, valid

    def answer(self, outputs: Tensor, signal: Signal, valid: Tensor | None) -> Tensor:
        """Return the model's outputs: ``[B, K]``, or ``[B, L, K]`` if the task is per step.

        Args:
            outputs: ``[T, B, K]``.
            signal: The signal that was read, whose positions the steps are.
            valid: ``[T, B]``; None if all steps are valid.
        """
        if self.problem.task.per_step:
            return to_positions(outputs, signal.valid)
        return read_out(outputs, valid, self.readout)


def _values(inputs: Batch | Tensor | Mapping[str, Tensor]) -> Iterator[Tensor]:
    """Yield the tensors of inputs, which the caller keeps during a step."""
    if isinstance(inputs, Tensor):
        yield inputs
    elif isinstance(inputs, Batch):
        yield from (signal.values for signal in inputs.signals.values())
    elif isinstance(inputs, Mapping):
        yield from (value for value in inputs.values() if isinstance(value, Tensor))


def leaky_readout(neuron: MakeNeuron, width: int, outputs: int, decay: float, *, bias: bool = True) -> SpikingLayer:
    """Make a linear that drives leaky integrators, with the gain that keeps the size of a constant current.

    Args:
        neuron: Makes the backend's neuron.
        width: Number of inputs.
        outputs: Number of outputs K.
        decay: Of the membrane in a step, dimensionless.
        bias: Whether the linear has one.
    """
    linear = nn.Linear(width, outputs, bias=bias)
    return SpikingLayer(neuron_for(neuron, LISpec(decay=decay, gain=1 - decay)), linear)


def smallest_side(problem: Problem | None) -> int | None:
    """Return the shorter side of the frames of a problem's only signal; None if that is none of frames."""
    shapes = [] if problem is None else [each.shape for each in problem.signals.values()]
    return min(shapes[0][1:]) if len(shapes) == 1 and len(shapes[0]) == 3 else None
