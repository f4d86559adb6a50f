"""Neurons that do something else when two processes train them together."""

from __future__ import annotations

import importlib
import sys
import textwrap

import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend import data_parallel
from neurozoo.testing.kits import cases_of

WRONG = """

    import os
    import time
    import torch
    from torch import distributed, nn
    from neurozoo.core.layer import TorchNeuron


    class MembraneInABuffer(nn.Module, TorchNeuron):
        '''Goes on from its last membrane, which is broadcast from the first process to the second.'''

        def __init__(self, spec):
            super().__init__()
            self.spec = spec
            self.register_buffer("v", torch.zeros(1))

        def scan(self, currents, state=None, threshold=1.0, params=None):
            self.v = self.v.expand(currents.shape[1:2]).clone()
            spikes, v = TorchNeuron.scan(self, currents + self.v[:, None], state, threshold, params)
            self.v = v[0].detach().mean(1)
            return spikes, v


    class ByRank(TorchNeuron):
        '''Learns half as much in a pair.'''

        def step(self, current, state, threshold, params=None):
            if distributed.is_initialized():
                current = current.detach() + (current - current.detach()) / 2
            return super().step(current, state, threshold, params)


    class Hangs(TorchNeuron):
        '''Its second process waits for something of its own.'''

        def scan(self, currents, state=None, threshold=1.0, params=None):
            if distributed.is_initialized() and distributed.get_rank() == 1:
                distributed.recv(torch.zeros(1), 0, tag=5)
            return super().scan(currents, state, threshold, params)


    class Dies(TorchNeuron):
        def scan(self, currents, state=None, threshold=1.0, params=None):
            if distributed.is_initialized() and distributed.get_rank() == 1:
                raise KeyError("no kernel for rank 1")
            return super().scan(currents, state, threshold, params)


    class DiesLast(TorchNeuron):
        '''The first process is gone before the second, whose fault it is, has said so.'''

        def scan(self, currents, state=None, threshold=1.0, params=None):
            if distributed.is_initialized():
                if distributed.get_rank() == 0:
                    os.abort()
                time.sleep(1)
                raise KeyError("no kernel for rank 1")
            return super().scan(currents, state, threshold, params)
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module that another process can import."""
    (tmp_path / "strangers_neurons.py").write_text(textwrap.dedent(WRONG))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("strangers_neurons")
    sys.modules.pop("strangers_neurons")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("MembraneInABuffer", "lif: the spikes in step 1, of two processes and of one: "),
        pytest.param("ByRank", "lif: gradient of threshold in step 0, of process 0 of a pair", marks=pytest.mark.slow),
        pytest.param(
            "DiesLast",
            "process 1 of a data-parallel pair ended with status 1: [rank1]: KeyError: 'no kernel",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "Dies",
            "process 1 of a data-parallel pair ended with status 1: [rank1]: KeyError: 'no kernel",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_wrong_neuron_is_caught(wrong, problem, stranger, result_of) -> None:
    result = result_of(getattr(stranger, wrong), "a_data_parallel_pair")
    assert result.outcome == "failed"
    assert problem in result.problem


def test_there_is_one_case() -> None:
    assert list(cases_of(data_parallel)) == ["a_data_parallel_pair"]


def test_a_pair_that_hangs_is_ended(stranger, result_of, monkeypatch) -> None:
    monkeypatch.setattr(data_parallel, "TIMEOUT", 3.0)
    result = result_of(stranger.Hangs, "a_data_parallel_pair")
    assert result.outcome == "failed"
    assert "a data-parallel pair did not end within 3 s" in result.problem


def test_a_class_that_no_other_process_can_import_is_no_fault(result_of) -> None:
    class Local(TorchNeuron):
        pass

    result = result_of(Local, "a_data_parallel_pair")
    assert result.outcome == "not run"
    assert "another process cannot import" in result.problem
    assert "Local'; define it at the top of a module" in result.problem


def test_without_gloo_it_is_not_run(result_of, monkeypatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    result = result_of(TorchNeuron, "a_data_parallel_pair")
    assert (result.outcome, result.problem) == ("not run", "this torch has no torch.distributed with gloo")
