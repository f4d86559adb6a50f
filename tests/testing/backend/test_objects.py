"""Neurons that keep something of a call, or run and refuse the wrong ones."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from neurozoo.core.kinds import ALIFSpec, CubaSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.testing.backend import objects
from neurozoo.testing.kits import cases_of


class AnyThresholdShape(TorchNeuron):
    """Lets torch broadcast whatever it can."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        v = self.initial_state(currents[0]) if state is None else state
        levels = torch.as_tensor(threshold, dtype=currents.dtype).expand(currents.shape)
        spikes = []
        for current, level in zip(currents.unbind(0), levels.unbind(0), strict=True):
            s, v = self.step(current, v, level, params)
            spikes.append(s)
        return torch.stack(spikes), v


class NoStepsNoSpikes(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0, params=None):
        if not currents.numel():
            return currents, (currents.sum(0),)
        return super().scan(currents, state, threshold, params)


class FreshState(TorchNeuron):
    """Starts again from rest where the state does not fit."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if state is not None and state[0].shape != currents.shape[1:]:
            state = None
        return super().scan(currents, state, threshold, params)


class LeakedState(TorchNeuron):
    """Goes on from where the last call ended."""

    last = None

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if state is None and self.last is not None and self.last[0].shape == currents.shape[1:]:
            state = self.last
        spikes, v = super().scan(currents, state, threshold, params)
        self.last = (v[0].detach(),)
        return spikes, v


class KeptGraph(TorchNeuron):
    """Keeps the last membrane with its graph, which deepcopy refuses."""

    def step(self, current, state, threshold, params=None):
        spikes, self.v = super().step(current, state, threshold, params)
        return spikes, self.v


class InPlace(TorchNeuron):
    """Writes the membrane into the caller's tensor."""

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        with torch.no_grad():
            state[0].copy_(v[0])
        return spikes, v


class SharesTheMembrane(TorchNeuron):
    """Keeps the last membrane on the class, as a library that lists its neurons does."""

    shared: dict = {}  # noqa: RUF012

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        self.shared["last"] = v[0].detach()
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
    def step(self, current, state, threshold, params=None):
        self.cell = nn.Identity()
        self.cell.level = torch.as_tensor(threshold) * 1
        return super().step(current, state, threshold, params)


class MembraneInABuffer(TorchNeuron):
    """As a library's module does that keeps its state between calls."""

    def __init__(self, spec):
        super().__init__(spec)
        self.node = nn.Module()
        self.node.register_buffer("v", torch.zeros(()))

    def step(self, current, state, threshold, params=None):
        spikes, v = super().step(current, state, threshold, params)
        self.node.v = v[0].detach()
        return spikes, v


class RunsNoLibrary(TorchNeuron):
    """Says that it is built on a library, and computes by itself."""


class RunsItForFloats(TorchNeuron):
    """Leaves the library as soon as the threshold is a tensor."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if not isinstance(threshold, torch.Tensor):
            import fractions

            fractions.Fraction(1, 3)
        return super().scan(currents, state, threshold, params)


class DeclaresTooMuch(TorchNeuron):
    """Says that it runs the adaptive kinds, and refuses them."""

    @classmethod
    def refusal(cls, spec):
        return "mylib has no alif" if isinstance(spec, ALIFSpec) else ""


class RefusesInTheConstructor(TorchNeuron):
    def __init__(self, spec):
        if isinstance(spec, CubaSpec) and spec.gain != 1.0:
            raise SpikingError("mylib has no cuba with a gain")
        super().__init__(spec)


class RefusesWithoutAName(TorchNeuron):
    kinds = ("lif",)

    @classmethod
    def refusal(cls, spec):
        return "" if spec.kind == "lif" else "no such neuron here"


class TakesAnyParameter(TorchNeuron):
    def scan(self, currents, state=None, threshold=1.0, params=None):
        known = {k: v for k, v in (params or {}).items() if k in self.spec.parameters}
        return super().scan(currents, state, threshold, known)


class TakesAnyShape(TorchNeuron):
    """Looks at the last axis alone."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        used = self.spec.complete(params)
        if any(v.shape[-1:] != currents.shape[-1:] for v in used.values() if isinstance(v, torch.Tensor)):
            raise SpikingError("not one value a neuron")
        carried, made = self.initial_state(currents[0]) if state is None else state, []
        for current in currents.unbind(0):
            out, carried = self.step(current, carried, threshold, used)
            made.append(out)
        return torch.stack(made), carried


CAUGHT = [
    ("accepts_a_neuron", RefusesAll, "refuses all of .* ordinary neurons.* mylib has no such neuron"),
    ("accepts_a_neuron", LosesItsSpec, "does not keep the spec"),
    ("refusals_name_the_neuron", DeclaresTooMuch, "it declares alif in `kinds`, and takes 0 of 2"),
    ("refusals_name_the_neuron", RefusesInTheConstructor, "decide in `refusal` alone"),
    ("refusals_name_the_neuron", RefusesWithoutAName, "without naming if: no such neuron here"),
    ("is_a_plain_object", NoNeuron, "is no neurozoo.core.neuron.Neuron"),
    ("is_a_plain_object", IsAModule, "is an nn.Module"),
    ("is_a_plain_object", HoldsAParameter, r"self.cells\[0\]\['decay'\] is a Parameter when made"),
    ("is_a_plain_object", KeepsTheThreshold, "self.cell.level requires a gradient after a call"),
    ("keeps_no_membrane", MembraneInABuffer, r"self.node._buffers\['v'\] has the size of the last batch"),
    ("keeps_no_membrane", SharesTheMembrane, r"SharesTheMembrane\['shared'\]\['last'\] has the size"),
    ("runs_its_library", RunsNoLibrary, "float threshold runs no Python function of fractions"),
    ("runs_its_library", RunsItForFloats, "tensor threshold runs no Python function of fractions"),
    ("can_be_copied_after_a_forward", KeptGraph, "deepcopy after a forward"),
    ("other_threshold_shapes_are_refused", AnyThresholdShape, r"threshold of \(8,\) was accepted; raise SpikingError"),
    ("currents_without_steps_are_refused", NoStepsNoSpikes, r"currents of \(0, 4, 8\) was accepted"),
    ("a_state_of_another_batch_is_refused", FreshState, "state of batch 5 was accepted for currents of batch 4"),
    ("parameters_are_checked", TakesAnyParameter, r"a parameter 'nonsense' was accepted by LIFSpec\(\)"),
    ("parameters_are_checked", TakesAnyShape, r"tau of shape \[4, 8\] was accepted by LIFSpec\(\)"),
    ("arguments_are_left_alone", InPlace, "state after the call"),
    ("nothing_is_kept_between_calls", LeakedState, "spikes of the same call, made twice"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case, requires=("fractions",))
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == set(cases_of(objects))


def test_a_backend_that_names_no_library_is_not_asked_to_run_one(result_of) -> None:
    result = result_of(TorchNeuron, "runs_its_library")
    assert (result.outcome, result.problem) == ("not run", "it names no library in Component.requires")
