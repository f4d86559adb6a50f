"""Neurons that are wrong in corners that only made-up calls reach."""

from __future__ import annotations

import builtins
import re

import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.testing.backend import properties
from neurozoo.testing.kits import cases_of


class Saturates(TorchNeuron):
    """Clips currents to what its chip can hold."""

    def step(self, current, state, threshold, params=None):
        return super().step(current.clamp(-100.0, 100.0), state, threshold, params)


class CountsSteps(TorchNeuron):
    """Leaks more in the second step of each call."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        bias = torch.zeros(currents.shape[0], *[1] * (currents.dim() - 1), dtype=currents.dtype)
        bias[1:2] = 0.5
        return super().scan(currents - bias, state, threshold, params)


class FirstSampleFirst(TorchNeuron):
    """Each sample inhibits the next."""

    def scan(self, currents, state=None, threshold=1.0, params=None):
        return super().scan(currents - currents.roll(1, 1).relu() / 2, state, threshold, params)


class FixedAlpha(TorchNeuron):
    """Ignores the steepness of one surrogate, as one library does."""

    kinds = ("lif",)

    def __init__(self, spec):
        super().__init__(spec)
        if spec.surrogate == "superspike":
            self.spec = type(spec)(**{**vars(spec), "alpha": 2.0})


CAUGHT = [
    ("any_spikes", Saturates, "its membrane differ|spikes differ"),
    ("any_cut", CountsSteps, "cut after step 1: LIFSpec"),
    ("any_order_of_samples", FirstSampleFirst, "samples in another order: LIFSpec"),
    ("any_gradients", FixedAlpha, r"off by .*surrogate='superspike', alpha="),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == set(cases_of(properties))


def test_the_examples_are_the_same_each_time(result_of) -> None:
    results = [result_of(TorchNeuron, "any_spikes") for _ in range(2)]
    assert results[0] == results[1]
    assert results[0].compared > 500


def test_only_neurons_that_it_accepts_are_made_up(result_of) -> None:
    class OnlySoft(TorchNeuron):
        def __init__(self, spec):
            if getattr(spec, "v_reset", None) is not None:
                raise SpikingError("resets by subtraction only")
            super().__init__(spec)

    result = result_of(OnlySoft, "any_spikes")
    assert result.outcome == "passed"
    assert result.compared > 0
    assert all("v_reset=None" not in refused for refused in result.refused)


def test_without_hypothesis_it_is_not_run_and_says_how_to_get_it(result_of, monkeypatch) -> None:
    real = builtins.__import__

    def no_hypothesis(name, *args, **kwargs):
        if name.partition(".")[0] == "hypothesis":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_hypothesis)
    result = result_of(TorchNeuron, "any_cut")
    assert (result.outcome, result.problem) == ("not run", "needs hypothesis: pip install 'neurozoo-toolkit[testing]'")
