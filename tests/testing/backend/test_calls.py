"""Neurons that mix up samples and steps, or lose a shape or dtype."""

from __future__ import annotations

import re

import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import steps_of
from neurozoo.errors import SpikingError
from neurozoo.testing.backend import calls
from neurozoo.testing.kits import cases_of


class OwnMembrane(TorchNeuron):
    """Goes by its own membrane while a sequence is stepped, which is right for one sequence at a time."""

    v = None

    def step(self, current, state, threshold, params=None):
        resting = bool((state[0] == (self.spec.v_reset or 0.0)).all())
        spikes, self.v = super().step(current, state if resting or self.v is None else self.v, threshold, params)
        return spikes, self.v


class SharedMembrane(OwnMembrane):
    """The same, with a membrane that all neurons share."""

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        SharedMembrane.v, self.__dict__ = v, {"spec": self.spec}
        return spikes, v


class BatchNormalised(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0, params=None):
        return super().scan(currents - currents.mean(1, keepdim=True), state, threshold, params)


class SlowScan(TorchNeuron):
    """Its steps are right; its scan, a kernel of its own, gains a little from block to block."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if currents.shape[0] < 3:
            return super().scan(currents, state, threshold, params)
        by_step = isinstance(threshold, torch.Tensor) and threshold.dim() > 0 and threshold.shape[0] > 1
        early, late = (threshold[:2], threshold[2:]) if by_step else (threshold, threshold)
        head, v = super().scan(currents[:2], state, early, params)
        tail, v = super().scan(currents[2:], (v[0] * 1.01,), late, params)
        return torch.cat([head, tail]), v


class CachedThreshold(TorchNeuron):
    """Prepares each threshold once, and knows it again by its identity."""

    def __init__(self, spec):
        super().__init__(spec)
        self.prepared = {}

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if isinstance(threshold, torch.Tensor):
            threshold = self.prepared.setdefault(id(threshold), threshold.clone())
        return super().scan(currents, state, threshold, params)


class LazyMembrane(TorchNeuron):
    """Hands out spikes that are a view of the threshold's memory where nothing fires."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        spikes, v = super().scan(currents, state, threshold, params)
        lazy = isinstance(threshold, torch.Tensor) and not threshold.dim()
        return spikes, ((threshold.expand(v[0].shape),) if lazy else v)


class AlwaysFloat32(TorchNeuron):
    """Spikes are float32 whatever came in, as one library's."""

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        return spikes.float(), v


class PromotingConstant(TorchNeuron):
    """A constant of float32 makes bfloat16 into float32."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, tuple(x * torch.ones(x.shape[-1]) for x in state), threshold, params)


class TakesMemoryAsDense(TorchNeuron):
    """Reads the currents as a kernel does that never asks for their strides."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if currents.numel() <= currents.untyped_storage().nbytes() // currents.element_size():
            currents = currents.as_strided(currents.shape, torch.empty(currents.shape).stride())
        return super().scan(currents, state, threshold, params)


class SqueezesOneStep(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0, params=None):
        spikes, v = super().scan(currents, state, threshold, params)
        return spikes.squeeze(0), v


class NeedsASample(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0, params=None):
        if currents.shape[0] and not currents.numel():
            raise SpikingError("no sample")
        return super().scan(currents, state, threshold, params)


class NoGradientOfNothing(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0, params=None):
        if currents.shape[0] and not currents.numel():
            return currents.detach(), (currents.detach()[0],)
        return super().scan(currents, state, threshold, params)


class ParametersOnce(TorchNeuron):
    """Uses the parameters of a call for its first half."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        half = max(1, len(currents) // 2) if params else len(currents)
        early, carried = super().scan(currents[:half], state, threshold, params)
        if half == len(currents):
            return early, carried
        late, carried = super().scan(currents[half:], carried, threshold)
        return torch.cat([early, late]), carried


class Quadratic(TorchNeuron):
    """Indexes the currents, so that each step's backward is as long as all of them."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        thresholds = steps_of(threshold, currents)
        v = self.initial_state(currents[0]) if state is None else state
        spikes = []
        for step in range(currents.shape[0]):
            s, v = self.step(currents[step], v, thresholds[step], params)
            spikes.append(s)
        return torch.stack(spikes), v


CAUGHT = [
    ("sequences_may_be_interleaved", OwnMembrane, "interleaved sequences on one neuron"),
    ("sequences_may_be_interleaved", SharedMembrane, "interleaved sequences on"),
    ("a_sample_is_alone", BatchNormalised, "first 1 samples by themselves"),
    ("chunked_equals_whole", SlowScan, r"cut after step 1, LIFSpec\(\), threshold 0.7"),
    ("chunked_equals_whole", ParametersOnce, r"cut after step 3, LIFSpec\(\), threshold 0.7, parameters tau"),
    ("steps_equal_the_scan", SlowScan, "the last state|spikes of step"),
    ("thresholds_are_read_at_each_call", CachedThreshold, "changed in place before the call"),
    ("thresholds_are_read_at_each_call", LazyMembrane, "state after its threshold was changed in place"),
    ("dtypes_are_kept", AlwaysFloat32, "dtype of its spikes"),
    ("dtypes_are_kept", PromotingConstant, "torch.float32.*not.*torch.bfloat16"),
    ("any_memory_layout", TakesMemoryAsDense, "spikes of transposed currents"),
    ("one_step", SqueezesOneStep, r"spikes of one step: shape \[4, 8\], not \[1, 4, 8\]"),
    ("an_empty_batch", NeedsASample, "no sample"),
    ("an_empty_batch", NoGradientOfNothing, "does not require grad"),
    ("work_grows_with_the_steps", Quadratic, r"3\.\d times as many; take the steps by currents.unbind"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == set(cases_of(calls))
