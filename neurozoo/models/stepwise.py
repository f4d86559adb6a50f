"""Base class of the models whose simulation steps are the positions of one signal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.kinds import LISpec
from neurozoo.core.layer import MakeNeuron, SpikingLayer, Synapse, neuron_for
from neurozoo.core.model import Model, NeuronChoice, only_signal
from neurozoo.core.saving import compact_saves
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import DataError, UserError
from neurozoo.nn.carried import carried
from neurozoo.nn.delays import DelayedLinear
from neurozoo.nn.dropout import HeldDropout
from neurozoo.nn.steps import Readout, StepReadout, as_steps, read_out, to_positions

__all__ = ["Channels", "Decay", "Steps", "Stepwise", "Widths", "leaky_readout", "recompute", "smallest_side"]

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

    recompute: int | None = None
    """Steps of a segment that training's backward runs once more, 0 for the usual number; None to keep all steps.

    Set by :func:`recompute`."""

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

    @property
    def in_segments(self) -> bool:
        """Whether the present forward runs its steps in segments."""
        return self.recompute is not None and self.training and torch.is_grad_enabled()

    def run(self, x: Tensor, valid: Tensor | None) -> tuple[Any, Any]:
        """Run steps through the layers, in a model that trains in segments; see :func:`~neurozoo.nn.carried.carried`.

        Nothing but the state of its layers may come from the steps before, and each layer runs once.

        Args:
            x: Some steps ``[t, B, ...]``.
            valid: Which of them are valid, ``[t, B]``; None if all are.

        Returns:
            Outputs ``[t, B, ...]``, and what is summed over all steps; tensors or nested tuples of them.
        """
        raise NotImplementedError

    def run_all(self, x: Tensor, valid: Tensor | None) -> tuple[Any, Any]:
        """Return :meth:`run` of all steps, in segments if the training says so."""
        if not self.in_segments:
            return self.run(x, valid)
        return carried(self, self.run, x, valid, self.recompute or None)

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


def recompute(model: Model, length: int | Literal["auto"] | None) -> None:
    """Let the trainings of a model run its steps in segments that the backward runs once more, or keep all steps.

    Args:
        model: Any; None is right for all.
        length: Steps of a segment, or ``auto`` for half of the square root of T; None to keep all steps.

    Raises:
        UserError: The model cannot; says why.
    """
    if length is not None and (reason := _whole_alone(model)):
        raise UserError(
            f"training.recompute: {type(model).__name__} cannot train in segments of steps: {reason}; leave it out, or "
            "choose a model such as recurrent, cuba-mlp, cuba-rsnn or lsnn"
        )
    if isinstance(model, Stepwise):
        model.recompute = 0 if length == "auto" else length


def _whole_alone(model: Model) -> str:
    """Return why a model cannot train in segments of steps; empty if it can."""
    if not isinstance(model, Stepwise):
        return "it reads a sample whole, and its positions are no steps"
    if model.held:
        return "it reads pictures, which have one position"
    if getattr(model, "eprop", None) is not None:
        return "gradient: e-prop keeps no steps in any case"
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return f"{name} normalises over all steps of a batch"
        if isinstance(module, HeldDropout) and module.p:
            return f"{name} holds what it drops over all steps"
        if isinstance(module, Synapse) and module.over_time and module.by_window() is None:
            return f"{name} needs all steps at once"
        if isinstance(module, DelayedLinear):
            return f"{name} delays its inputs by learned numbers of steps, and no inputs of earlier segments are kept"
    if type(model).run is Stepwise.run:
        return "its forward is not in two parts, the steps (`run`) and the answer"
    return ""


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
