"""Neurons whose spikes, states or gradients are not the oracle's."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from neurozoo.core.equations import charge, reset, spike
from neurozoo.core.kinds import ALIFSpec, CubaSpec, LISpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend import oracle, tables
from neurozoo.testing.kits import cases_of


class WrongSurrogate(TorchNeuron):
    """Always Sigmoid(4), a library's default."""

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        h = charge(state[0], current, spec.tau, spec.decay_input, spec.v_reset or 0.0)
        s = spike(h - threshold, "sigmoid", 4.0)
        return s, (reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset),)


class OverflowingSigmoid(TorchNeuron):
    """Writes the sigmoid's derivative with an exponential, which overflows far below the threshold."""

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        if self.spec.surrogate == "sigmoid" and spikes.requires_grad:
            overflown = (current * 5 - 40).exp().exp()
            spikes.register_hook(lambda gradient: gradient * overflown / overflown)
        return spikes, v


class AlwaysDetached(TorchNeuron):
    """Stops the gradient at the reset whatever the spec says."""

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        h = charge(state[0], current, spec.tau, spec.decay_input, spec.v_reset or 0.0)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, (reset(h, s.detach(), threshold, spec.v_reset),)


class TruncatedInTime(TorchNeuron):
    """Learns from one step at a time."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, (state[0].detach() + (state[0] - state[0].detach()) * 0.5,), threshold, params)


class DividedTwice(TorchNeuron):
    """Scales its gradient by ``tau / tau``, which is no number where tau is infinite."""

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        if spikes.requires_grad:
            spikes.register_hook(lambda gradient: gradient * self.spec.tau / self.spec.tau)
        return spikes, v


class NoThresholdGradient(TorchNeuron):
    """A learnable threshold does not learn, silently."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, threshold.detach() if isinstance(threshold, torch.Tensor) else threshold)


class StateDetached(TorchNeuron):
    """Truncates at the beginning of each call."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        return super().scan(currents, None if state is None else (state[0].detach(),), threshold, params)


class DetachedInHalf(AlwaysDetached):
    """Has another kernel for half precision."""

    def step(self, current, state, threshold, params=None):
        if current.dtype == torch.bfloat16:
            return super().step(current, state, threshold, params)
        return TorchNeuron.step(self, current, state, threshold, params)


class WiderBoxInHalf(TorchNeuron):
    """Has a box of another width for half precision, and rounds as an inexact backend may."""

    def __init__(self, spec):
        super().__init__(spec)
        self.wider = replace(spec, alpha=1.5 * spec.alpha) if spec.surrogate == "box" else spec

    def step(self, current, state, threshold, params=None):
        spec = self.wider if current.dtype == torch.bfloat16 else self.spec
        return spec.step(current, state, threshold, self.spec.complete(params))


class DelayedReset(TorchNeuron):
    """Resets at the beginning of the next step, by that step's threshold, as one library does by default."""

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        fired = (state[0] >= threshold).to(current.dtype)
        h = charge(
            reset(state[0], fired, threshold, spec.v_reset), current, spec.tau, spec.decay_input, spec.v_reset or 0.0
        )
        return spike(h - threshold, spec.surrogate, spec.alpha), (h,)


