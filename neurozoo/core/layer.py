"""The oracle, and the layer of neurons that every model is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State
from neurozoo.errors import SpikingError

__all__ = ["Firing", "Learned", "MakeNeuron", "SpikingLayer", "Synapse", "TorchNeuron", "neuron_for"]

MakeNeuron = Callable[[NeuronSpec], Neuron]
"""Makes the chosen backend's neuron for a specification."""


class TorchNeuron(Neuron):
    """Every kind of neuron in plain torch: the oracle that other backends are compared with."""

    kinds = tuple(KINDS)
    runs = "neurozoo.core.kinds: the step of each specification"

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        # A specification brings its own step, so that a kind from elsewhere runs here as well.
        return ""

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        return self.spec.step(current, state, threshold, self.spec.complete(params))


def neuron_for(make: MakeNeuron, spec: NeuronSpec) -> Neuron:
    """The backend's neuron for a specification; of one that does not fire and that it does not run, the oracle's.

    A readout and the control without spikes are elementary arithmetic, the same for all, so that a backend of LIF
    neurons runs models that have them. What fires is never replaced.

    Raises:
        SpikingError: The backend does not run this spiking neuron.
    """
    supports = getattr(make, "supports", None)
    if not spec.spiking and supports is not None and not supports(spec):
        return TorchNeuron(spec)
    return make(spec)


@dataclass(frozen=True)
class Learned:
    """A neuron parameter that is learned: where it starts, for whom, and how it is used.

    What is stored is raw; the map from stored to used is computed by the layer, so that every backend gets the same
    numbers.

    Attributes:
        initial: The stored value to start from, or a range ``(low, high)`` to draw it from uniformly.
        scope: One for the ``layer`` (0-d), or one per ``neuron``, of the shape given to the layer.
        map: ``identity``; ``sigmoid`` (Fang et al. 2021); ``clamp`` to ``bounds``, with gradient 0 outside (Bittar &
            Garner 2022); ``negative-exp``, ``-exp(w)``.
        bounds: Of ``clamp``.
    """

    initial: float | tuple[float, float]
    scope: Literal["layer", "neuron"] = "layer"
    map: Literal["identity", "sigmoid", "clamp", "negative-exp"] = "identity"
    bounds: tuple[float, float] = (0.0, 1.0)

    def start(self, shape: tuple[int, ...]) -> Tensor:
        """The stored tensor to begin with, drawn by torch's generator where it is a range."""
        stored = torch.empty(shape if self.scope == "neuron" else ())
        if isinstance(self.initial, tuple):
            return stored.uniform_(*self.initial)
        return stored.fill_(self.initial)

    def used(self, stored: Tensor) -> Tensor:
        """What the neuron gets of the stored tensor."""
        if self.map == "sigmoid":
            return torch.sigmoid(stored)
        if self.map == "clamp":
            return stored.clamp(*self.bounds)
        if self.map == "negative-exp":
            return -torch.exp(stored)
        return stored


@dataclass(frozen=True)
class Firing:
    """What went through a layer in one forward.

    Attributes:
        currents: What the synapse and the recurrent weights made, ``[T, B, ...]``, dimensionless.
        spikes: What the neurons put out, ``[T, B, ...]``: 0 or 1 of a spiking neuron, else a real number.
        threshold: A number, 0-d, or as many axes as the currents, each of their size or 1.
        valid: Which outputs count, ``[T or 1, B, ...]`` bool over leading axes of the outputs; None where all do.
        gain: Whether the threshold divided the currents, so that the neurons fired at 1.
    """

    currents: Tensor
    spikes: Tensor
    threshold: Tensor | float
    valid: Tensor | None = None
    gain: bool = False

    @property
    def driving(self) -> tuple[Tensor, Tensor | float]:
        """Currents and threshold as the neurons got them."""
        return (self.currents / self.threshold, 1.0) if self.gain else (self.currents, self.threshold)

    @property
    def mask(self) -> Tensor | None:
        """``valid`` with the outputs' T; None where everything counts."""
        return None if self.valid is None else self.valid.expand(len(self.spikes), *self.valid.shape[1:])

    def detached(self) -> Firing:
        """Return the same without the graph."""
        threshold = self.threshold.detach() if isinstance(self.threshold, Tensor) else self.threshold
        return replace(self, currents=self.currents.detach(), spikes=self.spikes.detach(), threshold=threshold)


