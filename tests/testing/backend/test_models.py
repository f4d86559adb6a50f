"""Neurons that make a model which cannot be copied, stored, loaded or moved."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend.devices import DEVICE_CASES
from neurozoo.testing.backend.models import MODEL_CASES


class KeptGraph(TorchNeuron):
    def step(self, current, state, threshold):
        spikes, self.v = super().step(current, state, threshold)
        return spikes, self.v


class MembraneInABuffer(nn.Module, TorchNeuron):
    """A module, so that its membrane is in the checkpoint."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.register_buffer("v", torch.zeros(()))

    def step(self, current, state, threshold):
        spikes, v = TorchNeuron.step(self, current, state, threshold)
        self.v = v.detach()
        return spikes, v


class DrawsItsNoise(TorchNeuron):
    """Holds random numbers that no checkpoint has."""

    def __init__(self, spec):
        super().__init__(spec)
        self.noise = torch.rand(()) * 5

    def step(self, current, state, threshold):
        return super().step(current + self.noise, state, threshold)


class OnTheCPU(TorchNeuron):
    """Makes its first membrane on the default device."""

    def initial_state(self, current):
        return torch.zeros(current.shape, dtype=current.dtype)


class HandsOutTheCPU(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0):
        spikes, v = super().scan(currents, state, threshold)
        return spikes, torch.zeros(v.shape) if v.device.type == "meta" else v


class NoMetaKernel(TorchNeuron):
    """As a compiled operator without a meta kernel."""

    def scan(self, currents, state=None, threshold=1.0):
        if currents.device.type == "meta":
            raise NotImplementedError("Could not run 'mylib::lif' with arguments from the 'Meta' backend.\nand so on")
        return super().scan(currents, state, threshold)


CAUGHT = [
    ("a_model_can_be_copied", KeptGraph, "deepcopy of a model after a backward"),
    ("a_checkpoint_holds_the_cores_tensors_alone", MembraneInABuffer, "has lif1.neuron.v, lif2.neuron.v that it has"),
    ("a_checkpoint_comes_back", DrawsItsNoise, "spikes of a newly built model with stored weights"),
    ("tensors_are_made_on_the_currents_device", OnTheCPU, "on the meta device: .*make tensors with device"),
    ("tensors_are_made_on_the_currents_device", HandsOutTheCPU, "membrane of currents on meta are on cpu"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught(case, wrong, problem, result_of) -> None:
    torch.manual_seed(0)  # two draws of noise may otherwise be near enough to give the same spikes
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == {case.__name__ for case in (*MODEL_CASES, *DEVICE_CASES)}


def test_an_operator_without_a_meta_kernel_is_no_fault(result_of) -> None:
    result = result_of(NoMetaKernel, "tensors_are_made_on_the_currents_device")
    assert result.outcome == "not run"
    assert result.problem.endswith("Could not run 'mylib::lif' with arguments from the 'Meta' backend.")


def test_the_cases_draw_no_random_numbers_of_the_callers(result_of) -> None:
    torch.manual_seed(7)
    result_of(TorchNeuron, "a_checkpoint_comes_back")
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(3))
