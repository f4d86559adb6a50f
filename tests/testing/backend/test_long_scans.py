"""Neurons that lose something on the way, or take too long."""

from __future__ import annotations

import re

import pytest
import torch

from neurozoo.core.interfaces import steps_of
from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend.long_scans import LONG_CASES


class Blocks(TorchNeuron):
    """Runs 256 steps at a time."""

    def scan(self, currents, state=None, threshold=1.0):
        spikes = []
        for block in currents.split(256):
            s, state = super().scan(block, state, threshold)
            spikes.append(s)
            state = self.between(state)
        return torch.cat(spikes), state


class ForgetsBetweenBlocks(Blocks):
    def between(self, state):
        return torch.zeros_like(state)


class TruncatesBetweenBlocks(Blocks):
    def between(self, state):
        return state.detach()


class Quadratic(TorchNeuron):
    """Indexes the currents, so that each step's backward is as long as all of them."""

    def scan(self, currents, state=None, threshold=1.0):
        thresholds = steps_of(threshold, currents)
        v = self.initial_state(currents[0]) if state is None else state
        spikes = []
        for step in range(currents.shape[0]):
            s, v = self.step(currents[step], v, thresholds[step])
            spikes.append(s)
        return torch.stack(spikes), v


class WholeBlocks(TorchNeuron):
    """A kernel in blocks of 2,048 neurons, which leaves out what is left over."""

    def step(self, current, state, threshold):
        spikes, v = super().step(current, state, threshold)
        if spikes.numel() > 2048:
            rest = spikes.numel() % 2048
            silent = torch.ones_like(spikes).flatten()
            silent[len(silent) - rest :] = 0
            spikes = spikes * silent.reshape(spikes.shape)
        return spikes, v


CAUGHT = [
    ("a_large_layer", WholeBlocks, r"spikes differ from the oracle's.*currents \[3, 33, 61, 37\]"),
    ("a_thousand_steps", ForgetsBetweenBlocks, r"another spike train.*currents \[1000"),
    ("back_through_a_thousand_steps", TruncatesBetweenBlocks, r"gradient of the currents: .*currents \[1000"),
    ("work_grows_with_the_steps", Quadratic, r"3\.\d times as many; take the steps by currents.unbind"),
]


@pytest.mark.parametrize(("case", "wrong", "problem"), CAUGHT)
def test_a_wrong_neuron_is_caught_even_as_an_inexact_one(case, wrong, problem, result_of) -> None:
    result = result_of(wrong, case)
    assert result.outcome == "failed"
    assert re.search(problem, result.problem)


def test_no_case_is_left_out() -> None:
    assert {case for case, _, _ in CAUGHT} == {case.__name__ for case in LONG_CASES}
