"""Models: modules made of a problem, a neuron factory, and the parts that a recipe names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Learned, MakeNeuron, OneMinus, SpikingLayer, neuron_for
from neurozoo.core.neuron import NeuronSpec
from neurozoo.core.published import AuthorsNames, Quirk, Variant
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import DataError

__all__ = ["Model", "NeuronChoice", "Part", "Parts", "Standardise", "Trained", "only_signal", "trained_modules"]


class Trained(nn.Module):
    """Base class of modules that take part in a training. Every method is a no-op; override what you need."""

    def prepare(self, target: Tensor, valid: Tensor | None = None) -> None:
        """Learn from the training split's targets once, before the first epoch; keep the results in buffers.

        Args:
            target: ``[S, ...]`` of all S training samples.
            valid: ``[S, L]``, the valid steps of a per-step target; None for all.
        """

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        """Return terms to add to the loss, 0-d and weighted, by the name to log.

        Called once after each training forward, never in evaluation; it may use, and drop, what that forward kept in
        attributes or in dictionaries. Where samples are mixed it is also called for the other targets, on a shallow
        copy of the module, and has to return the same names.

        Args:
            target: Of the batch.
        """
        return {}

    def roles(self) -> Mapping[str, str]:
        """Return roles of parameters in the optimiser's groups, by name within this module, where the default is wrong.

        The defaults are those of :func:`~neurozoo.core.roles.parameter_roles`; what a module names for its children
        wins over what they name themselves. Example: ``{"positions": "position"}``.
        """
        return {}

    def report(self) -> Mapping[str, Tensor]:
        """Return 0-d values of the last forwards to log, such as a learned exponent."""
        return {}

    def after_step(self) -> None:
        """Constrain parameters after a step of the optimiser; called without gradients."""

    def after_epoch(self) -> None:
        """Advance the module's own schedule after an epoch; keep its state in buffers."""


def trained_modules(model: nn.Module) -> Iterator[tuple[str, Trained]]:
    """Return the modules that may take part in a training, by dotted name; the model itself first."""
    return ((name, each) for name, each in model.named_modules() if isinstance(each, Trained))


class Part(Trained, ABC):
    """Fills a slot of one model.

    The base class that is defined with the model says what ``__init__`` takes first; keyword-only parameters follow,
    the ``params`` of a recipe, checked against their annotations.
    """


Parts = Callable[..., Any]
"""``parts(slot, *args)`` builds the part that a recipe names for a slot, a new one at each call; None if the recipe
leaves an optional slot out."""


class NeuronChoice:
    """The neurons of a model's layers: a specification, its learned parameters, how a threshold is applied.

    A registered part such as ``lif`` is a subclass whose keyword-only parameters are the recipe's.

    Args:
        spec: The specification.
        learned: Parameters to learn, by name.
        gain: See :class:`~neurozoo.core.layer.SpikingLayer`.
    """

    def __init__(
        self, spec: NeuronSpec, learned: Mapping[str, Learned | OneMinus] | None = None, gain: bool = False
    ) -> None:
        # Private, since a subclass may have recipe parameters of these names.
        self.spec, self._learned, self._by_gain = spec, learned, gain

    def layer(self, neuron: MakeNeuron, synapse: nn.Module | None = None, **options: Any) -> SpikingLayer:
        """Build a layer of these neurons.

        Args:
            neuron: Makes the backend's neuron.
            synapse: As for :class:`~neurozoo.core.layer.SpikingLayer`.
            options: ``shape``, ``recurrent``, ``self_connections`` of the layer.
        """
        return SpikingLayer(
            neuron_for(neuron, self.spec), synapse, learned=self._learned, gain=self._by_gain, **options
        )


