"""Neurons that remember, mix up samples, or take what they should refuse."""

from __future__ import annotations

import re

import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.testing.backend.calls import CALL_CASES


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


class NoStepsNoSpikes(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0):
        if not currents.numel():
            return currents, currents.sum(0)
        return super().scan(currents, state, threshold)


class FreshState(TorchNeuron):
    """Starts again from rest where the state does not fit."""

    def scan(self, currents, state=None, threshold=1.0):
        if state is not None and state.shape != currents.shape[1:]:
            state = None
        return super().scan(currents, state, threshold)


class LeakedState(TorchNeuron):
    """Goes on from where the last call ended."""

    last = None

    def scan(self, currents, state=None, threshold=1.0):
        if state is None and self.last is not None and self.last.shape == currents.shape[1:]:
            state = self.last
        spikes, v = super().scan(currents, state, threshold)
        self.last = v.detach()
        return spikes, v


class OwnMembrane(TorchNeuron):
    """Goes by its own membrane while a sequence is stepped, which is right for one sequence at a time."""

    v = None

    def step(self, current, state, threshold):
        resting = bool((state == self.spec.rest).all())
        spikes, self.v = super().step(current, state if resting or self.v is None else self.v, threshold)
        return spikes, self.v


class SharedMembrane(OwnMembrane):
    """The same, with a membrane that all neurons share."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        SharedMembrane.v, self.__dict__ = v, {"spec": self.spec}
        return spikes, v


class BatchNormalised(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0):
        return super().scan(currents - currents.mean(1, keepdim=True), state, threshold)


class SlowScan(TorchNeuron):
    """Its steps are right; its scan, a kernel of its own, gains a little from block to block."""

    def scan(self, currents, state=None, threshold=1.0):
        if currents.shape[0] < 3:
            return super().scan(currents, state, threshold)
        by_step = isinstance(threshold, torch.Tensor) and threshold.dim() > 0 and threshold.shape[0] > 1
        early, late = (threshold[:2], threshold[2:]) if by_step else (threshold, threshold)
        head, v = super().scan(currents[:2], state, early)
        tail, v = super().scan(currents[2:], v * 1.01, late)
        return torch.cat([head, tail]), v


class CachedThreshold(TorchNeuron):
    """Prepares each threshold once, and knows it again by its identity."""

    def __init__(self, spec):
        super().__init__(spec)
        self.prepared = {}

    def scan(self, currents, state=None, threshold=1.0):
        if isinstance(threshold, torch.Tensor):
            threshold = self.prepared.setdefault(id(threshold), threshold.clone())
        return super().scan(currents, state, threshold)


class LazyMembrane(TorchNeuron):
    """Hands out spikes that are a view of the threshold's memory where nothing fires."""

    def scan(self, currents, state=None, threshold=1.0):
        spikes, v = super().scan(currents, state, threshold)
        return spikes, (threshold.expand(v.shape) if isinstance(threshold, torch.Tensor) and not threshold.dim() else v)


class AlwaysFloat32(TorchNeuron):
    """Spikes are float32 whatever came in, as one library's."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        return spikes.float(), v


class PromotingConstant(TorchNeuron):
    """A constant of float32 makes bfloat16 into float32."""

    def step(self, current, state, threshold):
        return super().step(current, state * torch.ones(state.shape[-1]), threshold)


class TakesMemoryAsDense(TorchNeuron):
    """Reads the currents as a kernel does that never asks for their strides."""

    def scan(self, currents, state=None, threshold=1.0):
        if currents.numel() <= currents.untyped_storage().nbytes() // currents.element_size():
            currents = currents.as_strided(currents.shape, torch.empty(currents.shape).stride())
        return super().scan(currents, state, threshold)


class SqueezesOneStep(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0):
        spikes, v = super().scan(currents, state, threshold)
        return spikes.squeeze(0), v


class NeedsASample(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0):
        if currents.shape[0] and not currents.numel():
            raise SpikingError("no sample")
        return super().scan(currents, state, threshold)


class NoGradientOfNothing(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0):
        if currents.shape[0] and not currents.numel():
            return currents.detach(), currents.detach()[0]
        return super().scan(currents, state, threshold)


class KeptGraph(TorchNeuron):
    """Keeps the last membrane with its graph, which deepcopy refuses."""

    def step(self, current, state, threshold):
        spikes, self.v = super().step(current, state, threshold)
        return spikes, self.v


class InPlace(TorchNeuron):
    """Writes the membrane into the caller's tensor."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        with torch.no_grad():
            state.copy_(v)
        return spikes, v


CAUGHT = [
    ("other_threshold_shapes_are_refused", AnyThresholdShape, r"threshold of \(8,\) was accepted; raise SpikingError"),
    ("currents_without_steps_are_refused", NoStepsNoSpikes, r"currents of \(0, 4, 8\) was accepted"),
    ("a_state_of_another_batch_is_refused", FreshState, "state of batch 5 was accepted for currents of batch 4"),
    ("nothing_is_kept_between_calls", LeakedState, "spikes of the same call, made twice"),
    ("sequences_may_be_interleaved", OwnMembrane, "interleaved sequences on one neuron"),
    ("sequences_may_be_interleaved", SharedMembrane, "interleaved sequences on"),
    ("a_sample_is_alone", BatchNormalised, "first 1 samples by themselves"),
    ("chunked_equals_whole", SlowScan, r"cut after step 1, LIFSpec\(\), threshold 0.7"),
    ("steps_equal_the_scan", SlowScan, "the last membrane|spikes of step"),
    ("thresholds_are_read_at_each_call", CachedThreshold, "changed in place before the call"),
    ("thresholds_are_read_at_each_call", LazyMembrane, "membrane after its threshold was changed in place"),
    ("dtypes_are_kept", AlwaysFloat32, "dtypes of spikes and membrane"),
    ("dtypes_are_kept", PromotingConstant, "torch.float32.*not.*torch.bfloat16"),
    ("any_memory_layout", TakesMemoryAsDense, "spikes of transposed currents"),
    ("one_step", SqueezesOneStep, r"spikes of one step: shape \[4, 8\], not \[1, 4, 8\]"),
    ("an_empty_batch", NeedsASample, "no sample"),
    ("an_empty_batch", NoGradientOfNothing, "does not require grad"),
    ("can_be_copied_after_a_forward", KeptGraph, "deepcopy after a forward"),
    ("arguments_are_left_alone", InPlace, "state after the call"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == {case.__name__ for case in CALL_CASES}
