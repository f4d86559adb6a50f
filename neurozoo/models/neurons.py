"""Neurons as modules for any network, on any backend: ``nz.LIF(tau=2.0, backend="norse")``.

Each kind of :mod:`neurozoo.core.kinds` is a :class:`~neurozoo.core.layer.SpikingLayer` whose parameters are arguments:
a number, a tensor with one value a neuron, or learned. The names are those of the specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from neurozoo.core.equations import Surrogate, Tie
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec
from neurozoo.core.layer import Learned, SpikingLayer
from neurozoo.core.neuron import NeuronSpec, State
from neurozoo.errors import SpikingError, suggestion
from neurozoo.models.backends import neuron_on
from neurozoo.nn.each_step import check_currents, check_rows

__all__ = ["ALIF", "CUBA", "IF", "LI", "LIF", "PLIF", "AdLIF", "LayerOptions", "Neurons", "SpikingOptions"]

Value = float | Tensor
"""A parameter: a number, or a tensor that broadcasts against one step's neurons, such as one value a neuron."""
_Map = Literal["identity", "sigmoid", "exp", "one-plus-exp"]
_MAPS: Mapping[str, _Map] = {"tau": "one-plus-exp", "threshold": "exp", "leak": "sigmoid"}
"""Maps that keep a learned parameter in its range, whatever the optimiser does; that of a decay is ``sigmoid``."""


class LayerOptions(TypedDict, total=False):
    """Options of every layer.

    Attributes:
        learn: Names of the parameters to learn, such as ``"tau"`` or ``("tau", "threshold")``.
        shape: Shape of one step's neurons, such as ``128``, or ``(8, 1, 1)`` for a value a channel. With it, parameters
            that are learned have one value a neuron, and the currents are checked; without it one value a layer.
        recurrent: A linear without bias by which the outputs return a step later, ``[N, N]``.
        backend: Name of the backend.
    """

    learn: str | Sequence[str]
    shape: int | Sequence[int]
    recurrent: nn.Linear | None
    backend: str


class SpikingOptions(LayerOptions, total=False):
    """Options of every layer that fires, see also :class:`LayerOptions`.

    Attributes:
        threshold: Firing threshold, dimensionless; 1 by default.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold ``fires`` or is ``silent``.
    """

    threshold: Value
    detach_reset: bool
    surrogate: Surrogate
    alpha: float
    tie: Tie


