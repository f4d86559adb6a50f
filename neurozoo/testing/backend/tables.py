"""Membranes computed by hand, of tau = 2 or without a leak: what the equations say, in no one's code.

With such a tau and inputs that are sums of powers of two every number is exact in floating point, so
that a membrane said to equal the threshold does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neurozoo.core.interfaces import LIFSpec

__all__ = ["TABLES", "Table"]


@dataclass(frozen=True)
class Table:
    """One neuron over T steps, from rest.

    Attributes:
        name: What it shows.
        spec: The neuron; tau is 2 or infinite.
        currents: Input of each step, dimensionless.
        thresholds: Threshold of each step.
        spikes: Whether it fires, 0 or 1.
        membranes: Membrane after each step's reset.
    """

    name: str
    spec: LIFSpec
    currents: tuple[float, ...]
    thresholds: tuple[float, ...]
    spikes: tuple[int, ...]
    membranes: tuple[float, ...]


TABLES: tuple[Table, ...] = (
    Table(
        "hard reset to 0",  # h = .5, 1 (a tie), 1.5, .25, 1.125
        LIFSpec(),
        currents=(1.0, 1.5, 3.0, 0.5, 2.0),
        thresholds=(1.0,) * 5,
        spikes=(0, 1, 1, 0, 1),
        membranes=(0.5, 0.0, 0.0, 0.25, 0.0),
    ),
    Table(
        "soft reset",  # h = .5, 1 (a tie), 1.5, .5, 1.25
        LIFSpec(v_reset=None),
        currents=(1.0, 1.5, 3.0, 0.5, 2.0),
        thresholds=(1.0,) * 5,
        spikes=(0, 1, 1, 0, 1),
        membranes=(0.5, 0.0, 0.5, 0.5, 0.25),
    ),
    Table(
        "hard reset to 0.2, which is also the rest",  # h = .7, 1.2, 1.7, .45, 1.325
        LIFSpec(v_reset=0.2),
        currents=(1.0, 1.5, 3.0, 0.5, 2.0),
        thresholds=(1.0,) * 5,
        spikes=(0, 1, 1, 0, 1),
        membranes=(0.7, 0.2, 0.2, 0.45, 0.2),
    ),
    Table(
        "input not divided by tau, hard reset",  # h = .5, .75, .875, 1 (a tie), 1.25, -.5
        LIFSpec(decay_input=False),
        currents=(0.5, 0.5, 0.5, 0.5625, 1.25, -0.5),
        thresholds=(1.0,) * 6,
        spikes=(0, 0, 0, 1, 1, 0),
        membranes=(0.5, 0.75, 0.875, 0.0, 0.0, -0.5),
    ),
    Table(
        "input not divided by tau, soft reset",  # h = .5, 1.25, 1.125, .0625
        LIFSpec(decay_input=False, v_reset=None),
        currents=(0.5, 1.0, 1.0, 0.0),
        thresholds=(1.0,) * 4,
        spikes=(0, 1, 1, 0),
        membranes=(0.5, 0.25, 0.125, 0.0625),
    ),
    Table(
        "input not divided by tau, hard reset to 0.2",  # h = .7, .95, 1.075, 1.2, -.2
        LIFSpec(decay_input=False, v_reset=0.2),
        currents=(0.5, 0.5, 0.5, 1.0, -0.4),
        thresholds=(1.0,) * 5,
        spikes=(0, 0, 1, 1, 0),
        membranes=(0.7, 0.95, 0.2, 0.2, -0.2),
    ),
    Table(
        "no leak, hard reset",  # h = .5, .75, 1 (a tie), .5, 2, -.25
        LIFSpec(tau=math.inf, decay_input=False),
        currents=(0.5, 0.25, 0.25, 0.5, 1.5, -0.25),
        thresholds=(1.0,) * 6,
        spikes=(0, 0, 1, 0, 1, 0),
        membranes=(0.5, 0.75, 0.0, 0.5, 0.0, -0.25),
    ),
    Table(
        "no leak, soft reset",  # h = .5, .75, 1 (a tie), .5, 2, .75
        LIFSpec(tau=math.inf, decay_input=False, v_reset=None),
        currents=(0.5, 0.25, 0.25, 0.5, 1.5, -0.25),
        thresholds=(1.0,) * 6,
        spikes=(0, 0, 1, 0, 1, 0),
        membranes=(0.5, 0.75, 0.0, 0.5, 1.0, 0.75),
    ),
    Table(
        "no leak, hard reset to 0.2",  # h = .7, .95, 1.2, .7, 2.2, -.05
        LIFSpec(tau=math.inf, decay_input=False, v_reset=0.2),
        currents=(0.5, 0.25, 0.25, 0.5, 1.5, -0.25),
        thresholds=(1.0,) * 6,
        spikes=(0, 0, 1, 0, 1, 0),
        membranes=(0.7, 0.95, 0.2, 0.7, 0.2, -0.05),
    ),
    Table(
        "a threshold for each step, hard reset",  # h = 1 (a tie), 1, 1.5, 1 (a tie), 1
        LIFSpec(),
        currents=(2.0, 2.0, 2.0, 2.0, 2.0),
        thresholds=(1.0, 1.5, 1.25, 1.0, 1.5),
        spikes=(1, 0, 1, 1, 0),
        membranes=(0.0, 1.0, 0.0, 0.0, 1.0),
    ),
    Table(
        "a threshold for each step, soft reset by that step's threshold",  # h = 1, 1.25, 1.125, 1.3125
        LIFSpec(v_reset=None),
        currents=(2.0, 2.0, 2.0, 2.0),
        thresholds=(0.5, 1.0, 0.5, 2.0),
        spikes=(1, 1, 1, 0),
        membranes=(0.5, 0.25, 0.625, 1.3125),
    ),
    Table(
        "a threshold of 0 and one below: a resting neuron fires",  # h = 0 (a tie), -.5 (a tie), -.5
        LIFSpec(),
        currents=(0.0, -1.0, -1.0),
        thresholds=(0.0, -0.5, -0.25),
        spikes=(1, 1, 0),
        membranes=(0.0, 0.0, -0.5),
    ),
)
