"""One current at every step: it is neither copied nor computed with T gradients that are added up later."""

from __future__ import annotations

import pytest
import torch
from neurozoo_numba import operator
from neurozoo_numba.neuron import NumbaNeuron
from torch import Tensor

from neurozoo.compare.memory import peak_bytes
from neurozoo.interfaces import LIFSpec
from neurozoo.nn.neurons import TorchNeuron

T, B, N = 50, 16, 512


@pytest.fixture
def summed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each backward, whether the kernel added up."""
    calls: list[bool] = []
    backward = operator.lif_backward
    monkeypatch.setattr(operator, "lif_backward", lambda *args: calls.append(args[-1]) or backward(*args))
    return calls


def current(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def gradient(neuron: NumbaNeuron | TorchNeuron, x: Tensor, *shape: int) -> Tensor:
    spikes, _ = neuron.scan(x.expand(shape), None, 0.7)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((spikes * weights).sum(), x)[0]


@pytest.mark.parametrize("shape", [(B, N), (1, B, N), (1, 1, N), (N,), ()])
def test_its_gradient_has_its_own_shape_and_is_the_oracles(shape: tuple[int, ...], summed: list[bool]) -> None:
    x = current(*shape)
    got, want = (gradient(make(LIFSpec()), x, T, B, N) for make in (NumbaNeuron, TorchNeuron))
    assert type(got) is Tensor
    assert got.shape == x.shape
    assert float((got - want).abs().max()) <= 1e-6 * float(want.abs().max()) * 10
    assert summed == [True]


def test_of_a_leaf_too(summed: list[bool]) -> None:
    found = []
    for make in (NumbaNeuron, TorchNeuron):
        x = current(B, N).detach().expand(T, B, N).requires_grad_()
        make(LIFSpec()).scan(x, None, 0.7)[0].sum().backward()
        assert type(x.grad) is Tensor
        found.append(x.grad)
    assert torch.equal(*found)
    assert summed == [True, False]  # and then asked for all of it


def test_who_asks_for_each_steps_gradient_gets_it() -> None:
    found = []
    for make in (NumbaNeuron, TorchNeuron):
        x, heard = current(B, N), []
        expanded = x.expand(T, B, N)
        expanded.retain_grad()
        expanded.register_hook(lambda gradient, heard=heard: heard.append(gradient * 1))
        (make(LIFSpec()).scan(expanded, None, 0.7)[0].sum() + expanded.sum()).backward()
        found.append((expanded.grad, *heard, x.grad))
    (got, got_heard, got_x), (want, want_heard, want_x) = found
    assert torch.equal(got, want)
    assert torch.equal(got_heard, want_heard)
    assert torch.allclose(got_x, want_x, rtol=1e-5, atol=1e-5)


def test_who_asks_too_late_is_told() -> None:
    expanded, threshold = current(B, N).expand(T, B, N), torch.tensor(0.7)
    spikes, _ = NumbaNeuron(LIFSpec()).scan(expanded, None, threshold)
    (gradient,) = torch.autograd.grad(spikes.sum(), expanded)
    assert str(gradient) == str(gradient.clone())
    threshold.fill_(0.8)
    with pytest.raises(RuntimeError, match="modified by an inplace operation since the backward; clone it"):
        gradient.clone()


def test_it_is_not_copied() -> None:
    x = current(B, N)
    one = x.numel() * x.element_size()

    def run() -> None:
        spikes, _ = NumbaNeuron(LIFSpec()).scan(x.expand(T, B, N), None, 0.7)
        torch.autograd.grad(spikes.sum(), x)

    run()  # compiles
    assert peak_bytes(run, torch.device("cpu")) < (T + 5) * one  # the spikes, and little else


def test_what_repeats_over_the_batch_is_right_as_well() -> None:
    x = current(T, 1, N)
    got, want = (gradient(make(LIFSpec()), x, T, B, N) for make in (NumbaNeuron, TorchNeuron))
    assert torch.equal(got, want)