class Synapse(nn.Module):
    """A synapse that has to know which rows are real, such as one with a normalisation over them.

    Any other module will do as a synapse; one of these gets the rows that count as well.
    """

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Currents ``[R, ...]`` of inputs ``[R, ...]``.

        Args:
            x: Rows, T and B merged.
            valid: ``[R]`` bool, the rows that count; None where all do.
        """
        raise NotImplementedError


class SpikingLayer(nn.Module):
    """A synapse and the neurons that it drives, over time, on any backend.

    ``x -> synapse -> [+ recurrent] -> neurons``. The synapse sees no time: it gets T and B merged. The neurons carry
    state from step to step; it starts at rest at each call of :meth:`forward`, and goes in and out of :meth:`run`.

    Args:
        neuron: The backend's neuron, with its specification.
        synapse: Makes currents of inputs, such as a linear or a convolution; None where currents come in.
        shape: Shape of one step's neurons ``[*shape]``, such as ``(N,)`` or ``(C, 1, 1)`` for one parameter a channel;
            needed for parameters per neuron.
        learned: Parameters to learn, by name of the specification's.
        params: Parameters that are fixed tensors, such as the time constants of a NIR graph. Not in the checkpoint.
        recurrent: Weights ``V [N, N]``: ``x_t = input_t + s_{t-1} V^T``, as a linear without bias applies them. None
            for none.
        self_connections: Whether the diagonal of ``V`` is used; if not, it is 0 and has no gradient.
        gain: Whether a threshold divides the current, and the neuron fires at 1. Without a reset offset and from rest
            both give the same spikes, with other surrogate gradients.

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
        learned: Mapping[str, Learned] | None = None,
        params: Mapping[str, Tensor] | None = None,
        recurrent: nn.Linear | None = None,
        self_connections: bool = True,
        gain: bool = False,
    ) -> None:
        super().__init__()
        self.neuron = neuron
        self.synapse = synapse
        self.recurrent = recurrent
        self.self_connections = self_connections
        self.gain = gain
        self.recorders: list[tuple[Any, str]] = []
        self.learned = dict(learned or {})
        neuron.spec.complete({**self.learned_names(), **(params or {})})
        self.stored = nn.ParameterDict({name: nn.Parameter(each.start(shape)) for name, each in self.learned.items()})
        self._fixed = tuple(params or {})
        for name, value in (params or {}).items():
            self.register_buffer(f"fixed_{name}", value, persistent=False)

    def learned_names(self) -> dict[str, float]:
        """The names of the learned parameters, as a check of names wants them."""
        return dict.fromkeys(self.learned, 0.0)

    @property
    def spec(self) -> NeuronSpec:
        """What neuron it is."""
        return self.neuron.spec

    def params(self) -> dict[str, Tensor]:
        """The parameters that are tensors, as the neuron uses them."""
        used = {name: each.used(self.stored[name]) for name, each in self.learned.items()}
        return used | {name: getattr(self, f"fixed_{name}") for name in self._fixed}

    def forward(
        self,
        x: Tensor,
        threshold: Tensor | float = 1.0,
        *,
        steps: int | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Outputs ``[T, B, ...]``, from rest.

        Args:
            x: Input ``[T, B, ...]``; or ``[B, ...]``, held for ``steps`` steps: the synapse then runs once.
            threshold: A float, 0-d, ``[B]`` for each sample, or as many axes as the currents, each their size or 1.
            steps: T, where the input is held.
            valid: Which outputs count: ``[T or 1, B, ...]`` over leading axes of the outputs. Recorders get it, and a
                :class:`Synapse` whose rows it covers; neurons run on at the others.

        Raises:
            SpikingError: A shape does not fit, see :class:`~neurozoo.core.neuron.Neuron`.
        """
        currents = self.currents(x, valid) if steps is None else self._held(x, steps)
        return self.fire(currents, threshold, valid=valid)

    def currents(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """What the synapse makes of inputs ``[T, B, ...]``."""
        if self.synapse is None:
            return x
        if isinstance(self.synapse, nn.Linear):
            made: Tensor = self.synapse(x)  # it takes any number of leading axes
            return made
        rows = x.flatten(0, 1)
        if isinstance(self.synapse, Synapse) and valid is not None and valid.dim() == 2:
            merged: Tensor = self.synapse(rows, valid.expand(x.shape[:2]).flatten())
        else:
            merged = self.synapse(rows)
        return merged.view(*x.shape[:2], *merged.shape[1:])

    def fire(self, currents: Tensor, threshold: Tensor | float = 1.0, *, valid: Tensor | None = None) -> Tensor:
        """Outputs ``[T, B, ...]`` of currents ``[T, B, ...]``, from rest; recorded."""
        spikes, _, driven = self._run(currents, None, threshold)
        return self.record(driven, spikes, threshold, valid)

    def record(
        self, currents: Tensor, spikes: Tensor, threshold: Tensor | float = 1.0, valid: Tensor | None = None
    ) -> Tensor:
        """Hand what went through the layer to its recorders; for who ran it step by step with :meth:`run`.

        Args:
            currents: Of all steps, ``[T, B, ...]``.
            spikes: What the neurons put out, ``[T, B, ...]``.
            threshold: As for a call.
            valid: As for a call.

        Returns:
            The outputs, which a recorder may have replaced.
        """
        for recorder, name in self.recorders:
            spikes = recorder.take(name, Firing(currents, spikes, by_sample(threshold, currents), valid, self.gain))
        return spikes

    def run(self, x: Tensor, state: State | None, threshold: Tensor | float = 1.0) -> tuple[Tensor, State]:
        """Go on where an earlier call stopped; not recorded.

        Args:
            x: As for a call; T may be 1.
            state: What the earlier call gave; None at rest.
            threshold: As for a call.

        Returns:
            The outputs ``[T, B, ...]``, and the state. With recurrent weights the last output is the state's last.
        """
        return self.go_on(self.currents(x), state, threshold)

    def go_on(self, currents: Tensor, state: State | None, threshold: Tensor | float = 1.0) -> tuple[Tensor, State]:
        """As :meth:`run`, of currents instead of inputs."""
        spikes, state, _ = self._run(currents, state, threshold)
        return spikes, state

    def _held(self, x: Tensor, steps: int) -> Tensor:
        """The same current at every step: the synapse runs once."""
        current = x if self.synapse is None else self.synapse(x)
        return current.expand(steps, *current.shape)

    def _run(self, currents: Tensor, state: State | None, threshold: Tensor | float) -> tuple[Tensor, State, Tensor]:
        """Outputs and state, and the currents with what recurrent weights added to them."""
        level = by_sample(threshold, currents)
        kind = currents.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            # Under mixed precision too the membrane is in float32: a spike hangs on its last bits.
            with torch.autocast(kind, enabled=False):
                level = level.float() if isinstance(level, Tensor) else level
                return self._scan(currents.float(), state, level)
        return self._scan(currents, state, level)

    def _scan(self, currents: Tensor, state: State | None, level: Tensor | float) -> tuple[Tensor, State, Tensor]:
        params = self.params() or None
        if self.recurrent is None:
            spikes, after = self._fire(currents, state, level, params)
            return spikes, after, currents
        weight = self.returning()
        if state is None:
            carried: State | None = None
            fired = torch.zeros_like(currents[0])
        else:
            carried, fired = state[:-1], state[-1]
        levels = level.unbind(0) if isinstance(level, Tensor) and level.dim() else None
        driven: list[Tensor] = []
        fires: list[Tensor] = []
        for t, current in enumerate(currents.unbind(0)):
            at = level if levels is None else levels[t if len(levels) > 1 else 0][None]
            whole = current + nn.functional.linear(fired, weight)
            out, carried = self._fire(whole[None], carried, at, params)
            fired = out[0]
            driven.append(whole)
            fires.append(fired)
        return torch.stack(fires), (*(carried or ()), fired), torch.stack(driven)

    def returned(self, spikes: Tensor) -> Tensor:
        """The currents that outputs ``[..., N]`` bring back to the layer; only with recurrent weights."""
        return nn.functional.linear(spikes, self.returning())

    def returning(self) -> Tensor:
        """The recurrent weights as they are used, ``[N, N]``; only with recurrent weights."""
        assert self.recurrent is not None
        weight = self.recurrent.weight
        if self.self_connections:
            return weight
        return weight * (1 - torch.eye(len(weight), dtype=weight.dtype, device=weight.device))

    def _fire(
        self, currents: Tensor, state: State | None, level: Tensor | float, params: Params | None
    ) -> tuple[Tensor, State]:
        if self.gain:
            return self.neuron.scan(currents / level, state, 1.0, params)
        return self.neuron.scan(currents, state, level, params)

    def extra_repr(self) -> str:
        return f"{type(self.neuron).__name__}, {self.spec}"


def by_sample(threshold: Tensor | float, currents: Tensor) -> Tensor | float:
    """A threshold for each sample ``[B]``, shaped to go with currents ``[T, B, ...]``; any other as it is.

    Raises:
        SpikingError: It has one axis, and not one entry a sample.
    """
    if not isinstance(threshold, Tensor) or threshold.dim() != 1 or currents.dim() == 1:
        return threshold
    if len(threshold) != currents.shape[1]:
        raise SpikingError(
            f"a threshold of shape {list(threshold.shape)} does not fit currents of shape {list(currents.shape)}; give "
            "one for each sample, [B]"
        )
    return threshold.reshape(1, -1, *[1] * (currents.dim() - 2))
