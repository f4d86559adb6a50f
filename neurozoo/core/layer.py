"""The layer of neurons that every model is made of, and the oracle that backends are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from neurozoo.core.kinds import KINDS
from neurozoo.core.layer_run import LayerRun
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State, without_diagonal
from neurozoo.core.saving import known_spikes
from neurozoo.errors import SpikingError

__all__ = [
    "Carry",
    "Counts",
    "Firing",
    "Learned",
    "MakeNeuron",
    "OneMinus",
    "SpikingLayer",
    "Synapse",
    "TorchNeuron",
    "neuron_for",
]

MakeNeuron = Callable[[NeuronSpec], Neuron]
"""Makes the chosen backend's neuron for a specification."""


class TorchNeuron(Neuron):
    """Runs every kind of neuron in plain torch."""

    kinds = tuple(KINDS)
    runs = "neurozoo.core.kinds: the step of each specification"

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        return ""  # a specification has its own step, so that a plugin's kind runs here as well

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        return self.spec.step(current, state, threshold, self.spec.complete(params))


def neuron_for(make: MakeNeuron, spec: NeuronSpec) -> Neuron:
    """Return the backend's neuron; the oracle's if the neuron does not fire and the backend does not run it.

    Readouts and the control without spikes are elementary arithmetic and equal for all, so a backend of LIF neurons
    runs models that contain them. A neuron that fires is never replaced.

    Raises:
        SpikingError: The backend does not run this spiking neuron.
    """
    supports = getattr(make, "supports", None)
    if not spec.spiking and supports is not None and not supports(spec):
        return TorchNeuron(spec)
    return make(spec)


@dataclass(frozen=True)
class Learned:
    """A neuron parameter that is learned.

    The layer stores it raw and computes the map from stored to used, so that every backend gets the same numbers.

    Attributes:
        initial: Initial stored value, or a range ``(low, high)`` to draw it from uniformly.
        scope: One per ``layer`` (0-d), or one per ``neuron``, of the shape given to the layer.
        map: ``identity``; ``sigmoid`` (Fang et al. 2021); ``clamp`` to ``bounds``, with gradient 0 outside (Bittar &
            Garner 2022); ``exp``; ``negative-exp``, ``-exp(w)``; ``one-plus-exp``, ``1 + exp(w)``: of a time constant
            it is the same as ``sigmoid`` of its inverse.
        bounds: Of ``clamp``.
    """

    initial: float | tuple[float, float]
    scope: Literal["layer", "neuron"] = "layer"
    map: Literal["identity", "sigmoid", "clamp", "exp", "negative-exp", "one-plus-exp"] = "identity"
    bounds: tuple[float, float] = (0.0, 1.0)

    def start(self, shape: tuple[int, ...]) -> Tensor:
        """Return the initial stored tensor; ranges are drawn by torch's generator."""
        stored = torch.empty(shape if self.scope == "neuron" else ())
        if isinstance(self.initial, tuple):
            return stored.uniform_(*self.initial)
        return stored.fill_(self.initial)

    def used(self, stored: Tensor) -> Tensor:
        """Map a stored tensor to the parameter that the neuron uses."""
        if self.map == "sigmoid":
            return torch.sigmoid(stored)
        if self.map == "clamp":
            return stored.clamp(*self.bounds)
        if self.map == "exp":
            return torch.exp(stored)
        if self.map == "negative-exp":
            return -torch.exp(stored)
        if self.map == "one-plus-exp":
            return 1 + torch.exp(stored)
        return stored

    def stored_of(self, used: Tensor) -> Tensor:
        """Return the stored tensor whose :meth:`used` value is given; not finite where there is none."""
        if self.map == "sigmoid":
            return torch.logit(used)
        if self.map == "exp":
            return torch.log(used)
        if self.map == "negative-exp":
            return torch.log(-used)
        if self.map == "one-plus-exp":
            return torch.log(used - 1)
        return used.clone()


@dataclass(frozen=True)
class OneMinus:
    """A neuron parameter that is one minus another of the layer; it has no weight of its own.

    A leaky integrator with the gain ``1 - decay`` keeps the size of a constant current (Bittar & Garner 2022).

    Attributes:
        of: Name of a parameter of the layer that is learned or a fixed tensor.
    """

    of: str