class Neurons(SpikingLayer):
    """Neurons of any specification as a module, which takes currents ``[T, B, ...]`` and returns spikes of that shape.

    State begins at rest in each call. With a synapse, such as a linear or a convolution, inputs pass it first, with
    T and B merged. Learned parameters stay in their range by a map: ``tau = 1 + exp(w)``, decays and leaks are
    ``sigmoid(w)``, a threshold is ``exp(w)``; others are learned as they are.

    Args:
        spec: The specification; its numbers are those that are not in ``values``.
        synapse: Maps inputs to currents; None if the inputs are currents.
        values: Parameters that are tensors, by name; they are in the checkpoint.
        threshold: Firing threshold, dimensionless.
        learn: See :class:`LayerOptions`, like the next three.
        shape: Of one step's neurons.
        recurrent: Recurrent weights.
        backend: Name of the backend.

    Raises:
        SpikingError: A parameter is unknown or out of range, or the backend does not run these neurons.
        UnknownNameError: There is no such backend.
    """

    def __init__(
        self,
        spec: NeuronSpec,
        synapse: nn.Module | None = None,
        *,
        values: Mapping[str, Tensor] | None = None,
        threshold: Value = 1.0,
        learn: str | Sequence[str] = (),
        shape: int | Sequence[int] = (),
        recurrent: nn.Linear | None = None,
        backend: str = "torch",
    ) -> None:
        if synapse is not None and not isinstance(synapse, nn.Module):
            raise SpikingError(
                f"the synapse is a {type(synapse).__name__}; give a module, and parameters by name, such as tau=2.0"
            )
        whole = (shape,) if isinstance(shape, int) else tuple(shape)
        names = (learn,) if isinstance(learn, str) else tuple(learn)
        given: dict[str, Value] = {**spec.parameters, **(values or {})}
        if spec.spiking:
            given["threshold"] = threshold
        for name in names:
            if name not in given:
                raise SpikingError(
                    f"{spec.kind} neurons have no parameter {name!r} to learn; they have: {', '.join(given)}"
                    + suggestion(name, given)
                )
        start = {
            name: _start(name, torch.as_tensor(value), whole, name in names)
            for name, value in given.items()
            if name in names or isinstance(value, Tensor)
        }
        learned = {name: Learned(0.0, map=_map_of(name)) for name in names if name != "threshold"}
        fixed = {name: value for name, value in start.items() if name not in (*names, "threshold")}
        super().__init__(
            neuron_on(backend, spec), synapse, learned=learned, params=fixed, persistent=True, recurrent=recurrent
        )
        self.shape, self._said = whole, False
        for name in names:
            stored = Learned(0.0, map=_map_of(name)).stored_of(start[name])
            if not bool(stored.isfinite().all()):
                raise SpikingError(
                    f"{name} begins at {start[name].flatten()[0]:g}, outside of the range in which it is learned; give "
                    "a value inside, such as a decay between 0 and 1"
                )
            self.stored[name] = nn.Parameter(stored)
        self._level = 1.0 if isinstance(threshold, Tensor) else threshold
        if "threshold" in start and "threshold" not in names:
            self.register_buffer("fixed_threshold", start["threshold"])

    def level(self) -> Tensor | float:
        """Return the firing threshold as it is used: a number, or a tensor that broadcasts against one step."""
        if "threshold" in self.stored:
            return torch.exp(self.stored["threshold"])
        fixed: Tensor | None = getattr(self, "fixed_threshold", None)
        return self._level if fixed is None else fixed

    def forward(
        self,
        x: Tensor,
        threshold: Tensor | float | None = None,
        *,
        steps: int | None = None,
        valid: Tensor | None = None,
        state: State | None = None,
    ) -> Tensor:
        """Return the outputs ``[T, B, ...]``.

        Args:
            x: Input ``[T, B, ...]``; or ``[B, ...]``, held for ``steps`` steps.
            threshold: Another one than the layer's, see :class:`~neurozoo.core.layer.SpikingLayer`.
            steps: T, if the input is held.
            valid: See :class:`~neurozoo.core.layer.SpikingLayer`.
            state: Initial state; rest by default.

        Raises:
            SpikingError: The input has no axis of steps, or a shape does not fit.
        """
        if self.synapse is not None:
            check_rows(self.synapse, x.shape, held=steps is not None)
        elif not self._said:
            self._said = check_currents(x, self.shape, held=steps is not None)
        level = self.level() if threshold is None else threshold
        if threshold is None and isinstance(level, Tensor) and level.dim():
            axes = x.dim() + (steps is not None)
            level = level.reshape(*[1] * (axes - level.dim()), *level.shape)
        return super().forward(x, level, steps=steps, valid=valid, state=state)

    def extra_repr(self) -> str:
        learned = f", learns {', '.join(self.stored)}" if len(self.stored) else ""
        return f"{super().extra_repr()}{learned}"


class LIF(Neurons):
    """Leaky integrate-and-fire: ``h = v + (x - (v - r))/tau``, a spike where ``h >= threshold``, then the reset.

    Args:
        synapse: Maps inputs to currents; None if the inputs are currents ``[T, B, ...]``.
        tau: Membrane time constant, in steps, larger than 1.
        v_reset: Membrane after a spike and at rest; None for a soft reset, which subtracts the threshold.
        decay_input: Whether the current is divided by ``tau`` as well.
        options: See :class:`SpikingOptions`.

    Example:
        >>> net = nn.Sequential(nn.Linear(40, 128), nz.LIF(tau=2.0, backend="norse"), nn.Linear(128, 10), nz.LI())
        >>> net(torch.rand(25, 16, 40)).shape  # [T, B, D]
        torch.Size([25, 16, 10])
    """

    def __init__(
        self, synapse: nn.Module | None = None, *, tau: Value = 2.0, v_reset: Value | None = 0.0,
        decay_input: bool = True, **options: Unpack[SpikingOptions],
    ) -> None:  # fmt: skip
        spec, tensors, kept = _described(
            LIFSpec, {"tau": tau, "v_reset": v_reset}, {"decay_input": decay_input}, options
        )
        super().__init__(spec, synapse, values=tensors, **kept)


