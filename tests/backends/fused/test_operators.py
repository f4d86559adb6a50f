"""A fused neuron as torch sees it, and what it leaves to the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neurozoo.backends.fused.operators import spec_of, text_of
from neurozoo.core.kinds import CubaSpec, IFSpec, LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.neuron import Neuron, NeuronSpec
from neurozoo.errors import SpikingError

Make = Callable[[NeuronSpec], Neuron]
T = 5


def currents(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.5).to(dtype)


@pytest.mark.parametrize("steps", [1, T])
def test_it_keeps_nothing_for_the_backward_but_what_came_in(make: Make, steps: int) -> None:
    x, state = currents(steps, 4, 8).requires_grad_(), currents(4, 8)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        make(LIFSpec()).scan(x, (state,), 0.7)
    assert {tensor.data_ptr() for tensor in kept if tensor.dim()} == {x.data_ptr(), state.data_ptr()}


# Other dtypes, devices and states: the core's loop.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_run_the_cores_equations(make: Make, dtype: torch.dtype) -> None:
    x = currents(T, 4, 8, dtype=dtype)
    (got, (v,)), (want, (u,)) = make(LIFSpec()).scan(x), TorchNeuron(LIFSpec()).scan(x)
    assert got.dtype == v.dtype == dtype
    assert torch.equal(got, want)
    assert torch.equal(v, u)


def test_other_devices_run_the_cores_equations(make: Make) -> None:
    spikes, (v,) = make(LIFSpec()).scan(torch.zeros(T, 4, 8, device="meta"))
    assert (spikes.device.type, v.device.type) == ("meta", "meta")


def test_a_state_that_broadcasts_is_taken_as_the_core_takes_it(make: Make) -> None:
    x, state = currents(T, 4, 8), currents(1, 8)
    (got, (v,)), (want, (u,)) = (make_it(LIFSpec()).scan(x, (state,)) for make_it in (make, TorchNeuron))
    assert torch.equal(got, want)
    assert torch.equal(v, u)


def test_under_autocast_the_membranes_are_in_float32(make: Make) -> None:
    x = currents(T, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        spikes = SpikingLayer(make(LIFSpec()))(x.bfloat16(), 0.7)
    assert torch.equal(spikes, TorchNeuron(LIFSpec()).scan(x.bfloat16().float(), None, 0.7)[0])


def test_a_threshold_that_does_not_fit_is_refused(make: Make) -> None:
    with pytest.raises(
        SpikingError, match=r"a threshold of shape \[3, 1, 1\] does not fit currents of shape \[5, 4, 8\]"
    ):
        make(LIFSpec()).scan(currents(T, 4, 8), None, torch.ones(3, 1, 1))


# As an operator of torch.


def test_it_is_a_sound_operator(operator: Any) -> None:
    inputs = currents(T, 2, 3).requires_grad_(), None, torch.tensor(0.7, requires_grad=True)
    torch.library.opcheck(operator, (*inputs, None, [2.0, 0.0, 0.0], text_of(LIFSpec())))
    inputs = (
        currents(T, 2, 3).requires_grad_(),
        currents(1, 2, 3).requires_grad_(),
        torch.rand(T, 1, 3, requires_grad=True),
    )
    torch.library.opcheck(operator, (*inputs, None, [1.0, 0.0, 0.0], text_of(IFSpec(v_reset=None))))


@pytest.mark.parametrize(
    "spec", [LIFSpec(), CubaSpec(v_reset=None, order="fire-first"), LIFSpec(tau=float("inf"), decay_input=False)]
)
def test_a_specification_survives_as_text(spec: NeuronSpec) -> None:
    assert spec_of(text_of(spec)) == spec


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("shape", [(), (1, 4, 1), (T, 1, 1), (1, 1, 8)])
def test_a_compiled_model_is_one_graph(make: Make, shape: tuple[int, ...], repeated: bool) -> None:
    layer = SpikingLayer(make(LIFSpec()))

    def rates(x: Tensor, threshold: Tensor) -> Tensor:
        current = (2 * x).expand(T, 4, 8) if repeated else torch.stack([x] * T)
        spikes: Tensor = layer(current, threshold)
        return spikes.mean(0)

    found = []
    for run in (rates, torch.compile(rates, fullgraph=True, backend="aot_eager")):
        leaves = currents(4, 8).requires_grad_(), torch.full(shape, 0.7, requires_grad=True)
        out = run(*leaves)
        found.append((out.detach(), *torch.autograd.grad((out * leaves[0].detach()).sum(), leaves)))
    torch.compiler.reset()
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-7)


def test_currents_changed_before_the_backward_are_an_error(make: Make) -> None:
    x = currents(T, 4, 8).requires_grad_()
    between = x * 1
    spikes, _ = make(LIFSpec()).scan(between)
    between.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


@pytest.mark.parametrize("repeated", [False, True])
def test_a_second_derivative_is_an_error(make: Make, repeated: bool) -> None:
    x = currents(1 if repeated else T, 4, 8).requires_grad_()
    spikes, _ = make(LIFSpec()).scan(x.expand(T, 4, 8))
    (gradient,) = torch.autograd.grad(spikes.mean(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="gradients have no gradients of their own; use the backend torch"):
        gradient.pow(2).sum().backward()


def test_parameters_changed_in_place_are_used_as_they_are(make: Make) -> None:
    x, tau = currents(T, 4, 8), torch.full((8,), 2.0)
    neuron = make(LIFSpec())
    with torch.inference_mode():
        neuron.scan(x, None, 0.7, {"tau": tau})
    for number in (2.0, 5.0):
        tau.fill_(number)
        x = x.clone().requires_grad_()
        for _ in range(2):  # the second time they are those of the last call
            spikes, (v,) = neuron.scan(x, None, 0.7, {"tau": tau})
            assert torch.equal(v, TorchNeuron(LIFSpec()).scan(x, None, 0.7, {"tau": tau})[1][0])
            spikes.sum().backward()
