"""Neurons that are not the plain objects they must be."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.testing.backend.interface import INTERFACE_CASES


class SharesTheMembrane(TorchNeuron):
    """Keeps the last membrane on the class, as a library that lists its neurons does."""

    shared: dict = {}  # noqa: RUF012

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        self.shared["last"] = v.detach()
        return spikes, v


class RefusesAll(TorchNeuron):
    def __init__(self, spec):
        raise SpikingError("mylib has no such neuron")


class LosesItsSpec(TorchNeuron):
    def __init__(self, spec):
        super().__init__(type(spec)())
        self.spec = None


class NoNeuron:
    def __init__(self, spec):
        self.spec = spec


class IsAModule(TorchNeuron, nn.Module):
    def __init__(self, spec):
        nn.Module.__init__(self)
        self.spec = spec


class HoldsAParameter(TorchNeuron):
    def __init__(self, spec):
        super().__init__(spec)
        self.cells = [{"decay": nn.Parameter(torch.tensor(0.5))}]


class KeepsTheThreshold(TorchNeuron):
    def step(self, current, state, threshold):
        self.cell = nn.Identity()
        self.cell.level = torch.as_tensor(threshold) * 1
        return super().step(current, state, threshold)


class MembraneInABuffer(TorchNeuron):
    """As a library's module does that keeps its state between calls."""

    def __init__(self, spec):
        super().__init__(spec)
        self.node = nn.Module()
        self.node.register_buffer("v", torch.zeros(()))

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        self.node.v = v.detach()
        return spikes, v


class RunsNoLibrary(TorchNeuron):
    """Says that it is built on a library, and computes by itself."""


class RunsItForFloats(TorchNeuron):
    """Leaves the library as soon as the threshold is a tensor."""

    def scan(self, currents, state=None, threshold=1.0):
        if not isinstance(threshold, torch.Tensor):
            import fractions

            fractions.Fraction(1, 3)
        return super().scan(currents, state, threshold)


CAUGHT = [
    ("accepts_a_neuron", RefusesAll, "refuses all of .* ordinary neurons.* mylib has no such neuron"),
    ("accepts_a_neuron", LosesItsSpec, "does not keep the spec"),
    ("is_a_plain_object", NoNeuron, "is no neurozoo.core.interfaces.Neuron"),
    ("is_a_plain_object", IsAModule, "is an nn.Module"),
    ("is_a_plain_object", HoldsAParameter, r"self.cells\[0\]\['decay'\] is a Parameter when made"),
    ("is_a_plain_object", KeepsTheThreshold, "self.cell.level requires a gradient after a call"),
    ("keeps_no_membrane", MembraneInABuffer, r"self.node._buffers\['v'\] has the size of the last batch"),
    ("keeps_no_membrane", SharesTheMembrane, r"SharesTheMembrane\['shared'\]\['last'\] has the size"),
    ("runs_its_library", RunsNoLibrary, "float threshold runs no Python function of fractions"),
    ("runs_its_library", RunsItForFloats, "tensor threshold runs no Python function of fractions"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case, requires=("fractions",))
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == {case.__name__ for case in INTERFACE_CASES}


def test_a_backend_that_names_no_library_is_not_asked_to_run_one(result_of) -> None:
    result = result_of(TorchNeuron, "runs_its_library")
    assert (result.outcome, result.problem) == ("not run", "it names no library in Component.requires")
