"""Neurons that a recipe can choose for a model's layers, with their learned parameters."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from neurozoo.core.equations import Surrogate, Tie
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, PLIFSpec, ReLUSpec
from neurozoo.core.layer import Learned
from neurozoo.core.model import NeuronChoice

__all__ = ["ALIF", "IF", "LIF", "PLIF", "AdLIF", "Cuba", "ReLU"]

Steepness = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, le=1)]
Scope = Literal["layer", "neuron"]


class LIF(NeuronChoice):
    """Leaky integrate-and-fire neurons.

    Args:
        tau: Membrane time constant, in steps.
        decay_input: Whether the current is divided by ``tau``.
        v_reset: Membrane after a spike; null for a soft reset.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.
        apply: ``threshold`` compares the membrane with the threshold; ``gain`` divides the current by it and fires at
            1. From rest, and with ``v_reset`` 0 or null, both give the same spikes, with other surrogate gradients.
    """

    def __init__(
        self,
        *,
        tau: Annotated[float, Field(gt=1)] = 2.0,
        decay_input: bool = True,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        surrogate: Surrogate = "atan",
        alpha: Steepness = 2.0,
        tie: Tie = "fires",
        apply: Literal["threshold", "gain"] = "threshold",
    ) -> None:
        spec = LIFSpec(
            tau=tau,
            decay_input=decay_input,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            alpha=alpha,
            tie=tie,
        )
        super().__init__(spec, gain=apply == "gain")


class IF(NeuronChoice):
    """Integrate-and-fire neurons without leak.

    Args:
        v_reset: Membrane after a spike; null for a soft reset.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.
    """

    def __init__(
        self,
        *,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        surrogate: Surrogate = "atan",
        alpha: Steepness = 2.0,
        tie: Tie = "fires",
    ) -> None:
        super().__init__(IFSpec(v_reset=v_reset, detach_reset=detach_reset, surrogate=surrogate, alpha=alpha, tie=tie))


class PLIF(NeuronChoice):
    """LIF neurons whose time constant is learned: ``1/tau = sigmoid(w)`` (Fang et al. 2021, section 3.2).

    Args:
        tau: Initial time constant, in steps.
        scope: Learns one per ``layer`` or one per ``neuron``.
        decay_input: Whether the current is divided by the time constant.
        v_reset: Membrane after a spike; null for a soft reset.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.
    """

    def __init__(
        self,
        *,
        tau: Annotated[float, Field(gt=1)] = 2.0,
        scope: Scope = "layer",
        decay_input: bool = True,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        surrogate: Surrogate = "atan",
        alpha: Steepness = 2.0,
        tie: Tie = "fires",
    ) -> None:
        spec = PLIFSpec(
            leak=1 / tau,
            decay_input=decay_input,
            v_reset=v_reset,
            detach_reset=detach_reset,
            surrogate=surrogate,
            alpha=alpha,
            tie=tie,
        )
        super().__init__(spec, {"leak": Learned(-math.log(tau - 1), scope, "sigmoid")})


class AdLIF(NeuronChoice):
    """Adaptive LIF neurons with four learned parameters per neuron, clamped to their ranges (Bittar & Garner 2022).

    Args:
        tau: Range of the membrane's time constant, in steps.
        tau_adaptation: Range of the recovery current's time constant, in steps.
        coupling: Range of the coupling from membrane to recovery current, dimensionless.
        jump: Range of the recovery current's increase per spike, dimensionless.
        learned: Whether the parameters are learned, each drawn from its range; if not, each is the middle of its range.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.
    """

    def __init__(
        self,
        *,
        tau: tuple[float, float] = (5.0, 25.0),
        tau_adaptation: tuple[float, float] = (30.0, 120.0),
        coupling: tuple[float, float] = (-1.0, 1.0),
        jump: tuple[float, float] = (0.0, 2.0),
        learned: bool = True,
        detach_reset: bool = False,
        surrogate: Surrogate = "box",
        alpha: Steepness = 1.0,
        tie: Tie = "fires",
    ) -> None:
        ranges = {
            "membrane_decay": _decays(tau),
            "adaptation_decay": _decays(tau_adaptation),
            "coupling": (coupling[0], coupling[1]),  # a recipe gives lists
            "jump": (jump[0], jump[1]),
        }
        ranges = {name: (low, high) for name, (low, high) in ranges.items()}  # a recipe gives lists
        middle = {name: sum(ends) / 2 for name, ends in ranges.items()}
        spec = AdLIFSpec(**middle, detach_reset=detach_reset, surrogate=surrogate, alpha=alpha, tie=tie)
        learned_parameters = {name: Learned(ends, "neuron", "clamp", ends) for name, ends in ranges.items()}
        super().__init__(spec, learned_parameters if learned else {})


class ALIF(NeuronChoice):
    """LIF neurons with an adaptive threshold and a refractory period (Bellec et al. 2018).

    Args:
        tau: Membrane time constant, in steps.
        tau_adaptation: Time constant of the adaptation, in steps.
        adaptation: Increase of the threshold per unit of adaptation, dimensionless.
        refractory: Steps after a spike in which the neuron cannot fire.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.
    """

    def __init__(
        self,
        *,
        tau: Annotated[float, Field(gt=0)] = 20.0,
        tau_adaptation: Annotated[float, Field(gt=0)] = 200.0,
        adaptation: Annotated[float, Field(ge=0)] = 0.1,
        refractory: Annotated[int, Field(ge=0)] = 0,
        detach_reset: bool = False,
        surrogate: Surrogate = "triangle",
        alpha: Steepness = 0.3,
        tie: Tie = "fires",
    ) -> None:
        super().__init__(
            ALIFSpec(
                membrane_decay=math.exp(-1 / tau),
                adaptation_decay=math.exp(-1 / tau_adaptation),
                adaptation=adaptation,
                refractory=refractory,
                detach_reset=detach_reset,
                surrogate=surrogate,
                alpha=alpha,
                tie=tie,
            )
        )


class Cuba(NeuronChoice):
    """Current-based LIF neurons: a synaptic current with its own decay drives the membrane.

    Args:
        tau_synapse: Time constant of the current, in steps.
        tau: Time constant of the membrane, in steps.
        gain: From current to membrane; null for one minus the membrane's decay, so that a constant current equals
            the membrane's steady state.
        order: ``charge-first``, or ``fire-first`` (Neftci et al. 2019), see ``neurozoo.core.kinds``.
        v_reset: Membrane after a spike; null for a soft reset.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.
    """

    def __init__(
        self,
        *,
        tau_synapse: Annotated[float, Field(gt=0)] = 5.0,
        tau: Annotated[float, Field(gt=0)] = 10.0,
        gain: float | None = None,
        order: Literal["charge-first", "fire-first"] = "charge-first",
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        surrogate: Surrogate = "superspike",
        alpha: Steepness = 10.0,
        tie: Tie = "fires",
    ) -> None:
        decay = math.exp(-1 / tau)
        super().__init__(
            CubaSpec(
                synapse_decay=math.exp(-1 / tau_synapse),
                membrane_decay=decay,
                gain=1 - decay if gain is None else gain,
                order=order,
                v_reset=v_reset,
                detach_reset=detach_reset,
                surrogate=surrogate,
                alpha=alpha,
                tie=tie,
            )
        )


class ReLU(NeuronChoice):
    """``max(0, current / threshold)`` at every step: the control without spikes, with equal parameters."""

    def __init__(self) -> None:
        super().__init__(ReLUSpec())


def _decays(constants: tuple[float, float]) -> tuple[float, float]:
    """Convert a range of time constants in steps to the decays per step."""
    low, high = constants
    return math.exp(-1 / low), math.exp(-1 / high)
