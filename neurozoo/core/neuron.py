"""What a neuron is (its specification), and who runs it (a backend).

A specification is pure: named state, named parameters, one step in a stated order. State goes in and comes out as a
tuple of tensors; parameters are numbers, or tensors that the core owns, so that a checkpoint written under one backend
loads under every other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from neurozoo.errors import SpikingError

__all__ = [
    "Neuron",
    "NeuronSpec",
    "Params",
    "PlainNetwork",
    "Reading",
    "Recurrent",
    "State",
    "check_params",
    "check_threshold",
    "steps_of",
    "without_diagonal",
]

State = tuple[Tensor, ...]
"""A neuron's state, one tensor ``[B, ...]`` for each name of ``NeuronSpec.states``, in that order."""
Params = Mapping[str, Tensor | float]
"""Parameters by name, as they are used: a number, or a tensor that broadcasts against one step's current."""
PlainNetwork = Callable[[tuple[int, ...], int, int, Mapping[str, Any]], nn.Module]
"""Makes a network of ``[B, L, *shape]`` to ``[B, K]``, given the shape, T, K and the model's parameters. It registers
its own parameters in the order of neurozoo's model."""


@dataclass(frozen=True)
class NeuronSpec(ABC):
    """The dynamics of a neuron: immutable, hashable, without tensors.

    A subclass is a frozen dataclass whose fields are the choices and the default numbers.
    """

    kind: ClassVar[str]
    """Name in recipes, reports and error messages."""
    states: ClassVar[tuple[str, ...]] = ()
    """Names of the state tensors, in order."""
    parameter_names: ClassVar[tuple[str, ...]] = ()
    """Fields that are parameters too: a call may give another value. One that is None is none."""
    spiking: ClassVar[bool] = True
    """Whether the output is spikes, 0 or 1; else it is a real number, such as a readout's membrane."""

    @property
    def parameters(self) -> Mapping[str, float]:
        """The parameters that a call may give, by name, each with its default; dimensionless."""
        return {name: value for name in self.parameter_names if (value := getattr(self, name)) is not None}

    @property
    def temporal(self) -> bool:
        """Whether the output at a step depends on earlier steps; if not, a held current needs one step."""
        return bool(self.states)

    def rest(self, params: Params) -> tuple[Tensor | float, ...]:
        """Return the state without input, a value for each name of ``states``."""
        return (0.0,) * len(self.states)

    @abstractmethod
    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        """Run one time step in plain torch: the definition that every backend is compared with.

        Args:
            current: Input ``[B, ...]``, dimensionless.
            state: ``[B, ...]`` each.
            threshold: A float, or a tensor that broadcasts against ``current``.
            params: Every name of ``parameters``.

        Returns:
            The output, shape and dtype of ``current``, and the new state.
        """

    def complete(self, params: Params | None) -> dict[str, Tensor | float]:
        """Return ``params`` with the default of each parameter that is not given.

        Raises:
            SpikingError: This neuron has no parameter of a given name.
        """
        given, known = params or {}, self.parameters
        if unknown := sorted(given.keys() - known.keys()):
            raise SpikingError(
                f"{self.kind} neurons have no parameter {', '.join(unknown)}; they have: {', '.join(known) or 'none'}"
            )
        return {**known, **given}


class Recurrent(NamedTuple):
    """What :meth:`Neuron.recur` returns.

    Attributes:
        outputs: ``[T, B, ..., N]``.
        state: The last state, which ends with the last output.
        driven: Currents including the recurrent ones, ``[T, B, ..., N]``; None if they were not asked for.
    """

    outputs: Tensor
    state: State
    driven: Tensor | None


class Reading(NamedTuple):
    """What :meth:`Neuron.read` returns.

    Attributes:
        currents: What the reader makes of the outputs, ``[T, B, K]``.
        counts: Sums of the valid outputs, ``[B, N]``.
        spikes: The outputs in bytes, ``[T, B, N]``, which have no gradient.
    """

    currents: Tensor
    counts: Tensor
    spikes: Tensor


