"""Neurons that a recipe can choose for a model's layers, with their learned parameters.

The fields of a choice are its parameters in a recipe. Those that have the name of a field of the specification become
that field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from neurozoo.core.equations import Surrogate, Tie
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, PLIFSpec, ReLUSpec, SpikingSpec
from neurozoo.core.layer import Learned
from neurozoo.core.model import NeuronChoice

__all__ = ["ALIF", "IF", "LIF", "PLIF", "AdLIF", "Cuba", "ReLU"]

Positive = Annotated[float, Field(gt=0)]
Range = tuple[float, float]
Ranged = Literal["tau", "tau_adaptation", "coupling", "jump"]


@dataclass(kw_only=True, eq=False)
class _Firing(NeuronChoice):
    """Parameters of all neurons that fire.

    Attributes:
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.
    """

    detach_reset: bool = False
    surrogate: Surrogate = "atan"
    alpha: Positive = 2.0
    tie: Tie = "fires"

    def __init_subclass__(cls) -> None:
        # `neurozoo show` prints a choice's docstring, which must describe inherited parameters too.
        inherited = (cls.__base__.__doc__ or "").partition("Attributes:\n")[2]
        cls.__doc__ = f"{(cls.__doc__ or '').rstrip()}\n{inherited}"

    def make(self, spec: type[SpikingSpec], learned: Any = None, gain: bool = False, /, **others: Any) -> None:
        """Set the specification: its fields are those of equal names here, and ``others``."""
        alike = {each.name: getattr(self, each.name) for each in fields(spec) if each.name not in others}
        super().__init__(spec(**alike, **others), learned, gain)


@dataclass(kw_only=True, eq=False)
class IF(_Firing):
    """Integrate-and-fire neurons without leak.

    Attributes:
        v_reset: Membrane after a spike; null for a soft reset.
    """

    v_reset: float | None = 0.0

    def __post_init__(self) -> None:
        self.make(IFSpec)


@dataclass(kw_only=True, eq=False)
class LIF(IF):
    """Leaky integrate-and-fire neurons.

    Attributes:
        tau: Membrane time constant, in steps.
        decay_input: Whether the current is divided by ``tau``.
        apply: ``threshold`` compares the membrane with the threshold; ``gain`` divides the current by it and fires at
            1. From rest, and with ``v_reset`` 0 or null, both give the same spikes, with other surrogate gradients.
    """

    tau: Annotated[float, Field(gt=1)] = 2.0
    decay_input: bool = True
    apply: Literal["threshold", "gain"] = "threshold"

    def __post_init__(self) -> None:
        self.make(LIFSpec, None, self.apply == "gain")


@dataclass(kw_only=True, eq=False)
class PLIF(IF):
    """LIF neurons whose time constant is learned: ``1/tau = sigmoid(w)`` (Fang et al. 2021, section 3.2).

    Attributes:
        tau: Initial time constant, in steps.
        scope: Learns one per ``layer`` or one per ``neuron``.
        decay_input: Whether the current is divided by the time constant.
    """

    tau: Annotated[float, Field(gt=1)] = 2.0
    scope: Literal["layer", "neuron"] = "layer"
    decay_input: bool = True

    def __post_init__(self) -> None:
        self.make(PLIFSpec, {"leak": Learned(-math.log(self.tau - 1), self.scope, "sigmoid")}, leak=1 / self.tau)


@dataclass(kw_only=True, eq=False)
class AdLIF(_Firing):
    """Adaptive LIF neurons whose learned parameters, one each per neuron, are clamped to ranges (Bittar & Garner 2022).

    With ``learned: [tau]``, and ``coupling`` and ``jump`` of ``[0, 0]``, they are the LIF neurons of that paper.

    Attributes:
        tau: Range of the membrane's time constant, in steps.
        tau_adaptation: Range of the recovery current's time constant, in steps.
        coupling: Range of the coupling from membrane to recovery current, dimensionless.
        jump: Range of the recovery current's increase per spike, dimensionless.
        learned: Whether the parameters are learned, or the names of those that are, such as ``[tau]``. A learned one is
            drawn from its range, another is the middle of its range.
    """

    tau: Range = (5.0, 25.0)
    tau_adaptation: Range = (30.0, 120.0)
    coupling: Range = (-1.0, 1.0)
    jump: Range = (0.0, 2.0)
    learned: bool | tuple[Ranged, ...] = True
    surrogate: Surrogate = "box"
    alpha: Positive = 1.0

    def __post_init__(self) -> None:
        ranges = {
            "tau": ("membrane_decay", (_decay(self.tau[0]), _decay(self.tau[1]))),
            "tau_adaptation": ("adaptation_decay", (_decay(self.tau_adaptation[0]), _decay(self.tau_adaptation[1]))),
            "coupling": ("coupling", (self.coupling[0], self.coupling[1])),  # a recipe gives lists
            "jump": ("jump", (self.jump[0], self.jump[1])),
        }
        chosen = self.learned if isinstance(self.learned, tuple | list) else tuple(ranges) if self.learned else ()
        drawn = {name: Learned(ends, "neuron", "clamp", ends) for key, (name, ends) in ranges.items() if key in chosen}
        self.make(AdLIFSpec, drawn, **{name: sum(ends) / 2 for name, ends in ranges.values()})

    @staticmethod
    def check_params(**params: Any) -> Iterator[tuple[str, str]]:
        """Yield ranges that are none, and time constants that are."""
        for name in ("tau", "tau_adaptation", "coupling", "jump"):
            first, last = params[name]
            if first > last:
                yield name, f"the range begins at {first} and ends at {last}; give its lower end first"
            elif name.startswith("tau") and first <= 0:
                yield name, f"a time constant of {first} steps is none; give a range above 0"


@dataclass(kw_only=True, eq=False)
class ALIF(_Firing):
    """LIF neurons with an adaptive threshold and a refractory period (Bellec et al. 2018).

    Attributes:
        tau: Membrane time constant, in steps.
        tau_adaptation: Time constant of the adaptation, in steps.
        adaptation: Increase of the threshold per unit of adaptation, dimensionless.
        refractory: Steps after a spike in which the neuron cannot fire.
    """

    tau: Positive = 20.0
    tau_adaptation: Positive = 200.0
    adaptation: Annotated[float, Field(ge=0)] = 0.1
    refractory: Annotated[int, Field(ge=0)] = 0
    surrogate: Surrogate = "triangle"
    alpha: Positive = 0.3

    def __post_init__(self) -> None:
        self.make(ALIFSpec, membrane_decay=_decay(self.tau), adaptation_decay=_decay(self.tau_adaptation))


@dataclass(kw_only=True, eq=False)
class Cuba(IF):
    """Current-based LIF neurons: a synaptic current with its own decay drives the membrane.

    Attributes:
        tau_synapse: Time constant of the current, in steps.
        tau: Time constant of the membrane, in steps.
        gain: From current to membrane; null for one minus the membrane's decay, so that a constant current equals
            the membrane's steady state.
        order: ``charge-first``, or ``fire-first`` (Neftci et al. 2019), see ``neurozoo.core.kinds``.
    """

    tau_synapse: Positive = 5.0
    tau: Positive = 10.0
    gain: float | None = None
    order: Literal["charge-first", "fire-first"] = "charge-first"
    surrogate: Surrogate = "superspike"
    alpha: Positive = 10.0

    def __post_init__(self) -> None:
        decay = _decay(self.tau)
        gain = 1 - decay if self.gain is None else self.gain
        self.make(CubaSpec, synapse_decay=_decay(self.tau_synapse), membrane_decay=decay, gain=gain)


class ReLU(NeuronChoice):
    """``max(0, current / threshold)`` at every step: the control without spikes, with equal parameters."""

    def __init__(self) -> None:
        super().__init__(ReLUSpec())


def _decay(tau: float) -> float:
    """Convert a time constant in steps to a decay per step."""
    return math.exp(-1 / tau)