class IF(Neurons):
    """Integrate-and-fire without leak: ``h = v + x``.

    Args:
        synapse: As of :class:`LIF`.
        v_reset: As of :class:`LIF`.
        options: See :class:`SpikingOptions`.
    """

    def __init__(
        self, synapse: nn.Module | None = None, *, v_reset: Value | None = 0.0, **options: Unpack[SpikingOptions]
    ) -> None:
        spec, tensors, kept = _described(IFSpec, {"v_reset": v_reset}, {}, options)
        super().__init__(spec, synapse, values=tensors, **kept)


class PLIF(Neurons):
    """LIF whose leak is learned, ``h = v + k (x - (v - r))`` with ``k = sigmoid(w)`` (Fang et al. 2021).

    Args:
        synapse: As of :class:`LIF`.
        leak: Initial ``k``, between 0 and 1: one over the time constant in steps. It is learned unless ``learn`` is
            given without it.
        v_reset: As of :class:`LIF`.
        decay_input: Whether the current is multiplied by ``k`` as well.
        options: See :class:`SpikingOptions`.
    """

    def __init__(
        self, synapse: nn.Module | None = None, *, leak: Value = 0.5, v_reset: Value | None = 0.0,
        decay_input: bool = True, **options: Unpack[SpikingOptions],
    ) -> None:  # fmt: skip
        options.setdefault("learn", "leak")
        spec, tensors, kept = _described(
            PLIFSpec, {"leak": leak, "v_reset": v_reset}, {"decay_input": decay_input}, options
        )
        super().__init__(spec, synapse, values=tensors, **kept)


class AdLIF(Neurons):
    """Adaptive LIF with a recovery current (Bittar & Garner 2022, equations 5 to 7).

    Args:
        synapse: As of :class:`LIF`.
        membrane_decay: Per step, between 0 and 1.
        adaptation_decay: Of the recovery current, per step, between 0 and 1.
        coupling: From membrane to recovery current, dimensionless.
        jump: Of the recovery current at a spike, dimensionless.
        options: See :class:`SpikingOptions`.
    """

    def __init__(
        self, synapse: nn.Module | None = None, *, membrane_decay: Value = 0.9, adaptation_decay: Value = 0.98,
        coupling: Value = 0.0, jump: Value = 1.0, **options: Unpack[SpikingOptions],
    ) -> None:  # fmt: skip
        values: dict[str, Value | None] = {"membrane_decay": membrane_decay, "adaptation_decay": adaptation_decay}
        spec, tensors, kept = _described(AdLIFSpec, values | {"coupling": coupling, "jump": jump}, {}, options)
        super().__init__(spec, synapse, values=tensors, **kept)


class ALIF(Neurons):
    """LIF with an adaptive threshold and a refractory period (Bellec et al. 2018, section 2).

    Args:
        synapse: As of :class:`LIF`.
        membrane_decay: Per step, between 0 and 1.
        adaptation_decay: Per step, between 0 and 1.
        adaptation: Increase of the threshold per unit of adaptation, dimensionless.
        refractory: Steps after a spike in which the neuron cannot fire.
        options: See :class:`SpikingOptions`.
    """

    def __init__(
        self, synapse: nn.Module | None = None, *, membrane_decay: Value = 0.95, adaptation_decay: Value = 0.99,
        adaptation: Value = 0.1, refractory: int = 0, **options: Unpack[SpikingOptions],
    ) -> None:  # fmt: skip
        values: dict[str, Value | None] = {"membrane_decay": membrane_decay, "adaptation_decay": adaptation_decay}
        spec, tensors, kept = _described(
            ALIFSpec, values | {"adaptation": adaptation}, {"refractory": refractory}, options
        )
        super().__init__(spec, synapse, values=tensors, **kept)


