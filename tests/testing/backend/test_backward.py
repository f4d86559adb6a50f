"""Neurons whose spikes are right and whose gradients are not."""

from __future__ import annotations

import re

import pytest
import torch

from neurozoo.core.equations import lif_charge, lif_reset, spike
from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend.backward import BACKWARD_CASES


class WrongSurrogate(TorchNeuron):
    """Always Sigmoid(4), a library's default."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = lif_charge(state, current, spec.tau, spec.decay_input, spec.rest)
        s = spike(h - threshold, "sigmoid", 4.0)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


class OverflowingSigmoid(TorchNeuron):
    """Writes the sigmoid's derivative with an exponential, which overflows far below the threshold."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        if self.spec.surrogate == "sigmoid" and spikes.requires_grad:
            overflown = (current * 5 - 40).exp().exp()
            spikes.register_hook(lambda gradient: gradient * overflown / overflown)
        return spikes, v


class AlwaysDetached(TorchNeuron):
    """Stops the gradient at the reset whatever the spec says."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = lif_charge(state, current, spec.tau, spec.decay_input, spec.rest)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h, s.detach(), threshold, spec.v_reset)


class TruncatedInTime(TorchNeuron):
    """Learns from one step at a time."""

    def step(self, current, state, threshold):
        return super().step(current, state.detach() + (state - state.detach()) * 0.5, threshold)


class DividedTwice(TorchNeuron):
    """Scales its gradient by ``tau / tau``, which is no number where tau is infinite."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        if spikes.requires_grad:
            spikes.register_hook(lambda gradient: gradient * self.spec.tau / self.spec.tau)
        return spikes, v


class NoThresholdGradient(TorchNeuron):
    """A learnable threshold does not learn, silently."""

    def step(self, current, state, threshold):
        return super().step(current, state, threshold.detach() if isinstance(threshold, torch.Tensor) else threshold)


class StateDetached(TorchNeuron):
    """Truncates at the beginning of each call."""

    def scan(self, currents, state=None, threshold=1.0):
        return super().scan(currents, None if state is None else state.detach(), threshold)


class DetachedInHalf(AlwaysDetached):
    """Has another kernel for half precision."""

    def step(self, current, state, threshold):
        if current.dtype == torch.bfloat16:
            return super().step(current, state, threshold)
        return TorchNeuron.step(self, current, state, threshold)


CAUGHT = [
    ("every_surrogate", WrongSurrogate, "gradient of the currents: LIFSpec"),
    ("every_surrogate", OverflowingSigmoid, "off by nan of its largest.*surrogate='sigmoid'"),
    ("every_reset", AlwaysDetached, "gradient of the currents"),
    ("every_time_constant", TruncatedInTime, "LIFSpec.*tau=1.01"),
    ("gradients_without_a_leak", TruncatedInTime, "gradient of the currents: LIFSpec.*tau=inf"),
    ("gradients_without_a_leak", DividedTwice, "off by nan of its largest.*tau=inf"),
    ("learnable_thresholds", NoThresholdGradient, "no gradient of the threshold"),
    ("through_a_given_state", StateDetached, "no gradient of the state"),
    ("bfloat16_gradients", DetachedInHalf, "off by .* of its largest, more than 0.25: .*bfloat16"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == {case.__name__ for case in BACKWARD_CASES}


class NearlyRight(TorchNeuron):
    """Its gradient of the currents is off by a share that an inexact backend is allowed."""

    def scan(self, currents, state=None, threshold=1.0):
        scaled = currents.detach() + (currents - currents.detach()) * (1 + 2e-5)
        return super().scan(scaled, state, threshold)


def test_the_worst_difference_that_was_allowed_is_kept_with_its_place(result_of) -> None:
    result = result_of(NearlyRight, "through_a_given_state")
    assert result.outcome == "passed"
    assert result.worst.difference == pytest.approx(2e-5, rel=0.2)
    assert result.worst.tolerance == pytest.approx(1000 * 2**-23)
    assert "gradient of the currents: LIFSpec(" in result.worst.where
    assert result_of(NearlyRight, "through_a_given_state", exact=True).outcome == "failed"