class Model(Trained, ABC):
    """A whole model.

    ``__init__`` takes ``(problem, parts, neuron)``, then keyword-only parameters: the model's ``params`` of a recipe,
    checked against their annotations. It calls ``super().__init__(problem)`` first. ``parts`` is a :data:`Parts`,
    ``neuron`` makes the backend's neuron for a specification.

    Args:
        problem: What to build the model for.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {}
    """For each slot of ``model.parts`` the kind of component that fits, or the base class of the parts (kind ``part``)
    that fit."""
    optional: ClassVar[Collection[str]] = ()
    """Slots that a recipe may leave out; ``parts`` returns None for them."""
    slot_defaults: ClassVar[Mapping[str, str]] = {}
    """Names of the parts that fill slots which a recipe leaves out."""
    works_without_spikes: ClassVar[bool] = False
    """Whether the model still computes something if all spikes are removed, so that a lesion measures their effect."""
    renamed: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Renamed tensors of older checkpoints: pairs of a regular expression and its replacement."""
    authors_names: ClassVar[AuthorsNames | None] = None
    """Of a published model: the names of its authors' checkpoints."""
    quirks: ClassVar[Mapping[str, Quirk]] = {}
    """Of a published model: what its code does and the corrected model does not, by the parameter that chooses it."""
    variants: ClassVar[Mapping[str, Variant]] = {}
    """Of a published model: its published sizes, by name."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.standardise = nn.ModuleDict({name: Standardise(problem.signals[name].dim) for name in problem.standardise})

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return outputs ``[B, K]``, or ``[B, L, K]`` if the task is per step."""

    def __call__(self, inputs: Batch | Tensor | Mapping[str, Tensor]) -> Tensor:
        """Run the model.

        Args:
            inputs: A batch; or the values ``[B, L, *shape]`` of the only signal, or of each by name. Pictures may be
                ``[B, C, H, W]``, without their one position.

        Returns:
            Outputs ``[B, K]``, or ``[B, L, K]`` if the task is per step.

        Raises:
            DataError: A signal is missing, or has another form.
        """
        outputs: Tensor = super().__call__(inputs if isinstance(inputs, Batch) else self.batch_of(inputs))
        return outputs

    def batch_of(self, inputs: Tensor | Mapping[str, Tensor]) -> Batch:
        """Return the batch of a tensor, or of one for each signal, as a call makes it.

        Raises:
            DataError: A signal is missing, or has another form.
        """
        shapes = self.problem.signals
        takes = ", ".join(
            f"{name} [{', '.join(['B', *(['L'] if shape.length > 1 else []), *map(str, shape.shape)])}]"
            for name, shape in shapes.items()
        )
        if not isinstance(inputs, Tensor | Mapping):
            raise DataError(f"found a {type(inputs).__name__}; give a torch tensor, or one for each signal: {takes}")
        if isinstance(inputs, Tensor) and len(shapes) > 1:
            raise DataError(f"one tensor for {len(shapes)} signals; give a tensor for each by its name: {takes}")
        values = {next(iter(shapes)): inputs} if isinstance(inputs, Tensor) else dict(inputs)
        for name, shape in shapes.items():
            x = values.get(name)
            if x is not None and (not isinstance(x, Tensor) or x.layout != torch.strided or x.is_complex()):
                what = f"{x.dtype} {x.layout}" if isinstance(x, Tensor) else type(x).__name__
                raise DataError(f"the signal {name!r} is a {what}; give a dense tensor of real numbers")
            if x is not None and shape.length == 1 and x.dim() == 1 + len(shape.shape):
                x = values[name] = x[:, None]
            if x is None or x.dim() != 2 + len(shape.shape) or tuple(x.shape[2:]) != shape.shape:
                found = "missing" if x is None else list(x.shape)
                raise DataError(f"the signal {name!r} is {found}; the model takes {takes}, the batch first")
            if not x.shape[1]:
                raise DataError(f"the signal {name!r} is {list(x.shape)}, and has no positions; give at least one")
        return Batch({name: Signal(values[name]) for name in shapes})

    def signal(self, batch: Batch, name: str) -> Signal:
        """Return a signal, standardised if the recipe says so, with padding 0.

        Values get the dtype of the model's parameters; whole token numbers become int64.
        """
        given = batch.signals[name]
        tokens = given.values.dim() == 2 and not given.values.is_floating_point()
        values = given.values.to(torch.int64 if tokens else self._dtype())
        if name in self.standardise:
            values = self.standardise[name](values)
        if given.valid is not None:
            hidden = ~given.valid.reshape(*given.valid.shape, *[1] * (values.dim() - 2))
            values = values.masked_fill(hidden, 0.0)
        return Signal(values, given.valid)

    def _dtype(self) -> torch.dtype:
        """Return the dtype of the parameters, which are all of one; the default without any."""
        floating = (each.dtype for each in self.parameters() if each.is_floating_point())
        return next(floating, torch.get_default_dtype())

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        """Yield the parameters that cannot be built, as (parameter, problem and what to do).

        Args:
            problem: What to build the model for, if known.
            params: The recipe's.
        """
        return ()


def only_signal(problem: Problem, axes: int, form: str) -> tuple[str, SignalShape]:
    """Return name and shape of the signal of a model that takes one.

    Args:
        problem: What the model is built for.
        axes: Number of axes of a position.
        form: Text for errors, such as ``frames [L, C, H, W]``.

    Raises:
        DataError: There are several signals, or a position has another number of axes.
    """
    there = ", ".join(f"{name} {shape}" for name, shape in problem.signals.items())
    if len(problem.signals) != 1:
        raise DataError(f"the model takes one signal of {form}, and the data gives: {there}; name one in data.inputs")
    ((name, shape),) = problem.signals.items()
    if len(shape.shape) != axes:
        raise DataError(f"the model takes {form}, and the data gives {there}; choose another model, or other data")
    return name, shape


class Standardise(nn.Module):
    """Scales features by the mean and deviation of the training split, which are part of the checkpoint.

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
        """Set mean and deviation, both ``[D]``, in the features' units."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(x - mean) / std`` of ``[B, L, *shape]``, dimensionless."""
        one = x.shape[2:]
        return (x - self.mean.view(one)) / self.std.view(one)
