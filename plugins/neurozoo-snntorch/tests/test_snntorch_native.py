"""``snntorch-native`` is snnTorch's own neuron, and another one than the oracle's."""

from __future__ import annotations

import pytest
import torch
from neurozoo_snntorch.native import SnnTorchNativeNeuron
from snntorch import Leaky, SpikingNeuron, surrogate

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.registry.registry import default_registry


def test_it_is_registered_as_another_model() -> None:
    component = default_registry().get("neuron", "snntorch-native")
    assert component.native
    assert not component.exact
    assert component.summary.startswith("another model")
    assert component.requires == ("snntorch",)


@pytest.mark.parametrize(("v_reset", "mechanism"), [(0.0, "zero"), (None, "subtract")])
def test_it_gives_what_leaky_gives(v_reset: float | None, mechanism: str) -> None:
    currents = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0))
    spikes, (v,) = SnnTorchNativeNeuron(LIFSpec(tau=4.0, v_reset=v_reset)).scan(currents, None, 0.75)
    leaky = Leaky(beta=0.75, threshold=0.75, spike_grad=surrogate.atan(2.0), reset_mechanism=mechanism)
    membrane, expected = leaky.reset_mem(), []
    for current in currents:
        spike, membrane = leaky(current, membrane)
        expected.append(spike)
    assert torch.equal(spikes, torch.stack(expected))
    assert torch.equal(v, membrane)
    assert 0 < spikes.mean() < 1
    SpikingNeuron.instances.remove(leaky)


def test_the_input_is_not_scaled_and_a_tie_is_silent() -> None:
    currents = torch.tensor([1.0, 1.5]).reshape(1, 2, 1)
    spikes, (v,) = SnnTorchNativeNeuron(LIFSpec()).scan(currents)
    assert v.flatten().tolist() == [1.0, 1.5]
    assert spikes.flatten().tolist() == [0.0, 1.0]
    assert TorchNeuron(LIFSpec()).scan(currents)[1][0].flatten().tolist() == [0.5, 0.75]


def test_the_reset_comes_a_step_late_and_by_that_steps_threshold() -> None:
    neuron, levels = SnnTorchNativeNeuron(LIFSpec(v_reset=None)), torch.tensor([1.0, 0.75]).reshape(2, 1, 1)
    currents = torch.tensor([1.5, 0.0]).reshape(2, 1, 1)
    _, (first,) = neuron.scan(currents[:1], None, levels[:1])
    assert first.item() == 1.5  # it fired, and stands as it was
    assert neuron.scan(currents, None, levels)[1][0].item() == 0.0  # 1.5 / 2 - .75


def test_no_gradient_passes_the_reset() -> None:
    gradients = []
    for neuron in (TorchNeuron(LIFSpec(decay_input=False)), SnnTorchNativeNeuron(LIFSpec(decay_input=False))):
        x = torch.tensor([1.5, 0.0]).reshape(2, 1, 1).requires_grad_()
        neuron.scan(x)[1][0].sum().backward()
        assert x.grad is not None
        gradients.append(x.grad[0].item())
    assert gradients[0] != 0
    assert gradients[1] == 0


@pytest.mark.parametrize("name", ["atan", "sigmoid", "superspike"])
def test_each_surrogate_is_the_librarys_of_that_kind(name) -> None:
    x = torch.tensor([[[0.75]]], requires_grad=True)
    SnnTorchNativeNeuron(LIFSpec(surrogate=name, alpha=3.0)).scan(x)[0].sum().backward()
    u = torch.tensor(-0.25, requires_grad=True)
    theirs = {"atan": surrogate.atan, "sigmoid": surrogate.sigmoid, "superspike": surrogate.fast_sigmoid}[name](3.0)
    theirs(u).backward()
    assert torch.equal(x.grad.flatten(), u.grad.flatten())


@pytest.mark.parametrize("shape", [(), (1, 3, 1), (4, 1, 1), (1, 1, 8)])
def test_thresholds_of_every_form_get_a_gradient(shape: tuple[int, ...]) -> None:
    threshold = torch.full(shape, 0.7, requires_grad=True)
    spikes, _ = SnnTorchNativeNeuron(LIFSpec()).scan(torch.ones(4, 3, 8), None, threshold)
    spikes.sum().backward()
    assert threshold.grad is not None
    assert bool((threshold.grad < 0).all())


def test_the_librarys_list_of_neurons_does_not_grow() -> None:
    before = list(SpikingNeuron.instances)
    SnnTorchNativeNeuron(LIFSpec()).scan(torch.ones(5, 2, 3))
    assert SpikingNeuron.instances == before


def test_what_snntorch_cannot_be_is_refused() -> None:
    with pytest.raises(SpikingError, match=r"snnTorch resets to 0 or by the threshold, and v_reset is 0\.2"):
        SnnTorchNativeNeuron(LIFSpec(v_reset=0.2))
    with pytest.raises(SpikingError, match="a state of shape"):
        SnnTorchNativeNeuron(LIFSpec()).step(torch.ones(2, 3), (torch.zeros(4, 3),), 1.0)
