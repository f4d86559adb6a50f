"""The kinds of neuron, each a specification with its step: the table that every backend is compared with.

x is the current, primes are new values, ``s-`` the spike of the step before, H the step function with a surrogate
gradient. A kind is one class here; nothing else lists them.

============ ============ ===========================================================================================
kind         state        step, in order
============ ============ ===========================================================================================
``lif``      v            ``h = v + (x - (v - r))/tau`` or ``v - (v - r)/tau + x``; ``s = H(h - theta)``; reset
``if``       v            ``h = v + x``; ``s = H(h - theta)``; reset
``plif``     v            ``h = v + k (x - (v - r))`` or ``v - k (v - r) + x``; ``s = H(h - theta)``; reset
``adlif``    u, w, s-     ``w' = beta w + a u + b s-``; ``u' = alpha (u - theta s-) + (1 - alpha)(x - w')``;
                          ``s = H(u' - theta)``
``alif``     v, a, r, s-  ``a' = rho a + s-``; ``v' = alpha v + x - theta s-``;
                          ``s = H((v' - theta - beta a')/theta)`` where r = 0; ``r' = clip(r + n s - 1, 0, n)``
``cuba``     i, v         ``i' = alpha i + x``; ``h = beta v + g i'``; ``s = H(h - theta)``; reset. Or the spike first
``li``       v            ``v' = alpha v + g x + (1 - alpha) r``; no spike
``relu``                  ``max(0, x / theta)``; the control without spikes and without time
============ ============ ===========================================================================================

A hard reset sets the membrane to ``v_reset``, a soft one subtracts the threshold. All numbers are dimensionless, time
constants in steps. The fields that ``parameter_names`` lists are parameters too, which a call may give.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from neurozoo.core.equations import SURROGATES, Surrogate, Tie, above, charge, reset, spike
from neurozoo.core.neuron import NeuronSpec, Params, State
from neurozoo.errors import SpikingError

__all__ = [
    "KINDS",
    "ALIFSpec",
    "AdLIFSpec",
    "CubaSpec",
    "IFSpec",
    "LIFSpec",
    "LISpec",
    "MembraneSpec",
    "PLIFSpec",
    "ReLUSpec",
    "SpikingSpec",
]


@dataclass(frozen=True, kw_only=True)
class SpikingSpec(NeuronSpec):
    """Base class of the neurons that fire.

    Attributes:
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike, see ``neurozoo.core.equations``.
        alpha: Its steepness.
        tie: Whether a membrane exactly at the threshold ``fires`` or is ``silent``.
    """

    detach_reset: bool = False
    surrogate: Surrogate = "atan"
    alpha: float = 2.0
    tie: Tie = "fires"

    relative: ClassVar[bool] = False
    """Whether :meth:`fire` gets the distance in units of the threshold."""

    def __post_init__(self) -> None:
        if self.surrogate not in SURROGATES:
            raise SpikingError(f"no surrogate is called {self.surrogate!r}; there are: {', '.join(SURROGATES)}")

    def fire(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spikes at distance ``u`` above the threshold, and the spikes as the reset sees them.

        A step calls it exactly once, so that a comparison of backends can read how near each spike was.
        """
        s = spike(u, self.surrogate, self.alpha, self.tie)
        return s, s.detach() if self.detach_reset else s


@dataclass(frozen=True, kw_only=True)
class _ResettingSpec(SpikingSpec):
    """A neuron with a membrane that is reset in the step of its spike.

    Attributes:
        v_reset: Membrane after a spike and at rest (hard reset), or None for a soft reset, which subtracts the
            threshold and rests at 0.
    """

    v_reset: float | None = 0.0

    parameter_names: ClassVar[tuple[str, ...]] = ("v_reset",)

    def rest(self, params: Params) -> tuple[Tensor | float, ...]:
        return tuple(self.resting(params) if name == "membrane" else 0.0 for name in self.states)

    def resting(self, params: Params) -> Tensor | float:
        """Return the membrane without input."""
        return params.get("v_reset", 0.0)

    def emit(self, h: Tensor, threshold: Tensor | float, params: Params) -> tuple[Tensor, Tensor]:
        """Return the spikes of a charged membrane, and the membrane after the reset."""
        s, seen = self.fire(h - threshold)
        return s, reset(h, seen, threshold, params.get("v_reset"))