class RetroactiveThreshold(TorchNeuron):
    """Fires by this step's threshold, and subtracts the last one's."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        v = self.initial_state(currents[0]) if state is None else state
        levels = torch.as_tensor(threshold, dtype=currents.dtype).expand(currents.shape).unbind(0)
        spikes = []
        for current, level, last in zip(currents.unbind(0), levels, levels[:1] + levels[:-1], strict=True):
            s, _ = self.step(current, v, level, params)
            h = charge(v[0], current, self.spec.tau, self.spec.decay_input, self.spec.v_reset or 0.0)
            v = (reset(h, s, last, self.spec.v_reset),)
            spikes.append(s)
        return torch.stack(spikes), v


class Strict(TorchNeuron):
    """Silent where the membrane equals the threshold: > for >=."""

    def step(self, current, state, threshold, params=None):
        level = torch.as_tensor(threshold, dtype=current.dtype)
        return super().step(current, state, torch.nextafter(level, torch.full_like(level, torch.inf)))


class UnscaledInput(TorchNeuron):
    """Adds the input as it is."""

    def step(self, current, state, threshold, params=None):
        return super().step(current * self.spec.tau if self.spec.decay_input else current, state, threshold, params)


class WholeSteps(TorchNeuron):
    """Divides whole numbers as whole numbers."""

    def step(self, current, state, threshold, params=None):
        if isinstance(self.spec.tau, int):
            current = current * self.spec.tau * (1 // self.spec.tau)
        return super().step(current, state, threshold, params)


class MultipliedByTau(TorchNeuron):
    """Writes the leak as ``v (tau - 1) / tau``, which is no number where tau is infinite."""

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        rest = spec.v_reset or 0.0
        drive = current if spec.decay_input else current * spec.tau
        h = rest + ((state[0] - rest) * (spec.tau - 1) + drive) / spec.tau
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, (reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset),)


class LeaksALittle(TorchNeuron):
    """Takes an infinite time constant for a long one."""

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        h = charge(state[0], current, min(spec.tau, 100.0), spec.decay_input, spec.v_reset or 0.0)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, (reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset),)


class ClampsDecays(TorchNeuron):
    """Keeps decays away from 0 and 1."""

    def step(self, current, state, threshold, params=None):
        used = self.spec.complete(params)
        kept = {name: min(max(x, 0.02), 0.98) for name, x in used.items() if "decay" in name or name == "leak"}
        return super().step(current, state, threshold, used | kept)


class ScalarThreshold(TorchNeuron):
    """Uses the mean of a threshold tensor."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, torch.as_tensor(threshold, dtype=current.dtype).mean())


class RestsAtZero(TorchNeuron):
    """Decays without v_reset: resets to it, but leaks to 0."""

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        h = charge(state[0], current, spec.tau, spec.decay_input, 0.0)
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, (reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset),)


class StartsAtZero(TorchNeuron):
    def initial_state(self, current, params=None):
        return (torch.zeros_like(current),)


class AlwaysFromRest(TorchNeuron):
    """Takes no membrane from outside."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        return super().scan(currents, None, threshold, params)


class Float32Inside(TorchNeuron):
    """Computes in float32 whatever comes in."""

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current.float(), (state[0].float(),), threshold, params)
        return spikes.to(current.dtype), (v[0].to(current.dtype),)


class MembraneOff(TorchNeuron):
    """Fires as it should, and hands out a membrane that is a little too high."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        spikes, v = super().scan(currents, state, threshold, params)
        return spikes, (v[0] + 0.01,)


class AlwaysFires(TorchNeuron):
    """Fires at its threshold whatever ``tie`` says."""

    def step(self, current, state, threshold, params=None):
        level = torch.as_tensor(threshold, dtype=current.dtype)
        below = torch.nextafter(level, torch.full_like(level, -torch.inf))
        silent = getattr(self.spec, "tie", "fires") == "silent"
        return super().step(current, state, below if silent else threshold, params)


class WrongOrder(TorchNeuron):
    """Charges the membrane of CUBA by the current of the step before."""

    def step(self, current, state, threshold, params=None):
        if not isinstance(self.spec, CubaSpec) or self.spec.order != "charge-first":
            return super().step(current, state, threshold, params)
        spikes, (_, v) = super().step(torch.zeros_like(current), state, threshold, params)
        alpha = self.spec.complete(params)["synapse_decay"]
        return spikes, (alpha * state[0] + current, v)