class Neuron(ABC):
    """A backend: a plain object that runs a specification, without parameters and without hidden state.

    A backend implements :meth:`step`; it may override :meth:`scan` for speed. The threshold is an argument of the call.
    In :meth:`scan` it is a float, a 0-d tensor, or a tensor with as many axes as the currents, each of their size or 1:
    per sample ``[1, B, 1, ...]``, per step ``[T, 1, ...]``, per neuron ``[1, 1, ..., N]``. Any other shape is refused.

    Args:
        spec: The neuron to run.

    Raises:
        SpikingError: The backend does not run this neuron.
    """

    kinds: ClassVar[tuple[str, ...]] = ("lif",)
    """Kinds of neuron that the backend runs."""
    runs: ClassVar[str] = ""
    """Functions of the backend's library that it calls, for people to read."""
    graph_breaks: ClassVar[bool] = False
    """Whether ``torch.compile`` splits it into several graphs; compiled code must give the same results."""

    def __init__(self, spec: NeuronSpec) -> None:
        if reason := self.refusal(spec):
            raise SpikingError(reason)
        self.spec = spec

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        """Return why the backend does not run a specification; empty if it does.

        Override it if more than the kind decides, and call this one first.
        """
        if spec.kind in cls.kinds:
            return ""
        return (
            f"{cls.__name__} does not run {spec.kind} neurons; it runs: {', '.join(cls.kinds)}; choose another neuron, "
            "or a backend that runs them, such as torch"
        )

    @classmethod
    def supports(cls, spec: NeuronSpec) -> bool:
        """Whether the backend runs a specification."""
        return not cls.refusal(spec)

    @classmethod
    def nir_reader(cls) -> Any:
        """Return the library's own reader of NIR, a ``neurozoo.nir.readers.NIRReader``; None if it has none.

        Raises:
            ImportError: A library that the reader needs is not installed.
        """
        return None

    @classmethod
    def plain_networks(cls) -> Mapping[str, PlainNetwork]:
        """Return networks written with the library's own neurons, as its documentation does; for benchmarks.

        They have the name of the published model, or are called ``recurrent-lif``: one layer of LIF neurons with
        tau 2, ``[B, L, N]`` to spikes ``[B, L, K]``, with the parameters ``weight`` and ``back`` (the synapse's and the
        recurrent weights) and ``threshold``.

        Raises:
            ImportError: A library that they need is not installed.
        """
        return {}

    def initial_state(self, current: Tensor, params: Params | None = None) -> State:
        """Return the state at rest, ``[B, ...]`` each, with dtype and device of one step's ``current``."""
        rest = self.spec.rest(self.spec.complete(params))
        return tuple(
            value.to(current).expand_as(current) if isinstance(value, Tensor) else torch.full_like(current, value)
            for value in rest
        )

    @abstractmethod
    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        """Run one time step.

        Args:
            current: Input ``[B, ...]``, dimensionless.
            state: Result of the last step, or :meth:`initial_state`.
            threshold: A float, a 0-d tensor, or a tensor that broadcasts against ``current``.
            params: By name, see :class:`NeuronSpec`; the specification's default where one is not given.

        Returns:
            The output, of the dtype of ``current``, and the state, all ``[B, ...]``.
        """

    def scan(
        self,
        currents: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        """Run all time steps.

        Args:
            currents: Input ``[T, B, ...]``, T >= 1.
            state: Initial state; rest by default.
            threshold: See the class.
            params: As for :meth:`step`; the same at every step.

        Returns:
            Outputs ``[T, B, ...]`` and the last state.

        Raises:
            SpikingError: The threshold or a parameter has a shape that is not allowed.
        """
        thresholds = steps_of(threshold, currents)
        params = check_params(self.spec.complete(params), currents)
        carried = self.initial_state(currents[0], params) if state is None else state
        step = self.stepper(params)
        outputs: list[Tensor] = []
        # unbind: indexing currents[t] would make the backward quadratic in T.
        for current, level in zip(currents.unbind(0), thresholds, strict=True):
            output, carried = step(current, carried, level)
            outputs.append(output)
        return torch.stack(outputs), carried

    def stepper(self, params: Params) -> Callable[[Tensor, State, Tensor | float], tuple[Tensor, State]]:
        """Return :meth:`step` with all parameters; override it to make something once for all steps of a scan."""
        return lambda current, state, threshold: self.step(current, state, threshold, params)

    def hold(
        self,
        current: Tensor,
        steps: int,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        """Run all time steps with one current; override it if a constant current can be run faster.

        Args:
            current: Input ``[B, ...]`` of every step.
            steps: T.
            state: As for :meth:`scan`.
            threshold: As for :meth:`scan`, for currents ``[T, B, ...]``.
            params: As for :meth:`scan`.
        """
        return self.scan(current.expand(steps, *current.shape), state, threshold, params)

    def recur(
        self,
        currents: Tensor,
        weight: Tensor,
        state: State | None,
        threshold: Tensor | float,
        params: Params | None,
        *,
        detach: bool = False,
        gain: bool = False,
        self_connections: bool = True,
        driven: bool = True,
    ) -> Recurrent:
        """Run all time steps with outputs that return a step later; override it if the loop can be fused.

        Args:
            currents: Input ``[T, B, ..., N]``, T >= 1, to which the recurrent currents are added.
            weight: ``V [N, N]``: a step's recurrent currents are ``s V^T`` of the outputs of the step before.
            state: Initial state and, as its last tensor, the outputs before the first step; rest by default.
            threshold: See the class.
            params: As for :meth:`step`.
            detach: Whether the gradient stops at the outputs that return.
            gain: Whether the threshold divides the current, and the neuron fires at 1.
            self_connections: Whether the diagonal of ``V`` is used; if not, 0 takes its place.
            driven: Whether to return the currents including the recurrent ones.
        """
        weight = weight if self_connections else without_diagonal(weight)
        carried = None if state is None else state[:-1]
        fired = torch.zeros_like(currents[0]) if state is None else state[-1]
        levels = threshold.unbind(0) if isinstance(threshold, Tensor) and threshold.dim() else None
        wholes: list[Tensor] = []
        fires: list[Tensor] = []
        for t, current in enumerate(currents.unbind(0)):
            level = threshold if levels is None else levels[t if len(levels) > 1 else 0][None]
            whole = current + nn.functional.linear(fired.detach() if detach else fired, weight)
            one = whole[None]
            out, carried = self.scan(one / level if gain else one, carried, 1.0 if gain else level, params)
            fired = out[0]
            if driven:
                wholes.append(whole)
            fires.append(fired)
        return Recurrent(torch.stack(fires), (*(carried or ()), fired), torch.stack(wholes) if driven else None)

    def read(
        self,
        x: Tensor,
        synapse: Tensor,
        weight: Tensor,
        reader: Tensor,
        state: State | None,
        threshold: Tensor | float,
        params: Params | None,
        *,
        valid: Tensor | None = None,
        late: int = 0,
        detach: bool = False,
        self_connections: bool = True,
    ) -> Reading | None:
        """Run all steps as :meth:`recur` between two linears, without keeping the outputs in full.

        Args:
            x: Inputs ``[T, B, D]``, whose currents are ``x synapse^T``; those of ``late`` further steps are 0.
            synapse: ``[N, D]``.
            weight: As for :meth:`recur`.
            reader: ``[K, N]``, which multiplies the outputs likewise.
            state: As for :meth:`recur`.
            threshold: See the class.
            params: As for :meth:`step`.
            valid: ``[T or 1, B]``, which outputs are counted, with the late steps; None for all.
            late: Number of steps without input at the end.
            detach: As for :meth:`recur`.
            self_connections: As for :meth:`recur`.

        Returns:
            None where the backend has no such loop, as here: the caller then runs one after the other.
        """
        return None


def without_diagonal(weight: Tensor) -> Tensor:
    """Return ``[N, N]`` with 0 on the diagonal."""
    if (weight.requires_grad and torch.is_grad_enabled()) or torch.compiler.is_compiling():
        # For the backward a byte for each weight is kept, in place of two numbers; exporters know no fill in place.
        return weight.masked_fill(torch.eye(len(weight), dtype=torch.bool, device=weight.device), 0)
    return weight.clone().fill_diagonal_(0)


def steps_of(threshold: Tensor | float, currents: Tensor) -> Sequence[Tensor | float]:
    """Return the threshold of each of the T steps, checked by :func:`check_threshold`."""
    check_threshold(threshold, currents)
    steps = currents.shape[0]
    if not isinstance(threshold, Tensor) or threshold.dim() == 0:
        return [threshold] * steps
    # In the currents' dtype: a float32 threshold would otherwise promote bfloat16 currents.
    slices = threshold.to(currents.dtype).unbind(0)
    return slices if len(slices) == steps else [slices[0]] * steps


def check_threshold(threshold: Tensor | float, currents: Tensor) -> None:
    """Check the shapes of a threshold and of currents ``[T, B, ...]``.

    Raises:
        SpikingError: There is no time step, or the threshold's shape is not allowed, see :class:`Neuron`.
    """
    if currents.dim() < 2 or currents.shape[0] == 0:
        raise SpikingError(f"currents have the shape {list(currents.shape)}; give [T, B, ...] with T >= 1")
    if not isinstance(threshold, Tensor) or threshold.dim() == 0:
        return
    if threshold.dim() != currents.dim() or not _broadcasts(threshold.shape, currents.shape):
        raise SpikingError(
            f"a threshold of shape {list(threshold.shape)} does not fit currents of shape {list(currents.shape)}; "
            "give a float, a 0-d tensor, or a tensor with as many axes, each of the same size or 1"
        )


def check_params(params: Params, currents: Tensor) -> dict[str, Tensor | float]:
    """Return the parameters with tensors in the currents' dtype, each checked against one step of ``[T, B, ...]``.

    A parameter of the layer is 0-d, one per neuron of a linear layer ``[N]``, one per channel of frames ``[C, 1, 1]``.
    Samples share their parameters, so no axis is the batch's.

    Raises:
        SpikingError: A tensor does not broadcast against the neurons.
    """
    one = currents.shape[2:]
    checked: dict[str, Tensor | float] = {}
    for name, value in params.items():
        if isinstance(value, Tensor):
            if value.dim() > len(one) or not _broadcasts(value.shape, one):
                raise SpikingError(
                    f"the parameter {name} of shape {list(value.shape)} does not fit neurons of shape {list(one)}; "
                    "give a number, or a tensor that broadcasts against them, such as one value a neuron"
                )
            value = value.to(currents.dtype)
        checked[name] = value
    return checked


def _broadcasts(shape: Sequence[int], whole: Sequence[int]) -> bool:
    """Return whether each axis, from the last, has the size of the whole's or 1."""
    return all(size in (1, full) for size, full in zip(reversed(shape), reversed(whole), strict=False))
