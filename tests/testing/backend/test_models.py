"""Neurons that make a model which cannot be copied, stored, loaded, moved or compiled."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend import models
from neurozoo.testing.kits import cases_of


class KeptGraph(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        spikes, self.v = super().step(current, state, threshold, params)
        return spikes, self.v


class MembraneInABuffer(nn.Module, TorchNeuron):
    """A module, so that its membrane is in the checkpoint."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.register_buffer("v", torch.zeros(()))

    def step(self, current, state, threshold, params=None):
        spikes, v = TorchNeuron.step(self, current, state, threshold, params)
        self.v = v[0].detach()
        return spikes, v


class DrawsItsNoise(TorchNeuron):
    """Holds random numbers that no checkpoint has."""

    def __init__(self, spec):
        super().__init__(spec)
        self.noise = torch.rand(()) * 5

    def step(self, current, state, threshold, params=None):
        return super().step(current + self.noise, state, threshold, params)


class OnTheCPU(TorchNeuron):
    """Makes its first membrane on the default device."""

    def initial_state(self, current, params=None):
        return (torch.zeros(current.shape, dtype=current.dtype),)


class HandsOutTheCPU(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0, params=None):
        spikes, v = super().scan(currents, state, threshold, params)
        return spikes, (torch.zeros(v[0].shape),) if v[0].device.type == "meta" else v


class NoMetaKernel(TorchNeuron):
    """As a compiled operator without a meta kernel."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if currents.device.type == "meta":
            raise NotImplementedError("Could not run 'mylib::lif' with arguments from the 'Meta' backend.\nand so on")
        return super().scan(currents, state, threshold, params)


class Breaks(TorchNeuron):
    """Decides by a number in a tensor."""

    def step(self, current, state, threshold, params=None):
        if current.sum() > 1e9:
            raise OverflowError
        return super().step(current, state, threshold, params)


class SaysThatItBreaks(Breaks):
    kinds = ("lif",)
    graph_breaks = True


class OtherWhenCompiled(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        return super().step(current + 3 if torch.compiler.is_compiling() else current, state, threshold, params)


class WorksOnce(TorchNeuron):
    graph_breaks = True
    calls = 0

    def scan(self, currents, state=None, threshold=1.0, params=None):
        self.calls += 1
        if self.calls > 1:
            raise OverflowError("no kernel")
        return super().scan(currents, state, threshold, params)


CAUGHT = [
    ("a_model_can_be_copied", KeptGraph, "deepcopy of a model after a backward"),
    ("a_checkpoint_holds_the_cores_tensors_alone", MembraneInABuffer, "has lif1.neuron.v, lif2.neuron.v that it has"),
    ("a_checkpoint_comes_back", DrawsItsNoise, "spikes of a newly built model with stored weights"),
    ("tensors_are_made_on_the_currents_device", OnTheCPU, "on the meta device: .*make tensors with device"),
    ("tensors_are_made_on_the_currents_device", HandsOutTheCPU, "membrane of currents on meta are on cpu"),
    ("can_be_compiled", Breaks, "cannot trace it as one graph.*declare graph_breaks.*Data-dependent branching"),
    ("can_be_compiled", OtherWhenCompiled, r"spikes when compiled: LIFSpec\(\)"),
    ("can_be_compiled", WorksOnce, "it declares graph_breaks, and fails when compiled all the same"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught(case, wrong, problem, result_of) -> None:
    torch.manual_seed(0)  # two draws of noise may otherwise be near enough to give the same spikes
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == set(cases_of(models))


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


def test_a_graph_break_may_be_declared(result_of) -> None:
    assert result_of(SaysThatItBreaks, "can_be_compiled").outcome == "passed"


def test_where_nothing_compiles_it_is_no_fault(result_of, monkeypatch) -> None:
    def refuse(*_args, **_options):
        raise RuntimeError("Dynamo is not supported on Python 3.99+")

    monkeypatch.setattr(torch, "compile", refuse)
    result = result_of(TorchNeuron, "can_be_compiled")
    assert result.outcome == "not run"
    assert "torch.compile does not work here: RuntimeError: Dynamo is not supported" in result.problem
