"""The kit is worth what it catches: neurons that are wrong on purpose, each as a library is or was."""

from __future__ import annotations

import pytest
import torch

from neurozoo.functional import lif_charge, lif_reset, spike
from neurozoo.interfaces import Neuron
from neurozoo.nn.neurons import TorchNeuron
from neurozoo.testing import KITS, Candidate, ConformanceError, Report, check

CASES = KITS["backend"].cases


def check_backend(neuron: type[Neuron], *, exact: bool) -> Report:
    return check(Candidate("backend", neuron.__name__, neuron, exact))


class DelayedReset(TorchNeuron):
    """Resets at the beginning of the next step, as one library does by default."""

    def step(self, current, state, threshold):
        spec = self.spec
        fired = (state >= threshold).to(state.dtype)
        h = lif_charge(lif_reset(state, fired, threshold, spec.v_reset), current, spec.tau, spec.decay_input, spec.rest)
        return spike(h - threshold, spec.surrogate, spec.alpha), h


class Strict(TorchNeuron):
    """Silent where the membrane equals the threshold."""

    def step(self, current, state, threshold):
        level = torch.as_tensor(threshold, dtype=current.dtype)
        return super().step(current, state, torch.nextafter(level, torch.full_like(level, torch.inf)))


class LeakedState(TorchNeuron):
    """Goes on from where the last call ended."""

    last = None

    def scan(self, currents, state=None, threshold=1.0):
        if state is None and self.last is not None and self.last.shape == currents.shape[1:]:
            state = self.last
        spikes, v = super().scan(currents, state, threshold)
        self.last = v.detach()
        return spikes, v


class KeptGraph(TorchNeuron):
    """Keeps the last membrane with its graph, which deepcopy refuses."""

    def step(self, current, state, threshold):
        spikes, self.v = super().step(current, state, threshold)
        return spikes, self.v


class WrongSurrogate(TorchNeuron):
    """Always Sigmoid(4), a library's default."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = lif_charge(state, current, spec.tau, spec.decay_input, spec.rest)
        s = spike(h - threshold, "sigmoid", 4.0)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


class AlwaysDetached(TorchNeuron):
    """Stops the gradient at the reset whatever the spec says."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = lif_charge(state, current, spec.tau, spec.decay_input, spec.rest)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h, s.detach(), threshold, spec.v_reset)


class NoThresholdGradient(TorchNeuron):
    """A learnable threshold does not learn, silently."""

    def step(self, current, state, threshold):
        return super().step(current, state, threshold.detach() if isinstance(threshold, torch.Tensor) else threshold)


class ScalarThreshold(TorchNeuron):
    """Uses the mean of a threshold tensor."""

    def step(self, current, state, threshold):
        return super().step(current, state, torch.as_tensor(threshold, dtype=current.dtype).mean())


class UnscaledInput(TorchNeuron):
    """Adds the input as it is."""

    def step(self, current, state, threshold):
        return super().step(current * self.spec.tau if self.spec.decay_input else current, state, threshold)


class RestsAtZero(TorchNeuron):
    """Resets to v_reset but leaks to 0."""

    def step(self, current, state, threshold):
        spec = self.spec
        h = lif_charge(state, current, spec.tau, spec.decay_input, 0.0)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


