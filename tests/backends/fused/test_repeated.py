"""One current at every step: it is neither copied nor computed with T gradients that are added up later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.core.layer import TorchNeuron

Make = Callable[[LIFSpec], Neuron]
T, B, N = 50, 16, 512


class Backwards(TorchDispatchMode):
    """For each backward, whether the kernel added up."""

    def __init__(self) -> None:
        super().__init__()
        self.summed: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).endswith("lif_backward.default"):
            self.summed.append(args[-1])
        return func(*args, **(kwargs or {}))


@pytest.fixture
def summed() -> Iterator[list[bool]]:
    with Backwards() as backwards:
        yield backwards.summed


def current(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


def gradient(neuron: Neuron, x: Tensor, *shape: int) -> Tensor:
    spikes, _ = neuron.scan(x.expand(shape), None, 0.7)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((spikes * weights).sum(), x)[0]


@pytest.mark.parametrize("shape", [(B, N), (1, B, N), (1, 1, N), (N,), ()])
def test_its_gradient_has_its_own_shape_and_is_the_oracles(
    make: Make, shape: tuple[int, ...], summed: list[bool]
) -> None:
    x = current(*shape)
    got, want = (gradient(each(LIFSpec()), x, T, B, N) for each in (make, TorchNeuron))
    assert type(got) is Tensor
    assert got.shape == x.shape
    assert float((got - want).abs().max()) <= 1e-6 * float(want.abs().max()) * 10
    assert summed == [True]


def test_of_a_leaf_too(make: Make, summed: list[bool]) -> None:
    found = []
    for each in (make, TorchNeuron):
        x = current(B, N).detach().expand(T, B, N).requires_grad_()
        each(LIFSpec()).scan(x, None, 0.7)[0].sum().backward()
        assert type(x.grad) is Tensor
        found.append(x.grad)
    assert torch.equal(*found)
    assert summed == [True]  # and then asked for all of it


def test_who_asks_for_each_steps_gradient_gets_it(make: Make) -> None:
    found = []
    for each in (make, TorchNeuron):
        x, heard = current(B, N), []
        expanded = x.expand(T, B, N)
        expanded.retain_grad()
        expanded.register_hook(lambda gradient, heard=heard: heard.append(gradient * 1))
        (each(LIFSpec()).scan(expanded, None, 0.7)[0].sum() + expanded.sum()).backward()
        found.append((expanded.grad, *heard, x.grad))
    (got, got_heard, got_x), (want, want_heard, want_x) = found
    assert torch.equal(got, want)
    assert torch.equal(got_heard, want_heard)
    assert torch.allclose(got_x, want_x, rtol=1e-5, atol=1e-5)


def test_who_asks_too_late_is_told(make: Make) -> None:
    expanded, threshold = current(B, N).expand(T, B, N), torch.tensor(0.7)
    spikes, _ = make(LIFSpec()).scan(expanded, None, threshold)
    (gradient,) = torch.autograd.grad(spikes.sum(), expanded)
    assert str(gradient) == str(gradient.clone())
    threshold.fill_(0.8)
    with pytest.raises(RuntimeError, match="modified by an inplace operation since the backward; clone it"):
        gradient.clone()


def test_what_repeats_over_the_batch_is_right_as_well(make: Make) -> None:
    x = current(T, 1, N)
    got, want = (gradient(each(LIFSpec()), x, T, B, N) for each in (make, TorchNeuron))
    assert torch.equal(got, want)