@dataclass(frozen=True, kw_only=True)
class MembraneSpec(_ResettingSpec):
    """A neuron whose only state is a membrane: charged, compared with the threshold and reset, in this order."""

    states = ("membrane",)

    @abstractmethod
    def charged(self, v: Tensor, current: Tensor, params: Params) -> Tensor:
        """Return the membrane before the reset, ``[B, ...]``, given the membrane after the last step's."""

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        s, v = self.emit(self.charged(state[0], current, params), threshold, params)
        return s, (v,)


@dataclass(frozen=True, kw_only=True)
class LIFSpec(MembraneSpec):
    """Leaky integrate-and-fire.

    Attributes:
        tau: Membrane time constant, larger than 1; infinite for no leak, which needs ``decay_input=False``.
        decay_input: Whether the input current is divided by ``tau`` as well.
    """

    tau: float = 2.0
    decay_input: bool = True

    kind = "lif"
    parameter_names = ("tau", "v_reset")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tau > 1.0:
            raise SpikingError(f"tau is {self.tau}; the membrane time constant must be larger than 1 step")
        if math.isinf(self.tau) and self.decay_input:
            raise SpikingError("tau is inf, and an input divided by it vanishes; set decay_input=False")

    def charged(self, v: Tensor, current: Tensor, params: Params) -> Tensor:
        return charge(v, current, params["tau"], self.decay_input, self.resting(params))


@dataclass(frozen=True, kw_only=True)
class IFSpec(MembraneSpec):
    """Integrate-and-fire: no leak, ``h = v + x``."""

    kind = "if"

    def charged(self, v: Tensor, current: Tensor, params: Params) -> Tensor:
        return v + current


@dataclass(frozen=True, kw_only=True)
class PLIFSpec(MembraneSpec):
    """LIF whose leak is a factor, to be learned (Fang et al. 2021, section 3.2: ``k = sigmoid(w)``).

    Attributes:
        leak: ``k = 1/tau``, between 0 and 1.
        decay_input: Whether the input current is multiplied by it as well.
    """

    leak: float = 0.5
    decay_input: bool = True

    kind = "plif"
    parameter_names = ("leak", "v_reset")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.leak <= 1.0:
            raise SpikingError(f"leak is {self.leak}; give a factor between 0 and 1")

    def charged(self, v: Tensor, current: Tensor, params: Params) -> Tensor:
        k, leaking = params["leak"], above(v, self.resting(params))
        return v + k * (current - leaking) if self.decay_input else v - k * leaking + current


@dataclass(frozen=True, kw_only=True)
class AdLIFSpec(SpikingSpec):
    """Adaptive LIF with a recovery current; its soft reset comes a step late, inside the leak.

    Source: Bittar & Garner 2022, equations 5 to 7. With ``coupling = jump = 0`` it is their LIF.

    Attributes:
        membrane_decay: ``alpha``.
        adaptation_decay: ``beta``.
        coupling: ``a``, from membrane to recovery current.
        jump: ``b``, from a spike to recovery current.
    """

    membrane_decay: float = 0.9
    adaptation_decay: float = 0.98
    coupling: float = 0.0
    jump: float = 1.0

    kind = "adlif"
    states = ("membrane", "recovery", "spike")
    parameter_names = ("membrane_decay", "adaptation_decay", "coupling", "jump")

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        u, w, fired = state
        before = fired.detach() if self.detach_reset else fired
        alpha = params["membrane_decay"]
        w = params["adaptation_decay"] * w + params["coupling"] * u + params["jump"] * fired
        u = alpha * (u - threshold * before) + (1 - alpha) * (current - w)
        s = self.fire(u - threshold)[0]
        return s, (u, w, s)