class AlwaysFloat32(TorchNeuron):
    """Spikes are float32 whatever came in."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        return spikes.float(), v


class AnyThresholdShape(TorchNeuron):
    """Lets torch broadcast whatever it can."""

    def scan(self, currents, state=None, threshold=1.0):
        v = self.initial_state(currents[0]) if state is None else state
        levels = torch.as_tensor(threshold, dtype=currents.dtype).expand(currents.shape)
        spikes = []
        for current, level in zip(currents.unbind(0), levels.unbind(0), strict=True):
            s, v = self.step(current, v, level)
            spikes.append(s)
        return torch.stack(spikes), v


class FreshState(TorchNeuron):
    """Starts again from rest where the state does not fit."""

    def scan(self, currents, state=None, threshold=1.0):
        if state is not None and state.shape != currents.shape[1:]:
            state = None
        return super().scan(currents, state, threshold)


class SlowScan(TorchNeuron):
    """Its steps are right; its scan, a kernel of its own, carries the membrane without leak."""

    def scan(self, currents, state=None, threshold=1.0):
        if currents.shape[0] < 3:
            return super().scan(currents, state, threshold)
        head, v = super().scan(currents[:2], state, threshold if not _by_step(threshold) else threshold[:2])
        tail, v = super().scan(currents[2:], v * 1.01, threshold if not _by_step(threshold) else threshold[2:])
        return torch.cat([head, tail]), v


def _by_step(threshold) -> bool:
    return isinstance(threshold, torch.Tensor) and threshold.dim() > 0 and threshold.shape[0] > 1


class InPlace(TorchNeuron):
    """Writes the membrane into the caller's tensor."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        with torch.no_grad():
            state.copy_(v)
        return spikes, v


class ByReciprocal(TorchNeuron):
    """Right but for rounding: multiplies by 1/tau where the others divide."""

    def step(self, current, state, threshold):
        spec = self.spec
        beta = 1 - 1 / spec.tau
        drive = (current + spec.rest) / spec.tau if spec.decay_input else current + spec.rest / spec.tau
        h = beta * state + drive
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)


@pytest.mark.parametrize(
    ("wrong", "caught_by"),
    [
        (DelayedReset, {"hand_computed_membranes", "every_reset"}),
        (Strict, {"hand_computed_membranes", "ties_fire"}),
        (LeakedState, {"nothing_is_kept_between_calls"}),
        (KeptGraph, {"can_be_copied_after_a_forward"}),
        (WrongSurrogate, {"every_surrogate"}),
        (AlwaysDetached, {"every_reset"}),
        (NoThresholdGradient, {"learnable_thresholds"}),
        (ScalarThreshold, {"every_threshold_form"}),
        (UnscaledInput, {"hand_computed_membranes", "time_constants"}),
        (RestsAtZero, {"hand_computed_membranes", "every_reset"}),
        (AlwaysFloat32, {"dtypes_are_kept"}),
        (AnyThresholdShape, {"other_threshold_shapes_are_refused"}),
        (FreshState, {"a_state_of_another_batch_is_refused"}),
        (SlowScan, {"every_threshold_form", "chunked_equals_whole", "every_reset"}),
        (InPlace, {"arguments_are_left_alone"}),
    ],
)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(wrong: type[Neuron], caught_by: set[str]) -> None:
    failed = {result.name for result in check_backend(wrong, exact=False).failures}
    assert caught_by <= failed


def test_a_neuron_that_rounds_otherwise_is_inexact_but_not_wrong() -> None:
    report = check_backend(ByReciprocal, exact=False)
    report.raise_if_failed()
    excused = sum(result.excused for result in report.results)
    assert 0 < excused < sum(result.compared for result in report.results) / 1000
    assert check_backend(ByReciprocal, exact=True).failures


def test_the_oracle_passes_and_every_case_was_run() -> None:
    report = check_backend(TorchNeuron, exact=True)
    report.raise_if_failed()
    assert [result.name for result in report.results] == list(CASES)
    assert len(CASES) >= 20


def test_a_neuron_that_raises_fails_its_cases_and_stops_none() -> None:
    class Broken(TorchNeuron):
        def step(self, current, state, threshold):
            raise KeyError("no kernel for this device")

    report = check_backend(Broken, exact=True)
    assert len(report.results) == len(CASES)
    with pytest.raises(ConformanceError, match=r"cases failed\n.*KeyError: 'no kernel for this device'"):
        report.raise_if_failed()


def test_a_problem_says_how_many_where_and_for_which_neuron() -> None:
    results = {result.name: result.problem for result in check_backend(UnscaledInput, exact=True).failures}
    assert "spikes differ from the oracle's" in results["time_constants"]
    assert "the first in step" in results["time_constants"]
    assert "LIFSpec(tau=1.01" in results["time_constants"]
    assert "hard reset to 0" in results["hand_computed_membranes"]