class SwapsStates(TorchNeuron):
    """Hands out the membrane of CUBA before its current."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        spikes, after = super().scan(currents, state, threshold, params)
        return spikes, after[::-1] if isinstance(self.spec, CubaSpec) else after


class ForgetsRefractoriness(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        if isinstance(self.spec, ALIFSpec):
            state = (*state[:2], torch.zeros_like(state[2]), state[3])
        return super().step(current, state, threshold, params)


class LeaksToZero(TorchNeuron):
    """Takes no account of where a leaky integrator rests."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, threshold, {**(params or {}), "v_rest": 0.0} if self.li else params)

    @property
    def li(self):
        return isinstance(self.spec, LISpec)


class MeanOfParameters(TorchNeuron):
    """One number for all neurons."""

    def step(self, current, state, threshold, params=None):
        given = {k: v.mean() if isinstance(v, torch.Tensor) else v for k, v in (params or {}).items()}
        return super().step(current, state, threshold, given)


class FromTheEnd(TorchNeuron):
    """Right for one value a neuron, and along the last axis for one a channel."""

    def step(self, current, state, threshold, params=None):
        given = {
            k: v.flatten()[torch.arange(current.shape[-1]) % v.numel()] if isinstance(v, torch.Tensor) else v
            for k, v in (params or {}).items()
        }
        return super().step(current, state, threshold, given)


class NoParameterGradient(TorchNeuron):
    """Parameters do not learn, silently."""

    def step(self, current, state, threshold, params=None):
        given = {k: v.detach() if isinstance(v, torch.Tensor) else v for k, v in (params or {}).items()}
        return super().step(current, state, threshold, given)


class DetachedRecovery(TorchNeuron):
    """No gradient goes back through any state but the first."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, (*state[:1], *(each.detach() for each in state[1:])), threshold, params)


class Blocks(TorchNeuron):
    """Runs 256 steps at a time."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        spikes = []
        for block in currents.split(256):
            s, state = super().scan(block, state, threshold, params)
            spikes.append(s)
            state = self.between(state)
        return torch.cat(spikes), state


class ForgetsBetweenBlocks(Blocks):
    def between(self, state):
        return (torch.zeros_like(state[0]),)


class TruncatesBetweenBlocks(Blocks):
    def between(self, state):
        return (state[0].detach(),)


class WholeBlocks(TorchNeuron):
    """A kernel in blocks of 2,048 neurons, which leaves out what is left over."""

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        if spikes.numel() > 2048:
            rest = spikes.numel() % 2048
            silent = torch.ones_like(spikes).flatten()
            silent[len(silent) - rest :] = 0
            spikes = spikes * silent.reshape(spikes.shape)
        return spikes, v


