"""What a model is: a module made of a problem, a neuron factory, and the parts that a recipe names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Learned, MakeNeuron, SpikingLayer, neuron_for
from neurozoo.core.neuron import NeuronSpec
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import DataError

__all__ = ["Model", "NeuronChoice", "Part", "Parts", "Standardise", "Trained", "only_signal", "trained_modules"]


class Trained(nn.Module):
    """What a module may do around a training. Every method is a no-op; override what you need."""

    def prepare(self, target: Tensor, valid: Tensor | None = None) -> None:
        """See the training split's targets once, before the first epoch; keep what is learned of them in buffers.

        Args:
            target: ``[S, ...]`` of all S training samples.
            valid: ``[S, L]``, the steps of a per-step target that count; None where all do.
        """

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        """Terms to add to the loss after a training forward, 0-d each with its weight on, by the name to log.

        It is called once after each training forward, never in evaluation, and may refer to what that forward kept.

        Args:
            target: Of the batch.
        """
        return {}

    def report(self) -> Mapping[str, Tensor]:
        """What to log of the last forwards, 0-d each, such as a learned exponent."""
        return {}

    def after_step(self) -> None:
        """Constrain parameters after a step of the optimiser; called without gradients."""

    def after_epoch(self) -> None:
        """Move a schedule of the module's own after an epoch; keep its state in buffers."""


def trained_modules(model: nn.Module) -> Iterator[tuple[str, Trained]]:
    """The modules that may take part in a training, by dotted name; the model itself first."""
    return ((name, each) for name, each in model.named_modules() if isinstance(each, Trained))


class Part(Trained, ABC):
    """What fills a slot of one model.

    Its base class lives with the model and says what ``__init__`` takes first; keyword-only parameters follow, the
    ``params`` of a recipe, checked against their annotations.
    """


class Parts(Protocol):
    """Builds the parts that a recipe names, for a model to put together."""

    def __call__(self, slot: str, *args: Any) -> Any:
        """Build the part of a slot, a new one at each call; None where the recipe leaves an optional one out."""


class NeuronChoice:
    """Which neuron a model's layers have: a specification, what of it is learned, how a threshold is applied.

    A registered part such as ``lif`` is a subclass whose keyword-only parameters are the recipe's.

    Args:
        spec: The specification.
        learned: Parameters to learn, by name.
        gain: See :class:`~neurozoo.core.layer.SpikingLayer`.
    """

    def __init__(self, spec: NeuronSpec, learned: Mapping[str, Learned] | None = None, gain: bool = False) -> None:
        self.spec, self.learned, self.gain = spec, dict(learned or {}), gain

    def layer(
        self,
        neuron: MakeNeuron,
        synapse: nn.Module | None = None,
        *,
        shape: tuple[int, ...] = (),
        recurrent: nn.Linear | None = None,
        self_connections: bool = True,
    ) -> SpikingLayer:
        """Build a layer of these neurons.

        Args:
            neuron: Makes the backend's neuron.
            synapse: What drives them.
            shape: Of one step's neurons, for parameters per neuron.
            recurrent: Weights from their outputs back to them.
            self_connections: Whether a neuron is connected to itself.
        """
        return SpikingLayer(
            neuron_for(neuron, self.spec),
            synapse,
            shape=shape,
            learned=self.learned,
            recurrent=recurrent,
            self_connections=self_connections,
            gain=self.gain,
        )


class Model(Trained, ABC):
    """A whole model.

    ``__init__`` takes ``(problem, parts, neuron)``, then keyword-only parameters: the model's ``params`` of a recipe,
    checked against their annotations. It calls ``super().__init__(problem)`` first.

    Args:
        problem: What it is built for.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {}
    """For each slot of ``model.parts`` the kind of component that fits, or the base class of the parts (kind ``part``)
    that fit. May be empty."""
    optional: ClassVar[Collection[str]] = ()
    """Slots that a recipe may leave out; ``parts`` gives None for them."""
    works_without_spikes: ClassVar[bool] = False
    """Whether something is left when its spikes are taken away, so that a lesion measures what they add."""
    renamed: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Names of tensors in checkpoints made before: pairs of a regular expression and what to put in its place."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.standardise = nn.ModuleDict({name: Standardise(problem.signals[name].dim) for name in problem.standardise})

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Outputs ``[B, K]``, or ``[B, L, K]`` where the task is per step."""

    def signal(self, batch: Batch, name: str) -> Signal:
        """A signal as floats, scaled by the training split's statistics if the recipe says so; padding is 0."""
        given = batch.signals[name]
        values = given.values if given.values.is_floating_point() else given.values.to(torch.get_default_dtype())
        if name in self.standardise:
            values = self.standardise[name](values)
        if given.valid is not None:
            hidden = ~given.valid.reshape(*given.valid.shape, *[1] * (values.dim() - 2))
            values = values.masked_fill(hidden, 0.0)
        return Signal(values, given.valid)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        """Name the parameters that cannot be built, as (parameter, problem and what to do).

        Args:
            problem: What the model is to be built for, where that is known already.
            params: The recipe's.
        """
        return ()


def only_signal(problem: Problem, axes: int, form: str) -> tuple[str, SignalShape]:
    """The one signal of a model that takes one.

    Args:
        problem: What the model is built for.
        axes: How many axes a position has.
        form: What the model takes, for the error, such as ``frames [L, C, H, W]``.

    Raises:
        DataError: There are several signals, or its positions have other axes.
    """
    there = ", ".join(f"{name} {shape}" for name, shape in problem.signals.items())
    if len(problem.signals) != 1:
        raise DataError(f"the model takes one signal of {form}, and the data gives: {there}; name one in data.inputs")
    ((name, shape),) = problem.signals.items()
    if len(shape.shape) != axes:
        raise DataError(f"the model takes {form}, and the data gives {there}; choose another model, or other data")
    return name, shape


class Standardise(nn.Module):
    """Scale features by the mean and deviation of the training split, which are part of the checkpoint.

    Args:
        dim: Numbers D at a position.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @torch.no_grad()
    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Take over a mean and a deviation, both ``[D]``, in the features' own units."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, x: Tensor) -> Tensor:
        """``(x - mean) / std`` of ``[B, L, *shape]``, dimensionless."""
        one = x.shape[2:]
        return (x - self.mean.view(one)) / self.std.view(one)
