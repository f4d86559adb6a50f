"""Branches whose neurons run as one layer fire as each does by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.interfaces import Layout, Neuron
from neurozoo.core.layer import TorchNeuron
from neurozoo.models.smile import branch as spiking
from neurozoo.models.smile.branch import LIFActivation, ReLUActivation, SpikingBranch, fire

HIDDEN, INNER, STEPS = 6, 10, 4


class Counting(TorchNeuron):
    """Counts its runs over all steps."""

    runs_of_all = 0

    def scan(
        self, currents: Tensor, state: Tensor | None = None, threshold: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        Counting.runs_of_all += 1
        return super().scan(currents, state, threshold)


@pytest.fixture(autouse=True)
def _from_nothing() -> None:
    Counting.runs_of_all = 0


def layout_of(neuron: type[Neuron] = Counting) -> Layout:
    return Layout(HIDDEN, 2, 0.0, ("audio", "vision"), None, 3, lambda spec: neuron(spec))


def branch_of(layout: Layout, **params: object) -> SpikingBranch:
    first, second = (LIFActivation(layout, **params) for _ in range(2))  # type: ignore[arg-type]
    branch = SpikingBranch(HIDDEN, INNER, STEPS, first, second)
    for linear, _ in branch.stages():
        torch.nn.init.normal_(linear.weight, std=1.5)
    return branch


@given(
    batch=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    by_sample=st.booleans(),
    gain=st.booleans(),
    v_reset=st.sampled_from([None, 0.0, -0.2]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60)
def test_rates_are_those_of_a_call_to_the_bit(
    batch: int, lengths: list[int], by_sample: bool, gain: bool, v_reset: float | None, seed: int
) -> None:
    torch.manual_seed(seed)
    layout = layout_of()
    branches = [branch_of(layout, apply="gain" if gain else "threshold", v_reset=v_reset) for _ in lengths]
    xs = [torch.randn(batch, length, HIDDEN) for length in lengths]
    threshold = torch.rand(batch) + 0.5 if by_sample else torch.tensor(0.7)
    with torch.no_grad():
        Counting.runs_of_all = 0
        found = fire(branches, xs, threshold)
        assert Counting.runs_of_all == 2
        for branch, x, rates in zip(branches, xs, found, strict=True):
            assert torch.equal(rates, branch(x, threshold))


def runs_of(branches: list[SpikingBranch], xs: list[Tensor] | None = None) -> int:
    """How often neurons run, once the rates are known to be right."""
    threshold = torch.tensor(0.7)
    xs = [torch.randn(1, 5, HIDDEN) for _ in branches] if xs is None else xs
    expected = [branch(x, threshold) for branch, x in zip(branches, xs, strict=True)]
    Counting.runs_of_all = 0
    assert all(map(torch.equal, fire(branches, xs, threshold), expected))
    return Counting.runs_of_all


def test_neurons_of_another_kind_run_by_themselves() -> None:
    layout = layout_of()
    with torch.no_grad():
        assert runs_of([branch_of(layout), branch_of(layout)]) == 2
        assert runs_of([branch_of(layout), branch_of(layout, tau=3.0)]) == 4
        assert runs_of([branch_of(layout), branch_of(layout, apply="gain")]) == 4
        assert runs_of([branch_of(layout), branch_of(layout_of(TorchNeuron))]) == 2
        relu = SpikingBranch(HIDDEN, INNER, STEPS, ReLUActivation(layout), LIFActivation(layout))
        assert runs_of([relu, branch_of(layout)]) == 3
        wider = SpikingBranch(HIDDEN, INNER + 1, STEPS, LIFActivation(layout), LIFActivation(layout))
        assert runs_of([branch_of(layout), wider]) == 4


def test_a_gradient_a_hook_plain_arithmetic_or_much_to_do_keeps_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    branches = [branch_of(layout_of()) for _ in range(2)]
    assert runs_of(branches) == 4
    with torch.no_grad():
        heard: list[torch.Size] = []
        hook = branches[1].activation2.register_forward_hook(lambda _module, _given, out: heard.append(out.shape))
        assert runs_of(branches) == 4
        assert heard == [torch.Size([STEPS, 1, 5, HIDDEN])] * 2
        hook.remove()
        assert runs_of(branches) == 2
        branches[0].plain = True
        assert runs_of(branches) == 4
        branches[0].plain = False
        monkeypatch.setattr(spiking, "FEW", STEPS * 5 * INNER - 1)
        assert runs_of(branches) == 4


def test_one_branch_for_two_modalities() -> None:
    branch = branch_of(layout_of())
    with torch.no_grad():
        assert runs_of([branch, branch]) == 2
        branch.plain = True
        assert runs_of([branch, branch]) == 4


def test_branches_of_other_dtypes_run_by_themselves() -> None:
    branches = [branch_of(layout_of()), branch_of(layout_of()).double()]
    with torch.no_grad():
        xs = [torch.randn(1, 5, HIDDEN), torch.randn(1, 5, HIDDEN, dtype=torch.float64)]
        assert runs_of(branches, xs) == 4