CAUGHT = [
    ("hand_computed_membranes", DelayedReset, "'hard reset to 0'"),
    ("hand_computed_membranes", RetroactiveThreshold, "soft reset by that step's threshold"),
    ("hand_computed_membranes", RestsAtZero, "hard reset to 0.2, which is also the rest"),
    ("ties_fire", Strict, "spikes on a grid of eighths"),
    ("silent_ties", AlwaysFires, "with silent ties"),
    ("time_constants", UnscaledInput, r"spikes differ from the oracle's.*first in step 0: LIFSpec\(tau=1.01\)"),
    ("decays", ClampsDecays, r"PLIFSpec\(leak=0.0\)"),
    ("an_integer_time_constant", WholeSteps, r"LIFSpec\(tau=2, v_reset=0\), currents"),
    ("an_infinite_time_constant", MultipliedByTau, r"LIFSpec\(tau=inf, decay_input=False\), currents"),
    ("an_infinite_time_constant", LeaksALittle, r"LIFSpec\(tau=inf, decay_input=False\), currents"),
    ("every_threshold_form", ScalarThreshold, r"threshold of shape \[1, 4, 1\]"),
    ("every_threshold_form", WrongOrder, r"spikes differ from the oracle's.*CubaSpec"),
    ("spikes_in_every_dtype", Float32Inside, "float64"),
    ("spikes_in_every_dtype", LeaksToZero, r"outputs differ from the oracle's.*LISpec"),
    ("starts_from_rest", StartsAtZero, r"state at rest of LIFSpec\(v_reset=0.25\)"),
    ("continues_from_a_state", AlwaysFromRest, "another spike train"),
    ("continues_from_a_state", MembraneOff, "values of its membrane differ by more than"),
    ("continues_from_a_state", SwapsStates, r"values of its current differ.*CubaSpec"),
    ("continues_from_a_state", ForgetsRefractoriness, r"values of its refractory differ.*ALIFSpec"),
    ("parameters_for_all_and_for_each", MeanOfParameters, r"differ.*parameters tau \[8\]|spike train.*parameters tau"),
    ("parameters_over_frames", FromTheEnd, r"parameters tau \[4, 1, 1\]"),
    ("a_large_layer", WholeBlocks, r"spikes differ from the oracle's.*currents \[3, 33, 61, 37\]"),
    ("a_thousand_steps", ForgetsBetweenBlocks, r"another spike train.*currents \[1000"),
    ("every_surrogate", WrongSurrogate, "gradient of the currents: LIFSpec"),
    ("every_surrogate", OverflowingSigmoid, "off by nan of its largest.*surrogate='sigmoid'"),
    ("every_reset", AlwaysDetached, "gradient of the currents"),
    ("every_time_constant", TruncatedInTime, "LIFSpec.*tau=1.01"),
    ("gradients_without_a_leak", TruncatedInTime, "gradient of the currents: LIFSpec.*tau=inf"),
    ("gradients_without_a_leak", DividedTwice, "off by nan of its largest.*tau=inf"),
    ("learnable_thresholds", NoThresholdGradient, "no gradient of the threshold"),
    ("through_a_given_state", StateDetached, "no gradient of the state"),
    ("bfloat16_gradients", DetachedInHalf, "off by .* of its largest, more than 0.25: .*bfloat16"),
    ("bfloat16_gradients", WiderBoxInHalf, "off by .* of its largest, more than 0.25: .*box.*bfloat16"),
    ("every_kind_learns", NoParameterGradient, r"no gradient of the parameter tau|does not require grad"),
    ("every_kind_learns", DetachedRecovery, r"gradient of the .*AdLIFSpec"),
    ("gradients_are_slopes", NoParameterGradient, r"slope of the tau: LIFSpec"),
    ("back_through_a_thousand_steps", TruncatesBetweenBlocks, r"gradient of the currents: .*currents \[1000"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == set(cases_of(tables)) | set(cases_of(oracle))


class NearlyRight(TorchNeuron):
    """Its gradient of the currents is off by a share that an inexact backend is allowed."""

    kinds = ("lif",)

    def scan(self, currents, state=None, threshold=1.0, params=None):
        scaled = currents.detach() + (currents - currents.detach()) * (1 + 2e-5)
        return super().scan(scaled, state, threshold, params)


def test_the_worst_difference_that_was_allowed_is_kept_with_its_place(result_of) -> None:
    result = result_of(NearlyRight, "through_a_given_state")
    assert result.outcome == "passed"
    assert result.worst.difference == pytest.approx(2e-5, rel=0.2)
    assert result.worst.tolerance == pytest.approx(1000 * 2**-23)
    assert "gradient of the currents: LIFSpec(" in result.worst.where
    assert result_of(NearlyRight, "through_a_given_state", exact=True).outcome == "failed"


class ByReciprocal(TorchNeuron):
    """Right but for rounding: ``beta v + x/tau`` where the oracle has ``v + (x - v)/tau``."""

    kinds = ("lif",)

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        beta = 1 - 1 / spec.tau
        drive = (
            (current + (spec.v_reset or 0.0)) / spec.tau
            if spec.decay_input
            else current + (spec.v_reset or 0.0) / spec.tau
        )
        h = beta * state[0] + drive
        s = spike(h - threshold, spec.surrogate, spec.alpha)
        return s, (reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset),)


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
