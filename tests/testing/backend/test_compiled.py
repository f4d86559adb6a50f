"""Neurons that torch.compile cannot trace, and those that say so."""

from __future__ import annotations

import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.backend.compiled import COMPILED_CASES


class Breaks(TorchNeuron):
    """Decides by a number in a tensor."""

    def step(self, current, state, threshold):
        if current.sum() > 1e9:
            raise OverflowError
        return super().step(current, state, threshold)


class SaysThatItBreaks(Breaks):
    graph_breaks = True


class OtherWhenCompiled(TorchNeuron):
    def step(self, current, state, threshold):
        return super().step(current + 3 if torch.compiler.is_compiling() else current, state, threshold)


class WorksOnce(TorchNeuron):
    graph_breaks = True
    calls = 0

    def scan(self, currents, state=None, threshold=1.0):
        self.calls += 1
        if self.calls > 1:
            raise OverflowError("no kernel")
        return super().scan(currents, state, threshold)


def test_there_is_one_case() -> None:
    assert [case.__name__ for case in COMPILED_CASES] == ["can_be_compiled"]


def test_a_graph_break_is_caught_unless_it_is_declared(result_of) -> None:
    result = result_of(Breaks, "can_be_compiled")
    assert result.outcome == "failed"
    assert "cannot trace it as one graph; where that is the library's doing, declare graph_breaks" in result.problem
    assert "Unsupported: Data-dependent branching" in result.problem
    assert result_of(SaysThatItBreaks, "can_be_compiled").outcome == "passed"


def test_what_is_compiled_must_do_the_same(result_of) -> None:
    assert "spikes when compiled: LIFSpec()" in result_of(OtherWhenCompiled, "can_be_compiled").problem
    failed = result_of(WorksOnce, "can_be_compiled")
    assert failed.outcome == "failed"
    assert "it declares graph_breaks, and fails when compiled all the same" in failed.problem


def test_where_nothing_compiles_it_is_no_fault(result_of, monkeypatch) -> None:
    def refuse(*_args, **_options):
        raise RuntimeError("Dynamo is not supported on Python 3.99+")

    monkeypatch.setattr(torch, "compile", refuse)
    result = result_of(TorchNeuron, "can_be_compiled")
    assert result.outcome == "not run"
    assert "torch.compile does not work here: RuntimeError: Dynamo is not supported" in result.problem