@dataclass(frozen=True, kw_only=True)
class ALIFSpec(SpikingSpec):
    """LIF with an adaptive threshold and a refractory period; its soft reset comes a step late.

    Source: Bellec et al. 2018, section 2; Bellec et al. 2020, equations 6 to 10.

    Attributes:
        membrane_decay: ``alpha``.
        adaptation_decay: ``rho``.
        adaptation: ``beta``, by which a unit of adaptation raises the threshold; 0 for a neuron without adaptation.
        refractory: Steps ``n`` that a spike's refractory counter begins with; 0 for none.
    """

    membrane_decay: float = 0.95
    adaptation_decay: float = 0.99
    adaptation: float = 0.1
    refractory: int = 0

    relative: ClassVar[bool] = True
    kind = "alif"
    states = ("membrane", "adaptation", "refractory", "spike")
    parameter_names = ("membrane_decay", "adaptation_decay", "adaptation")

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        v, a, r, fired = state
        before = fired.detach() if self.detach_reset else fired
        a = params["adaptation_decay"] * a + fired
        v = params["membrane_decay"] * v + current - threshold * before
        s = self.fire((v - (threshold + params["adaptation"] * a)) / threshold)[0]
        if self.refractory:
            # Zeros, not a mask: the surrogate of a refractory neuron is 0 as well.
            s = torch.where(r > 0, torch.zeros_like(s), s)
            r = (r + self.refractory * s.detach() - 1).clamp(0, self.refractory)
        return s, (v, a, r, s)


@dataclass(frozen=True, kw_only=True)
class CubaSpec(_ResettingSpec):
    """Current-based LIF: a synaptic current with its own decay drives the membrane.

    Attributes:
        synapse_decay: ``alpha`` of the current.
        membrane_decay: ``beta`` of the membrane.
        gain: ``g`` from current to membrane.
        order: ``charge-first``: the input reaches the membrane in its own step. ``fire-first``: the spike, and the
            current that charges the membrane, are those of the state before the step (Neftci et al. 2019, SpyTorch).
    """

    synapse_decay: float = 0.8
    membrane_decay: float = 0.9
    gain: float = 1.0
    order: Literal["charge-first", "fire-first"] = "charge-first"

    kind = "cuba"
    states = ("current", "membrane")
    parameter_names = ("synapse_decay", "membrane_decay", "gain", "v_reset")

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        i, v = state
        rest, beta = self.resting(params), params["membrane_decay"]
        offset = isinstance(rest, Tensor) or rest != 0.0
        after = params["synapse_decay"] * i + current
        driving = after if self.order == "charge-first" else i
        charged = (rest + beta * (v - rest) if offset else beta * v) + params["gain"] * driving
        if self.order == "charge-first":
            s, v = self.emit(charged, threshold, params)
        else:
            s, seen = self.fire(v - threshold)
            v = reset(charged, seen, threshold, params.get("v_reset"))
        return s, (after, v)


@dataclass(frozen=True, kw_only=True)
class LISpec(NeuronSpec):
    """Leaky integrator: a readout's membrane, which never fires. The threshold is not used.

    Attributes:
        decay: ``alpha``; 1 integrates without leak.
        gain: ``g``, from current to membrane.
        v_rest: ``r``, the membrane without input.
    """

    decay: float = 0.9
    gain: float = 1.0
    v_rest: float = 0.0

    kind = "li"
    states = ("membrane",)
    parameter_names = ("decay", "gain", "v_rest")
    spiking: ClassVar[bool] = False

    def rest(self, params: Params) -> tuple[Tensor | float, ...]:
        return (params["v_rest"],)

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        decay, rest = params["decay"], params["v_rest"]
        driven = current * params["gain"]
        if isinstance(rest, Tensor) or rest != 0.0:
            driven = driven + (1 - decay) * rest
        v = decay * state[0] + driven
        return v, (v,)


@dataclass(frozen=True, kw_only=True)
class ReLUSpec(NeuronSpec):
    """``max(0, x / theta)`` at every step: the control without spikes, with equal parameters."""

    kind = "relu"
    spiking: ClassVar[bool] = False

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        return torch.relu(current / threshold), ()


KINDS: Mapping[str, type[NeuronSpec]] = {
    spec.kind: spec for spec in (LIFSpec, IFSpec, PLIFSpec, AdLIFSpec, ALIFSpec, CubaSpec, LISpec, ReLUSpec)
}
"""Every kind by name."""
