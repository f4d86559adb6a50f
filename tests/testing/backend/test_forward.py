"""Neurons whose spikes or membranes are not the oracle's."""

from __future__ import annotations

import re

import pytest
import torch

from neurozoo.core.equations import lif_charge, lif_reset, spike
from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend.forward import FORWARD_CASES


class DelayedReset(TorchNeuron):
    """Resets at the beginning of the next step, by that step's threshold, as one library does by default."""

    def step(self, current, state, threshold):
        spec = self.spec
        fired = (state >= threshold).to(state.dtype)
        h = lif_charge(lif_reset(state, fired, threshold, spec.v_reset), current, spec.tau, spec.decay_input, spec.rest)
        return spike(h - threshold, spec.surrogate, spec.alpha), h


class RetroactiveThreshold(TorchNeuron):
    """Fires by this step's threshold, and subtracts the last one's."""

    def scan(self, currents, state=None, threshold=1.0):
        v = self.initial_state(currents[0]) if state is None else state
        levels = torch.as_tensor(threshold, dtype=currents.dtype).expand(currents.shape).unbind(0)
        spikes = []
        for current, level, last in zip(currents.unbind(0), levels, levels[:1] + levels[:-1], strict=True):
            s, _ = self.step(current, v, level)
            h = lif_charge(v, current, self.spec.tau, self.spec.decay_input, self.spec.rest)
            v = lif_reset(h, s, last, self.spec.v_reset)
            spikes.append(s)
        return torch.stack(spikes), v


class Strict(TorchNeuron):
    """Silent where the membrane equals the threshold: > for >=."""

    def step(self, current, state, threshold):
        level = torch.as_tensor(threshold, dtype=current.dtype)
        return super().step(current, state, torch.nextafter(level, torch.full_like(level, torch.inf)))


class UnscaledInput(TorchNeuron):
    """Adds the input as it is."""

    def step(self, current, state, threshold):
        return super().step(current * self.spec.tau if self.spec.decay_input else current, state, threshold)


class WholeSteps(TorchNeuron):
    """Divides whole numbers as whole numbers."""

    def step(self, current, state, threshold):
        if isinstance(self.spec.tau, int):
            current = current * self.spec.tau * (1 // self.spec.tau)
        return super().step(current, state, threshold)


class MultipliedByTau(TorchNeuron):
    """Writes the leak as ``v (tau - 1) / tau``, which is no number where tau is infinite."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = ((state - spec.rest) * (spec.tau - 1) + (current if spec.decay_input else current * spec.tau)) / spec.tau
        s = spike(h + spec.rest - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h + spec.rest, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


class LeaksALittle(TorchNeuron):
    """Takes an infinite time constant for a long one."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = lif_charge(state, current, min(spec.tau, 100.0), spec.decay_input, spec.rest)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


class ScalarThreshold(TorchNeuron):
    """Uses the mean of a threshold tensor."""

    def step(self, current, state, threshold):
        return super().step(current, state, torch.as_tensor(threshold, dtype=current.dtype).mean())


class RestsAtZero(TorchNeuron):
    """Decays without v_reset: resets to it, but leaks to 0."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = lif_charge(state, current, spec.tau, spec.decay_input, 0.0)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


class StartsAtZero(TorchNeuron):
    def initial_state(self, current):
        return torch.zeros_like(current)


class AlwaysFromRest(TorchNeuron):
    """Takes no membrane from outside."""

    def scan(self, currents, state=None, threshold=1.0):
        return super().scan(currents, None, threshold)


class Float32Inside(TorchNeuron):
    """Computes in float32 whatever comes in."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current.float(), state.float(), threshold)
        return spikes.to(current.dtype), v.to(current.dtype)


class MembraneOff(TorchNeuron):
    """Fires as it should, and hands out a membrane that is a little too high."""

    def scan(self, currents, state=None, threshold=1.0):
        spikes, v = super().scan(currents, state, threshold)
        return spikes, v + 0.01


CAUGHT = [
    ("hand_computed_membranes", DelayedReset, "'hard reset to 0'"),
    ("hand_computed_membranes", RetroactiveThreshold, "soft reset by that step's threshold"),
    ("hand_computed_membranes", RestsAtZero, "hard reset to 0.2, which is also the rest"),
    ("ties_fire", Strict, "spikes on a grid of eighths"),
    ("time_constants", UnscaledInput, r"spikes differ from the oracle's.*first in step 0: LIFSpec\(tau=1.01\)"),
    ("an_integer_time_constant", WholeSteps, r"LIFSpec\(tau=2, v_reset=0\), currents"),
    ("an_infinite_time_constant", MultipliedByTau, r"LIFSpec\(tau=inf, decay_input=False\), currents"),
    ("an_infinite_time_constant", LeaksALittle, r"LIFSpec\(tau=inf, decay_input=False\), currents"),
    ("every_threshold_form", ScalarThreshold, r"threshold of shape \[1, 4, 1\]"),
    ("starts_from_rest", StartsAtZero, r"state at rest of LIFSpec\(v_reset=0.25\)"),
    ("continues_from_a_state", AlwaysFromRest, "another spike train"),
    ("continues_from_a_state", MembraneOff, "membranes differ by more than"),
    ("spikes_in_every_dtype", Float32Inside, "float64"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == {case.__name__ for case in FORWARD_CASES}


class ByReciprocal(TorchNeuron):
    """Right but for rounding: ``beta v + x/tau`` where the oracle has ``v + (x - v)/tau``."""

    def step(self, current, state, threshold):
        spec = self.spec
        beta = 1 - 1 / spec.tau
        drive = (current + spec.rest) / spec.tau if spec.decay_input else current + spec.rest / spec.tau
        h = beta * state + drive
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


def test_spikes_within_the_margin_are_excused_counted_and_placed(result_of) -> None:
    result = result_of(ByReciprocal, "spikes_in_every_dtype")
    assert result.outcome == "passed"
    assert 0 < result.excused < result.compared / 1000
    assert re.match(
        r"step \d, neuron \[\d+, \d+\], h [\d.]+, threshold [\d.]+, \d ulp apart; LIFSpec", result.excused_at
    )
    assert "bfloat16" in result.excused_at


def test_an_exact_backend_is_excused_nothing(result_of) -> None:
    result = result_of(ByReciprocal, "spikes_in_every_dtype", exact=True)
    assert result.outcome == "failed"
    assert "0 of them by more than 8 ulp" in result.problem
