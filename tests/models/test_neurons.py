"""Neurons as modules of any network: kinds, parameters, backends, and what is no ``[T, B, ...]``."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurozoo as nz
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, NeuronSpec, PLIFSpec, ReLUSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.roles import parameter_roles
from neurozoo.errors import SpikingError, UnknownNameError, UserError

KINDS: list[tuple[Any, NeuronSpec]] = [
    (nz.LIF, LIFSpec()),
    (nz.IF, IFSpec()),
    (nz.PLIF, PLIFSpec()),
    (nz.AdLIF, AdLIFSpec()),
    (nz.ALIF, ALIFSpec()),
    (nz.CUBA, CubaSpec()),
    (nz.LI, LISpec()),
]
X = 3 * torch.rand(6, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "spec"), KINDS)
def test_a_kind_with_its_defaults_is_its_specification(kind: Any, spec: NeuronSpec) -> None:
    expected, _ = TorchNeuron(spec).scan(X)
    assert torch.equal(kind()(X), expected)
    assert expected.any()


@pytest.mark.parametrize(
    ("layer", "spec", "threshold"),
    [
        (nz.LIF(tau=3.0, v_reset=None, decay_input=False, threshold=0.7), LIFSpec(
            tau=3.0, v_reset=None, decay_input=False), 0.7),
        (nz.ALIF(adaptation=0.5, refractory=2, surrogate="triangle", alpha=0.3), ALIFSpec(
            adaptation=0.5, refractory=2, surrogate="triangle", alpha=0.3), 1.0),
        (nz.CUBA(order="fire-first", gain=0.5, tie="silent"), CubaSpec(order="fire-first", gain=0.5, tie="silent"), 1),
        (nz.Neurons(ReLUSpec()), ReLUSpec(), 1.0),
    ],
)  # fmt: skip
def test_numbers_and_choices(layer: nn.Module, spec: NeuronSpec, threshold: float) -> None:
    assert torch.equal(layer(X), TorchNeuron(spec).scan(X, None, threshold)[0])


def test_a_value_a_neuron_is_used_and_in_the_checkpoint() -> None:
    tau, threshold = torch.linspace(1.5, 4, 5), torch.linspace(0.2, 0.9, 5)
    layer = nz.LIF(tau=tau, threshold=threshold)
    expected, _ = TorchNeuron(LIFSpec()).scan(X, None, threshold[None, None], {"tau": tau})
    assert torch.equal(layer(X), expected)
    other = nz.LIF(tau=torch.full((5,), 2.0), threshold=torch.ones(5))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(X), expected)
    assert not list(layer.parameters())


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (nz.LIF(tau=3.0, learn="tau"), "tau", 3.0),
        (nz.LIF(tau=3.0, learn=("tau", "threshold"), threshold=0.5, shape=5), "tau", [3.0] * 5),
        (nz.PLIF(leak=0.3), "leak", 0.3),
        (nz.AdLIF(membrane_decay=torch.linspace(0.5, 0.9, 5), learn="membrane_decay"), "membrane_decay", [
            0.5, 0.6, 0.7, 0.8, 0.9]),
        (nz.CUBA(gain=-0.5, learn="gain", shape=(5,)), "gain", [-0.5] * 5),
        (nz.LI(decay=0.8, learn=("decay", "gain")), "decay", 0.8),
    ],
)  # fmt: skip
def test_a_learned_parameter_begins_at_its_value_and_gets_a_gradient(layer: nz.Neurons, name: str, value: Any) -> None:
    torch.testing.assert_close(layer.params()[name].detach(), torch.tensor(value))
    layer(X).sum().backward()
    for each in layer.stored.parameters():
        assert each.grad is not None
        assert each.grad.abs().sum() > 0
    assert {*parameter_roles(layer).values()} == {"neuron"}


def test_a_learned_threshold_is_that_of_each_neuron() -> None:
    layer = nz.LIF(threshold=torch.linspace(0.2, 0.9, 5), learn="threshold")
    expected = nz.LIF(threshold=torch.linspace(0.2, 0.9, 5))(X)
    assert torch.equal(layer(X), expected)
    assert isinstance(layer.level(), Tensor)
    assert not torch.equal(layer(X, 0.3), expected)  # a call may give another one
    with torch.no_grad():
        layer.stored["threshold"] -= 100.0  # whatever an optimiser does, it stays above 0
    assert bool((torch.as_tensor(layer.level()) >= 0).all())


def test_channels_of_convolutions_have_a_value_each() -> None:
    torch.manual_seed(0)
    layer = nz.LIF(nn.Conv2d(1, 3, 3), tau=2.0, learn=("tau", "threshold"), threshold=0.1, shape=(3, 1, 1))
    x = torch.rand(4, 2, 1, 6, 6)
    assert layer(x).shape == (4, 2, 3, 4, 4)
    assert torch.equal(layer(x[:1].expand(4, -1, -1, -1, -1)), layer(x[0], steps=4))
    assert {name: list(each.shape) for name, each in layer.stored.items()} == {"tau": [3, 1, 1], "threshold": [3, 1, 1]}


def test_in_a_sequential_with_modules_at_each_step() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nz.EachStep(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)),
        nz.LIF(threshold=0.3),
        nz.EachStep(nn.AvgPool2d(2), nn.Flatten()),
        nz.IF(nn.Linear(12, 7), recurrent=nn.Linear(7, 7, bias=False)),
        nn.Linear(7, 2),
        nz.LI(),
    )
    x = torch.rand(5, 4, 1, 6, 6)
    y = net(x)
    assert y.shape == (5, 4, 2)
    y.sum().backward()
    assert all(each.grad is not None for each in net.parameters())
    assert torch.equal(copy.deepcopy(net).eval()(x), net.eval()(x))


@pytest.mark.parametrize("backend", ["norse", "numba"])
def test_backends_by_name_and_set_on_any_module(backend: str) -> None:
    def make(backend: str) -> nn.Module:
        torch.manual_seed(1)
        return nn.ModuleDict({"body": nn.Sequential(nn.Linear(5, 8), nz.LIF(backend=backend), nz.PLIF(
            nn.Linear(8, 3), shape=3, backend=backend))})  # fmt: skip

    net, other = make("torch"), make(backend)
    expected = net["body"](X)
    assert type(other["body"][1].neuron).__module__.startswith(f"neurozoo_{backend}")
    assert torch.equal(other["body"](X), expected)
    assert nz.set_backend(net, backend) is net
    assert type(net["body"][1].neuron) is type(other["body"][1].neuron)
    assert torch.equal(net["body"](X), expected)


def test_a_model_of_the_zoo_changes_its_backend() -> None:
    model = nz.create_model("recurrent", inputs=(5,), length=6, outputs=3)
    x = torch.rand(2, 6, 5)
    expected = model(x)
    assert torch.equal(nz.set_backend(model, "norse")(x), expected)
    assert any("norse" in type(layer.neuron).__module__ for layer in model.modules() if hasattr(layer, "neuron"))


def test_a_backend_that_refuses_a_layer_changes_none() -> None:
    net = nn.Sequential(nz.LIF(), nn.Sequential(nz.ALIF()))
    with pytest.raises(SpikingError, match=r"^1\.0: NorseNeuron does not run alif neurons"):
        nz.set_backend(net, "norse")
    assert {type(layer.neuron) for layer in net.modules() if isinstance(layer, nz.Neurons)} == {TorchNeuron}
    with pytest.raises(UnknownNameError, match=r"there are: .*norse.*torch"):
        nz.set_backend(net, "nurse")
    with pytest.raises(UserError, match=r"Sequential has no layer of neurons of neurozoo, only Linear, Sequential"):
        nz.set_backend(nn.Sequential(nn.Linear(2, 2)), "torch")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nz.LIF(learn="beta"), "no parameter 'beta' to learn; they have: tau, v_reset, threshold"),
        (lambda: nz.LIF(tau=0.5), "larger than 1 step"),
        (lambda: nz.LIF(tau=torch.tensor([2.0, 0.5])), "tau is 0.5"),
        (lambda: nz.LIF(tau=torch.tensor([2.0, torch.nan])), "finite real numbers"),
        (lambda: nz.LIF(tau=torch.rand(4) + 2, shape=5), r"tau is a tensor \[4\], and the layer's neurons are \[5\]"),
        (lambda: nz.AdLIF(membrane_decay=1.5, learn="membrane_decay"), "membrane_decay begins at 1.5, outside"),
        (lambda: nz.LIF(2.0), "the synapse is a float; give a module, and parameters by name, such as tau=2.0"),
        (lambda: nz.LIF(beta=0.9), "lif neurons have no option beta; they have: .*tau"),
        (lambda: nz.LIF(surrogate="atann"), "no surrogate is called 'atann'"),
        (lambda: nz.ALIF(backend="norse"), "does not run alif"),
    ],
)
def test_wrong_parameters_are_refused_in_words(make: Any, words: str) -> None:
    with pytest.raises(SpikingError, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nz.LIF(nn.Conv2d(3, 8, 3)), (8, 3, 32, 32), r"Conv2d takes \[T, B, C, H, W\], and the input is \[8, 3, 32"),
        (nz.LIF(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))), (8, 3, 32, 32), r"takes \[T, B, C, H, W\]"),
        (nz.EachStep(nn.MaxPool2d(2)), (8, 3, 32, 32), r"EachStep takes \[T, B, C, H, W\]"),
        (nz.LIF(nn.Linear(40, 8)), (16, 40), r"Linear takes \[T, B, D\], and the input is \[16, 40\]"),
        (nn.Sequential(nn.Linear(40, 8), nz.LIF()), (16, 40), r"takes currents \[T, B, ...\], and they are \[16, 8\]"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nz.LIF()), (16, 3, 9, 9), r"output of an operation on rows \(Conv"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nz.LIF()), (16, 3, 9, 9), "EachStep"),
        (nz.LIF(shape=(3, 9, 9)), (16, 3, 9, 9), r"made for neurons of shape \[3, 9, 9\]"),
        (nz.LIF(shape=8), (10, 16, 9), r"made for neurons of shape \[8\]"),
    ],
)  # fmt: skip
def test_what_is_certainly_no_steps_is_refused(layer: nn.Module, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(SpikingError, match=words):
        layer(torch.rand(shape))


def test_what_may_be_pictures_is_said_once_and_a_stated_shape_is_not() -> None:
    layer = nz.LIF()
    with pytest.warns(UserWarning, match=r"read as T = 8 steps of B = 3 samples with neurons \[9, 9\]; if they are"):
        layer(torch.rand(8, 3, 9, 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(torch.rand(8, 3, 9, 9))
        nz.LIF(shape=9)(torch.rand(8, 3, 9, 9))
        nn.Sequential(nn.Linear(9, 4), nz.LIF())(torch.rand(8, 3, 9, 9))  # positions of a sequence
        nz.LIF()(torch.rand(8, 2, 3, 9, 9))
