"""The settings that NIR leaves to its reader and a run must state: length of a step, reset, delays.

Without them the same graph scored from 48 to 95 % on eight platforms (Pedersen et al. 2024,
https://doi.org/10.1038/s41467-024-52259-9). None has a default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neurozoo.nir.graph import NEURONS, Graph, Node

__all__ = ["CHOICES", "PLATFORMS", "Dynamics", "Fires", "Integration", "Reset", "needed", "whole_steps"]

Array = NDArray[np.float64]
Reset = Literal["value", "subtract"]
Integration = Literal["euler", "exact", "exponential-leak"]
Fires = Literal["at", "above"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "reset": get_args(Reset),
    "integration": get_args(Integration),
    "fires": get_args(Fires),
    "forward_delay": ("0", "1"),
    "recurrent_delay": ("1", "2", "..."),
    "synapse_delay": ("0", "1"),
}
"""The values of each setting but ``dt``, which is in seconds."""

LONGEST_DELAY = 2**16
"""Most steps of a Delay, whose inputs are all held in memory."""

PLATFORMS: Mapping[str, Mapping[str, Any]] = json.loads(
    files("neurozoo.nir").joinpath("platforms.json").read_text("utf-8")
)
"""Settings of some platforms, from their traces of one LIF neuron; see ``docs/nir.md``."""


@dataclass(frozen=True)
class Dynamics:
    """How a graph's equations become steps.

    Attributes:
        dt: Length of a step, in seconds, or in the unit of the graph's time constants.
        reset: A spike sets the membrane to ``v_reset`` (``value``), or subtracts ``v_threshold`` from it.
        integration: ``euler``: a leak of ``dt / tau`` and a gain of ``dt / tau``; ``exact``: of a current that is
            constant through the step, ``1 - exp(-dt / tau)`` both; ``exponential-leak``: the leak as ``exact``, the
            gain as ``euler``.
        fires: Whether a membrane at its threshold fires, or one above it.
        forward_delay: Steps until a neuron gets the outputs of other nodes.
        recurrent_delay: Steps until a neuron's output arrives in its own loop.
        synapse_delay: Steps until a membrane gets its own synapse's current (CubaLIF, CubaLI).
    """

    dt: float
    reset: Reset
    integration: Integration
    fires: Fires
    forward_delay: int
    recurrent_delay: int
    synapse_delay: int

    def leak(self, tau: Array) -> Array:
        """Return the share of its distance from rest that a state with time constant ``tau`` loses in a step."""
        ratio = self._ratio(tau)
        if self.integration == "euler":
            return ratio
        different, places = np.unique(ratio, return_inverse=True)
        # Python's expm1 has the same last bits on every machine, numpy's depends on the processor.
        return np.array([-math.expm1(-each) for each in different.tolist()])[places].reshape(ratio.shape)

    def gain(self, tau: Array) -> Array:
        """Return the share of its input that such a state adds in a step."""
        return self.leak(tau) if self.integration == "exact" else self._ratio(tau)

    def problems(self, graph: Graph) -> Iterator[tuple[str, str]]:
        """Yield where the settings do not fit a graph, as (setting, problem)."""
        for node in graph.nodes:
            for name in ("tau", "tau_mem", "tau_syn"):
                if name in node.values and (problem := self._constant_problem(node, name)):
                    yield "dt", f"{node.name!r} {problem}"
                    break
            if node.kind == "Delay" and (problem := self._delay_problem(node)):
                yield "dt", f"the delay of {node.name!r}, {problem}"

    def _ratio(self, tau: Array) -> Array:
        with np.errstate(over="ignore"):  # what is too large is refused by :meth:`problems`
            return np.asarray(self.dt / tau)

    def _constant_problem(self, node: Node, name: str) -> str:
        tau = node.each(name)
        if self.integration == "euler" and tau.min() <= self.dt:
            return (
                f"has a time constant of {tau.min():g}, no longer than dt = {self.dt:g}: Euler's step would overshoot "
                "the rest; give a smaller dt, or integration exact"
            )
        with np.errstate(over="ignore"):
            largest = np.abs(self.gain(tau) * node.each("w_in" if name == "tau_syn" else "r")).max()
        if not largest <= np.finfo(np.float32).max:
            return f"has a gain of {largest:g} a step at dt = {self.dt:g}, more than float32 holds; give a smaller dt"
        return ""

    def _delay_problem(self, node: Node) -> str:
        for delay in np.unique(node.each("delay")).tolist():
            steps = delay / self.dt
            length = f"{delay:g}, is {steps:.6g} steps of dt = {self.dt:g}"
            if not steps <= LONGEST_DELAY:
                return f"{length}, and at most {LONGEST_DELAY:,} can be held; give a larger dt"
            if whole_steps(delay, self.dt) is None:
                return f"{length}; give a dt of which it is a whole number, such as {delay / math.ceil(steps):g}"
        return ""


def needed(graph: Graph) -> tuple[str, ...]:
    """Return the settings that matter to a graph, ``dt`` always."""
    kinds = {node.kind for node in graph.nodes}
    loops = any(graph.is_loop(each) for each in graph.components)
    asked: dict[str, Any] = {
        "reset": kinds & {*NEURONS},
        "integration": kinds & {"LI", "LIF", "CubaLI", "CubaLIF"},
        "fires": kinds & {*NEURONS, "Threshold"},
        "forward_delay": kinds & {*NEURONS},
        "recurrent_delay": loops,
        "synapse_delay": kinds & {"CubaLI", "CubaLIF"},
    }
    return ("dt", *(name for name, matters in asked.items() if matters))


def whole_steps(delay: float, dt: float) -> int | None:
    """Return a delay in steps; None unless it is a whole number of them, to a millionth of a step."""
    steps = round(delay / dt)
    return steps if abs(delay / dt - steps) <= 1e-6 * max(1, steps) else None