class CUBA(Neurons):
    """Current-based LIF: a synaptic current with its own decay drives the membrane.

    Args:
        synapse: As of :class:`LIF`.
        synapse_decay: Of the current, per step, between 0 and 1.
        membrane_decay: Per step, between 0 and 1.
        gain: From current to membrane, dimensionless.
        v_reset: As of :class:`LIF`.
        order: ``charge-first``, or ``fire-first`` (Neftci et al. 2019), see :mod:`neurozoo.core.kinds`.
        options: See :class:`SpikingOptions`.
    """

    def __init__(
        self, synapse: nn.Module | None = None, *, synapse_decay: Value = 0.8, membrane_decay: Value = 0.9,
        gain: Value = 1.0, v_reset: Value | None = 0.0,
        order: Literal["charge-first", "fire-first"] = "charge-first", **options: Unpack[SpikingOptions],
    ) -> None:  # fmt: skip
        values: dict[str, Value | None] = {"synapse_decay": synapse_decay, "membrane_decay": membrane_decay}
        spec, tensors, kept = _described(
            CubaSpec, values | {"gain": gain, "v_reset": v_reset}, {"order": order}, options
        )
        super().__init__(spec, synapse, values=tensors, **kept)


class LI(Neurons):
    """Leaky integrator, ``v' = decay v + gain x``: a readout's membrane ``[T, B, ...]``, which never fires.

    Args:
        synapse: As of :class:`LIF`.
        decay: Per step; 1 integrates without leak.
        gain: From current to membrane, dimensionless.
        v_rest: Membrane without input.
        options: See :class:`LayerOptions`.
    """

    def __init__(
        self, synapse: nn.Module | None = None, *, decay: Value = 0.9, gain: Value = 1.0, v_rest: Value = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:  # fmt: skip
        spec, tensors, kept = _described(LISpec, {"decay": decay, "gain": gain, "v_rest": v_rest}, {}, options)
        super().__init__(spec, synapse, values=tensors, **kept)


class _Kept(LayerOptions, total=False):
    """The options that are no field of a specification."""

    threshold: Value


def _described(
    kind: type[NeuronSpec], values: Mapping[str, Value | None], choices: Mapping[str, Any], options: LayerOptions
) -> tuple[NeuronSpec, dict[str, Tensor], _Kept]:
    """Return the specification of a layer's numbers and choices, its tensors, and its other options."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        if not value.is_floating_point() or not value.numel() or not bool(value.isfinite().all()):
            raise SpikingError(f"{name} is a tensor {list(value.shape)} of {value.dtype}; give finite real numbers")
    known = _Kept.__annotations__
    fields: dict[str, Any] = {**values, **choices}
    fields |= {name: value for name, value in options.items() if name not in known}
    if unknown := sorted(fields.keys() - kind.__dataclass_fields__.keys()):
        raise SpikingError(
            f"{kind.kind} neurons have no option {', '.join(unknown)}; they have: "
            f"{', '.join([*kind.__dataclass_fields__, *known])}{suggestion(unknown[0], [*fields, *known])}"
        )
    # The ends of a tensor's values are checked as a number is; their mean is what the specification shows.
    for end in (torch.amin, torch.amax, torch.mean):
        spec = kind(**fields | {name: float(end(value)) for name, value in tensors.items()})
    kept: Any = {name: value for name, value in options.items() if name in known}
    return spec, tensors, kept


def _map_of(name: str) -> _Map:
    return "sigmoid" if name.endswith("decay") else _MAPS.get(name, "identity")


def _start(name: str, value: Tensor, shape: tuple[int, ...], learned: bool) -> Tensor:
    """Return a parameter's own tensor, one value a neuron if it is learned and the layer states its shape."""
    fits = all(size in (1, full) for size, full in zip(reversed(value.shape), reversed(shape), strict=False))
    if shape and (value.dim() > len(shape) or not fits):
        raise SpikingError(
            f"{name} is a tensor {list(value.shape)}, and the layer's neurons are {list(shape)}; give a tensor that "
            "broadcasts against them"
        )
    own = value.detach().to(torch.get_default_dtype())
    return (own.expand(shape) if learned and shape else own).clone()
