"""Cases on spikes and membranes, held against the oracle. Each raises ConformanceError where the backend is wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec
from neurozoo.testing.backend.inputs import B, N, T, made_up_currents, same, spec_text, threshold_forms
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.backend.tables import TABLES
from neurozoo.testing.findings import ConformanceError

__all__ = ["FORWARD_CASES"]

RESETS = (0.0, None, 0.2)


def hand_computed_membranes(subject: Subject) -> None:
    """The tables of tables.py: spikes as they stand, membranes to 1e-6."""
    tables = {table.spec: [other for other in TABLES if other.spec == table.spec] for table in TABLES}
    for spec in subject.accepted(tables):
        subject.oracle(spec)
        for table in tables[spec]:
            currents = torch.tensor(table.currents).unsqueeze(1)
            thresholds = torch.tensor(table.thresholds).unsqueeze(1)
            neuron = subject.make(spec)
            spikes, _ = neuron.scan(currents, None, thresholds)
            same(tuple(int(s) for s in spikes.flatten().tolist()), table.spikes, f"spikes of {table.name!r}")
            for step, want in enumerate(table.membranes):
                _, v = neuron.scan(currents[: step + 1], None, thresholds[: step + 1])
                if not abs(v.item() - want) < 1e-6:
                    raise ConformanceError(
                        f"membrane {v.item():.7g} after step {step} of {table.name!r}, not {want:.7g}"
                    )
            subject.compared += len(table.spikes)


def ties_fire(subject: Subject) -> None:
    """With eighths and tau 2 no way of writing the equation rounds, and h = threshold is frequent: it fires."""
    grid = torch.randint(-16, 33, (T, B, 256), generator=torch.Generator().manual_seed(0)) / 8
    thresholds: tuple[Tensor | float, ...] = (0.5, torch.tensor(1.0), torch.full((1, B, 1), 0.25))
    for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in (0.0, None)):
        for threshold in thresholds:
            expected, _ = subject.oracle(spec).scan(grid, None, threshold)
            spikes, _ = subject.make(spec).scan(grid, None, threshold)
            same(spikes, expected, f"spikes on a grid of eighths, {spec_text(spec)}")
            tie = torch.as_tensor(threshold).reshape(-1)[0] * 2  # h = threshold in the first step
            spikes, _ = subject.make(spec).scan(tie.expand(1, B, N), None, threshold)
            same(spikes, torch.ones(1, B, N), f"spikes where the membrane equals the threshold, {spec_text(spec)}")
            subject.compared += expected.numel() + spikes.numel()


def time_constants(subject: Subject) -> None:
    """tau from 1.01 to 100, with every reset and both input scales."""
    currents = made_up_currents(12, B, 32)
    taus = (1.01, 1.5, 2.0, 3.0, 10.0, 100.0)
    specs = (
        LIFSpec(tau=tau, decay_input=decay, v_reset=v_reset)
        for tau, decay, v_reset in itertools.product(taus, (True, False), RESETS)
    )
    for spec in subject.accepted(specs):
        threshold = 1.0 if not spec.decay_input or spec.tau < 3 else 0.3 + spec.rest
        subject.check_spikes(spec, currents, threshold)
        subject.check_spikes(spec, currents, torch.tensor(threshold))


def an_integer_time_constant(subject: Subject) -> None:
    """Recipes may write tau: 2."""
    for spec in subject.accepted([LIFSpec(tau=2, v_reset=0), LIFSpec(tau=3, v_reset=None)]):
        subject.check_spikes(spec, made_up_currents(T, B, N), 0.5)


def an_infinite_time_constant(subject: Subject) -> None:
    """tau = inf is no leak: integrate-and-fire, with every reset, dtype and form of threshold."""
    for spec in subject.accepted(LIFSpec(math.inf, decay_input=False, v_reset=v_reset) for v_reset in RESETS):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            currents = made_up_currents(T, B, 64, dtype=dtype)
            for threshold in threshold_forms(dtype, 64):
                subject.check_spikes(spec, currents, threshold)
        subject.check_spikes(spec, made_up_currents(100, B, N) / 10, 0.7)


def every_threshold_form(subject: Subject) -> None:
    """Float, 0-d, per sample, per step, per neuron, and one for each neuron and step."""
    currents = made_up_currents(T, B, N)
    for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in RESETS):
        for threshold in threshold_forms():
            subject.check_spikes(spec, currents, threshold)
        deep = made_up_currents(T, B, 3, N)
        subject.check_spikes(spec, deep, torch.linspace(0.5, 1.0, B).reshape(1, B, 1, 1))


def starts_from_rest(subject: Subject) -> None:
    """The initial state is v_reset, or 0 for a soft reset, in the currents' shape and dtype."""
    current = torch.zeros(B, N, dtype=torch.float64)
    for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in (0.0, None, 0.25)):
        rest = subject.oracle(spec).initial_state(current)
        same(subject.make(spec).initial_state(current), rest, f"state at rest of {spec_text(spec)}")


def continues_from_a_state(subject: Subject) -> None:
    """A membrane that is given is where it starts."""
    state = made_up_currents(B, N, seed=3)
    for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in RESETS):
        for threshold in (0.8, torch.tensor(0.8)):
            subject.check_spikes(spec, made_up_currents(T, B, N), threshold, state)


def spikes_in_every_dtype(subject: Subject) -> None:
    """float32, float64 and bfloat16, each rounded as the oracle rounds."""
    for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in RESETS):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            currents = made_up_currents(T, B, 64, dtype=dtype)
            for threshold in threshold_forms(dtype, 64):
                subject.check_spikes(spec, currents, threshold)


FORWARD_CASES: tuple[Callable[[Subject], None], ...] = (
    hand_computed_membranes,
    ties_fire,
    time_constants,
    an_integer_time_constant,
    an_infinite_time_constant,
    every_threshold_form,
    starts_from_rest,
    continues_from_a_state,
    spikes_in_every_dtype,
)
