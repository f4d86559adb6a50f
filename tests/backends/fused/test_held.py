"""A current that is held: outputs and gradients are those of the same current at every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, ReLUSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.neuron import NeuronSpec

T, B, N = 6, 3, 40
SPECS = (
    LIFSpec(), LIFSpec(tau=3.0, v_reset=None, detach_reset=True), IFSpec(), PLIFSpec(), CubaSpec(), AdLIFSpec(),
    ALIFSpec(), LISpec(), ReLUSpec(),
)  # fmt: skip


def ran(neuron: Any, held: bool, dtype: torch.dtype) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    current = torch.randn(B, N, generator=random, dtype=dtype).mul_(1.5).add_(0.5).requires_grad_()
    threshold = torch.full((1, B, 1), 0.7, dtype=dtype).requires_grad_()
    weights = torch.randn(T, B, N, generator=random, dtype=dtype)
    call = neuron.hold(current, T, None, threshold) if held else neuron.scan(current.expand(T, B, N), None, threshold)
    spikes, state = call
    total = (spikes * weights).sum() + sum((each * weights[0]).sum() for each in state)
    wanted = [current, threshold] if neuron.spec.spiking else [current]
    return [spikes, *state, *torch.autograd.grad(total, wanted)]


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_held_current_is_the_same_at_every_step(make: Any, spec: NeuronSpec, dtype: torch.dtype) -> None:
    if not make.supports(spec):
        pytest.skip(make.refusal(spec))
    states = 1 + len(spec.states)
    held, expanded, oracle = (
        ran(make(spec), True, dtype), ran(make(spec), False, dtype), ran(TorchNeuron(spec), True, dtype),
    )  # fmt: skip
    for ours, same, theirs in zip(held[:states], expanded[:states], oracle[:states], strict=True):
        assert torch.equal(ours, same)
        assert torch.equal(ours, theirs)
    for ours, same, theirs in zip(held[states:], expanded[states:], oracle[states:], strict=True):
        torch.testing.assert_close(ours, same)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_step_and_thresholds_by_step(make: Any) -> None:
    neuron, current = make(LIFSpec()), torch.rand(B, N)
    levels = torch.linspace(0.2, 0.8, T).view(T, 1, 1)
    assert torch.equal(neuron.hold(current, T, None, levels)[0], neuron.scan(current.expand(T, B, N), None, levels)[0])
    current.requires_grad_()
    (one,) = torch.autograd.grad(neuron.hold(current, 1, None, 0.3)[0].sum(), current)
    (scanned,) = torch.autograd.grad(neuron.scan(current[None], None, 0.3)[0].sum(), current)
    assert torch.equal(one, scanned)


def test_a_compiled_hold_has_the_same_gradient(make: Any) -> None:
    neuron, current = make(LIFSpec()), torch.rand(B, N, requires_grad=True)
    compiled = torch.compile(lambda x: neuron.hold(x, T, None, 0.7)[0], backend="aot_eager", fullgraph=True)
    for expected, got in zip(
        torch.autograd.grad(neuron.hold(current, T, None, 0.7)[0].sum(), current),
        torch.autograd.grad(compiled(current).sum(), current),
        strict=True,
    ):
        assert torch.equal(expected, got)


def test_a_layer_holds_its_current(make: Any) -> None:
    torch.manual_seed(0)
    x = torch.rand(B, 5)
    synapse = nn.Linear(5, N)
    ours = SpikingLayer(make(LIFSpec()), synapse)(x, torch.tensor([0.1, 0.2, 0.3]), steps=T)
    theirs = SpikingLayer(TorchNeuron(LIFSpec()), synapse)(x, torch.tensor([0.1, 0.2, 0.3]), steps=T)
    assert torch.equal(ours, theirs)