class Counts(NamedTuple):
    """What is left of the spikes of a forward that did not keep them.

    Attributes:
        spikes: Of each neuron in its sample's valid steps, ``[B, ...]``.
        followed: Those of them that a valid step follows, ``[B, ...]``; None without recurrent weights.
        steps: Valid steps of each sample, ``[B]`` int64.
    """

    spikes: Tensor
    followed: Tensor | None
    steps: Tensor


@dataclass(frozen=True)
class Firing:
    """One forward of a layer.

    Attributes:
        currents: Of the synapse and the recurrent weights, ``[T, B, ...]``, dimensionless.
        spikes: Outputs of the neurons, ``[T, B, ...]``: 0 or 1 of a spiking neuron, else a real number.
        threshold: A number, 0-d, or as many axes as the currents, each of their size or 1.
        valid: Which outputs count, ``[T or 1, B, ...]`` bool over leading axes of the outputs; None for all.
        gain: Whether the threshold divided the currents, and the neurons fired at 1.
        start: State before the first step; None at rest.
        counts: Of a forward in segments (:mod:`neurozoo.nn.carried`), whose currents and spikes are means over each
            sample's valid steps, ``[1, B, ...]``; else None.
    """

    currents: Tensor
    spikes: Tensor
    threshold: Tensor | float
    valid: Tensor | None = None
    gain: bool = False
    start: State | None = None
    counts: Counts | None = None

    @property
    def driving(self) -> tuple[Tensor, Tensor | float]:
        """Currents and threshold as passed to the neurons."""
        return (self.currents / self.threshold, 1.0) if self.gain else (self.currents, self.threshold)

    def detached(self) -> Firing:
        """Return the same without the graph."""
        threshold = self.threshold.detach() if isinstance(self.threshold, Tensor) else self.threshold
        return replace(self, currents=self.currents.detach(), spikes=self.spikes.detach(), threshold=threshold)


class Carry(Protocol):
    """Runs a layer over some steps of more, with the state of those before."""

    def run(
        self,
        layer: SpikingLayer,
        x: Tensor,
        threshold: Tensor | float,
        valid: Tensor | None,
        state: State | None,
    ) -> Tensor:
        """Return the outputs, as :meth:`SpikingLayer.forward`; ``state`` is that before the first of all steps."""


class Synapse(nn.Module):
    """A synapse that gets the valid rows too, for a normalisation over rows; any other module can be one as well."""

    over_time: ClassVar[bool] = False
    """Whether it gets ``[T, B, ...]`` and ``valid [T, B]`` instead of rows, and may change T, as delays do."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the currents ``[R, ...]`` of inputs ``[R, ...]``.

        Args:
            x: Rows, T and B merged.
            valid: ``[R]`` bool, the rows that count; None for all.
        """
        raise NotImplementedError

    def held(self, x: Tensor, steps: int) -> Tensor:
        """Return the currents ``[B, ...]`` of one step's inputs ``[B, ...]`` that all ``steps`` have.

        Running statistics count each row ``steps`` times, as in a call with repeated rows.
        """
        currents: Tensor = self(x)
        return currents

    def valid_after(self, valid: Tensor | None) -> Tensor | None:
        """Return the valid steps ``[T', B]`` of the currents, given those of the inputs; for one that changes T."""
        return valid

    def by_window(self) -> tuple[int, Callable[[Tensor], Tensor]] | None:
        """Return how currents follow from the last inputs, in evaluation, of one over time; for streams.

        Returns:
            The number of inputs M that a step's currents need, and a function that returns the currents ``[B, ...]`` of
            the last one of the inputs ``[M, B, ...]``. None if later inputs have a part in them.
        """
        return None

    def rescale(self, gain: Tensor) -> bool:
        """Multiply the current of each neuron by a gain ``[N]`` from here on; False if the synapse cannot."""
        return False


class SpikingLayer(nn.Module):
    """A synapse and the neurons that it drives, over time, on any backend.

    ``x -> synapse -> [+ recurrent] -> neurons``. The synapse gets T and B merged. The neurons carry state from step to
    step, which starts at rest in each call of :meth:`forward`, and is passed in and out by :meth:`run`.

    Args:
        neuron: The backend's neuron, with its specification.
        synapse: Maps inputs to currents, such as a linear or a convolution; None if the inputs are currents.
        shape: Shape of one step's neurons, such as ``(N,)``, or ``(C, 1, 1)`` for one parameter per channel; needed
            for parameters per neuron.
        learned: Parameters to learn, by their name in the specification, and those that follow from another one.
        params: Parameters that are fixed tensors, such as the time constants of a NIR graph.
        persistent: Whether fixed parameters are in the checkpoint.
        recurrent: Weights ``V [N, N]``, a linear without bias: ``x_t = input_t + s_{t-1} V^T``. None for none.
        self_connections: Whether the diagonal of ``V`` is used; if not, it is 0 and has no gradient.
        detach_recurrent: Whether the gradient stops at the outputs that return, as in e-prop (Bellec et al. 2020).
        gain: Whether a threshold divides the current, and the neuron fires at 1. With a hard reset to 0, and from
            rest, both give the same spikes, with other surrogate gradients.

    Example:
        >>> layer = SpikingLayer(TorchNeuron(LIFSpec(tau=2.0)), nn.Linear(40, 128))
        >>> spikes = layer(torch.rand(5, 8, 60, 40), threshold=0.5)  # [T, B, L, N]
    """

    def __init__(
        self,
        neuron: Neuron,
        synapse: nn.Module | None = None,
        *,
        shape: tuple[int, ...] = (),
        learned: Mapping[str, Learned | OneMinus] | None = None,
        params: Mapping[str, Tensor] | None = None,
        persistent: bool = False,
        recurrent: nn.Linear | None = None,
        self_connections: bool = True,
        detach_recurrent: bool = False,
        gain: bool = False,
    ) -> None:
        super().__init__()
        self.neuron = neuron
        self.synapse = synapse
        self.recurrent = recurrent
        self.self_connections, self.detach_recurrent = self_connections, detach_recurrent
        self.gain = gain
        self.recorders: list[tuple[Any, str]] = []
        self.runner: LayerRun | None = None
        """An engine's form of this layer, which predicts in its place; see :mod:`neurozoo.core.engine`."""
        self.carry: Carry | None = None
        """What runs this layer while a forward goes through its steps in segments."""
        self.learned = {name: each for name, each in (learned or {}).items() if isinstance(each, Learned)}
        self.tied = {name: each.of for name, each in (learned or {}).items() if isinstance(each, OneMinus)}
        neuron.spec.complete({**dict.fromkeys(learned or {}, 0.0), **(params or {})})  # checks the names
        if unknown := sorted(set(self.tied.values()) - {*self.learned, *(params or {})}):
            raise SpikingError(
                f"a parameter is one minus {', '.join(unknown)}, which is neither learned nor a fixed tensor of this "
                "layer; learn it, or give a number for both"
            )
        self.stored = nn.ParameterDict({name: nn.Parameter(each.start(shape)) for name, each in self.learned.items()})
        self._fixed = tuple(params or {})
        for name, value in (params or {}).items():
            self.register_buffer(f"fixed_{name}", value, persistent=persistent)

    @property
    def spec(self) -> NeuronSpec:
        """The neurons' specification."""
        return self.neuron.spec

    def params(self) -> dict[str, Tensor]:
        """Return the parameters that are tensors, as the neuron uses them."""
        used = {name: each.used(self.stored[name]) for name, each in self.learned.items()}
        used |= {name: getattr(self, f"fixed_{name}") for name in self._fixed}
        return used | {name: 1 - used[of] for name, of in self.tied.items()}

    @torch.no_grad()
    def project(self) -> None:
        """Move clamped parameters into their bounds, outside of which their gradient is 0."""
        for name, each in self.learned.items():
            if each.map == "clamp":
                self.stored[name].clamp_(*each.bounds)

    def forward(
        self,
        x: Tensor,
        threshold: Tensor | float = 1.0,
        *,
        steps: int | None = None,
        valid: Tensor | None = None,
        state: State | None = None,
    ) -> Tensor:
        """Return the outputs ``[T, B, ...]``.

        Args:
            x: Input ``[T, B, ...]``; or ``[B, ...]``, held for ``steps`` steps: the synapse then runs once.
            threshold: A float, 0-d, ``[B]`` for each sample, or as many axes as the currents, each their size or 1.
            steps: T, if the input is held.
            valid: Which outputs count: ``[T or 1, B, ...]`` over leading axes of the outputs. For recorders, and for a
                :class:`Synapse` whose rows it covers; neurons run at the others too.
            state: Initial state, as :meth:`run` returns it; rest by default.

        Raises:
            SpikingError: A shape does not fit, see :class:`~neurozoo.core.neuron.Neuron`.
        """
        if self.runner is not None and not (self.training or torch.is_grad_enabled() or torch.compiler.is_compiling()):
            return self._by_engine(
                self.runner, x if steps is None else x.expand(steps, *x.shape), threshold, valid, state
            )
        if self.carry is not None:
            return self.carry.run(self, x if steps is None else x.expand(steps, *x.shape), threshold, valid, state)
        held = None
        if steps is None and valid is None and isinstance(self.synapse, Synapse) and _repeats(x, self.synapse):
            held = self.synapse.held(x[0], len(x))
            currents = held.expand(len(x), *held.shape)
        elif steps is None:
            currents = self.currents(x, valid)
        elif isinstance(self.synapse, Synapse) and self.synapse.over_time:
            currents = self.currents(x.expand(steps, *x.shape), valid)
        else:
            held = x if self.synapse is None else self.synapse(x)
            currents = held.expand(steps, *held.shape)
        spikes, _, driven = self._run(currents, state, threshold, held)
        if self.spec.spiking:
            known_spikes(spikes)
        if isinstance(self.synapse, Synapse):
            valid = self.synapse.valid_after(valid)
        return self.record(driven, spikes, threshold, valid, state)

    def _by_engine(
        self, runner: LayerRun, x: Tensor, threshold: Tensor | float, valid: Tensor | None, state: State | None
    ) -> Tensor:
        ran = runner.run(x, state, threshold, valid=valid, driven=bool(self.recorders))
        if isinstance(self.synapse, Synapse):
            valid = self.synapse.valid_after(valid)
        return ran.outputs if ran.driven is None else self.record(ran.driven, ran.outputs, threshold, valid, state)

    def currents(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the synapse's currents of inputs ``[T, B, ...]``."""
        if self.synapse is None:
            return x
        if isinstance(self.synapse, nn.Linear):
            if x.dim() == 3 and not x.is_contiguous() and x.transpose(0, 1).is_contiguous():
                swapped: Tensor = self.synapse(x.transpose(0, 1))  # without a copy of the inputs
                return swapped.transpose(0, 1)
            made: Tensor = self.synapse(x)  # it takes any number of leading axes
            return made
        if isinstance(self.synapse, Synapse) and self.synapse.over_time:
            currents: Tensor = self.synapse(x, valid)
            return currents
        rows = x.flatten(0, 1)
        if isinstance(self.synapse, Synapse) and valid is not None and valid.dim() == 2:
            merged: Tensor = self.synapse(rows, valid.expand(x.shape[:2]).flatten())
        else:
            merged = self.synapse(rows)
        return merged.view(*x.shape[:2], *merged.shape[1:])

    def record(
        self,
        currents: Tensor,
        spikes: Tensor,
        threshold: Tensor | float = 1.0,
        valid: Tensor | None = None,
        start: State | None = None,
        counts: Counts | None = None,
    ) -> Tensor:
        """Pass a forward to the recorders; call it after running the layer step by step with :meth:`run`.

        Args:
            currents: Of all steps, ``[T, B, ...]``.
            spikes: Outputs of the neurons, ``[T, B, ...]``.
            threshold: As for :meth:`forward`.
            valid: As for :meth:`forward`.
            start: State before the first step; None at rest.
            counts: If the currents and spikes are means over steps, see :class:`Firing`.

        Returns:
            The outputs, which a recorder may have replaced.
        """
        for recorder, name in self.recorders:
            level = by_sample(threshold, currents)
            spikes = recorder.take(name, Firing(currents, spikes, level, valid, self.gain, start, counts))
        return spikes

    def run(self, currents: Tensor, state: State | None, threshold: Tensor | float = 1.0) -> tuple[Tensor, State]:
        """Run some steps of the neurons, from a given state; not recorded.

        Args:
            currents: ``[T, B, ...]``, see :meth:`currents`.
            state: Result of an earlier call; None at rest.
            threshold: As for :meth:`forward`.

        Returns:
            The outputs ``[T, B, ...]`` and the state, which with recurrent weights ends with the last output.
        """
        spikes, state, _ = self._run(currents, state, threshold)
        return spikes, state

    def _run(
        self, currents: Tensor, state: State | None, threshold: Tensor | float, held: Tensor | None = None
    ) -> tuple[Tensor, State, Tensor]:
        """Return outputs, state and all currents; ``held`` is the current of every step, if it is one."""
        level = by_sample(threshold, currents)
        kind = currents.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            # Membranes stay in float32 under mixed precision, since spikes depend on their last bits.
            with torch.autocast(kind, enabled=False):
                level = level.float() if isinstance(level, Tensor) else level
                held = None if held is None else held.float()
                return self._scan(currents.float(), state, level, held)
        return self._scan(currents, state, level, held)

    def _scan(
        self, currents: Tensor, state: State | None, level: Tensor | float, held: Tensor | None
    ) -> tuple[Tensor, State, Tensor]:
        params = self.params() or None
        if self.recurrent is None:
            if held is not None and not self.gain:
                spikes, after = self.neuron.hold(held, len(currents), state, level, params)
                return spikes, after, currents
            spikes, after = self._fire(currents, state, level, params)
            return spikes, after, currents
        made = self.neuron.recur(
            currents, self.recurrent.weight, state, level, params, detach=self.detach_recurrent, gain=self.gain,
            self_connections=self.self_connections, driven=bool(self.recorders),
        )  # fmt: skip
        return made.outputs, made.state, currents if made.driven is None else made.driven

    def returned(self, spikes: Tensor) -> Tensor:
        """Return the recurrent currents of outputs ``[..., N]``; only with recurrent weights."""
        return nn.functional.linear(spikes, self.returning())

    def returning(self) -> Tensor:
        """Return the recurrent weights as used, ``[N, N]``; only with recurrent weights."""
        assert self.recurrent is not None
        weight = self.recurrent.weight
        return weight if self.self_connections else without_diagonal(weight)

    def _fire(
        self, currents: Tensor, state: State | None, level: Tensor | float, params: Params | None
    ) -> tuple[Tensor, State]:
        if self.gain:
            return self.neuron.scan(currents / level, state, 1.0, params)
        return self.neuron.scan(currents, state, level, params)

    def extra_repr(self) -> str:
        return f"{type(self.neuron).__name__}, {self.spec}"


def _repeats(x: Tensor, synapse: Synapse) -> bool:
    """Whether all steps of ``[T, B, ...]`` are the same memory, such as those of a picture, for a synapse of rows.

    Not those of one sample, whose numbers can be too few for a norm.
    """
    return not synapse.over_time and len(x) > 1 and x.stride(0) == 0 and x.shape[1] > 1


def by_sample(threshold: Tensor | float, currents: Tensor) -> Tensor | float:
    """Reshape a threshold ``[B]`` to broadcast against currents ``[T, B, ...]``; return any other unchanged.

    Raises:
        SpikingError: It has one axis, and not one entry per sample.
    """
    if not isinstance(threshold, Tensor) or threshold.dim() != 1 or currents.dim() == 1:
        return threshold
    if threshold.shape[0] != currents.shape[1]:  # not len, which is no symbol while a program is exported
        raise SpikingError(
            f"a threshold of shape {list(threshold.shape)} does not fit currents of shape {list(currents.shape)}; give "
            "one for each sample, [B]"
        )
    return threshold.reshape(1, -1, *[1] * (currents.dim() - 2))
