"""The one recorder: names, changes, several at once, every kind of layer, and under torch.compile."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec, LISpec, ReLUSpec
from neurozoo.core.layer import Firing, SpikingLayer, TorchNeuron
from neurozoo.core.recording import (
    frozen_statistics,
    neuron_layers,
    over_neurons,
    recorded,
    spiking_layers,
    unrecorded,
)


class Net(nn.Module):
    """Three kinds of layer: neurons that fire, the control, and a readout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(3, 4))
        self.more = nn.ModuleDict({"control": SpikingLayer(TorchNeuron(ReLUSpec()), nn.Linear(4, 4))})
        self.head = SpikingLayer(TorchNeuron(LISpec()), nn.Linear(4, 2))

    def forward(self, x: Tensor, threshold: Tensor | float = 0.3) -> Tensor:
        out: Tensor = self.head(self.more["control"](self.first(x, threshold)))
        return out


X = 3 * torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(1))


def test_every_layer_of_neurons_by_its_dotted_name() -> None:
    net = Net()
    assert list(neuron_layers(net)) == ["first", "more.control", "head"]
    assert list(spiking_layers(net)) == ["first"]
    with recorded(net) as firings:
        out = net(X)
    assert list(firings) == ["first", "more.control", "head"]
    assert torch.equal(firings["head"].spikes, out)
    first = firings["first"]
    assert torch.equal(first.currents, net.first.currents(X))
    assert torch.equal(net.first.neuron.scan(*[first.driving[0], None, first.driving[1]])[0], first.spikes)
    assert (first.valid, first.gain) == (None, False)


def test_nothing_is_recorded_outside_and_the_last_forward_counts() -> None:
    net = Net()
    with recorded(net) as firings:
        net(X)
        before = firings["first"].spikes
        net(2 * X)
        assert not torch.equal(firings["first"].spikes, before)
        firings.clear()
        assert not firings
    net(X)
    assert not firings
    assert not net.first.recorders


def test_the_recorder_goes_where_a_forward_fails() -> None:
    net = Net()
    with pytest.raises(RuntimeError), recorded(net):
        net(torch.ones(5, 2, 7))
    assert not net.first.recorders


def test_recorders_nest_and_each_sees_what_the_layer_puts_out() -> None:
    net, silent = Net(), {"first"}

    def change(name: str, firing: Firing) -> Tensor | None:
        return torch.zeros_like(firing.spikes) if name in silent else None

    with recorded(net) as outer, recorded(net, change) as inner, recorded(net) as last:
        out = net(X)
    assert outer["first"].spikes.any()  # attached before the change
    assert not inner["first"].spikes.any()
    assert not last["first"].spikes.any()
    with torch.no_grad():
        expected = net.head(net.more["control"](torch.zeros(5, 2, 4)))
    torch.testing.assert_close(out.detach(), expected)


def test_gradients_go_through_a_change() -> None:
    net = Net()
    with recorded(net, lambda name, firing: 2 * firing.spikes if name == "first" else None):
        net(X).sum().backward()
    doubled = net.first.synapse.weight.grad.clone()
    net.zero_grad()
    with recorded(net) as firings:
        net(X)
    (firings["first"].spikes.mean() ** 2).backward()  # as a penalty on the rates is
    assert net.first.synapse.weight.grad.abs().sum() > 0
    assert doubled.abs().sum() > 0


def test_per_sample_thresholds_and_masks_are_shaped_for_the_outputs() -> None:
    net = Net()
    valid = torch.tensor([[True, False]])
    with recorded(net) as firings:
        net.first(X, torch.tensor([0.2, 0.4]), valid=valid)
    firing = firings["first"]
    assert isinstance(firing.threshold, Tensor)
    assert firing.threshold.shape == (1, 2, 1)
    assert firing.valid is valid
    assert not firing.detached().spikes.requires_grad


@pytest.mark.filterwarnings("ignore:::torch")  # Dynamo meets its own deprecated ways
def test_a_compiled_forward_is_recorded() -> None:
    net = Net()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            out = self.net(x)
            return out, firings["first"].spikes

    with recorded(net) as firings:
        expected, spikes = Both()(X)
        firings.clear()
        found, seen = torch.compile(Both(), backend="eager", fullgraph=True)(X)
    torch.testing.assert_close(found, expected)
    assert torch.equal(seen, spikes)


@pytest.mark.parametrize(
    ("shape", "valid", "count"),
    [
        ((2, 3, 4), None, 6),
        ((2, 3, 4), torch.tensor([[True, True, False], [True, False, False]]), 3),
        ((2, 3, 5, 4), torch.ones(1, 3, 5, dtype=torch.bool), 30),
        ((2, 3, 2, 4, 4), None, 6),
        ((2, 3, 2, 4, 4), torch.tensor([[True, False, False]]), 2),
    ],
)
def test_sums_over_everything_but_the_neurons(shape: tuple[int, ...], valid: Tensor | None, count: int) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    sums, counted = over_neurons(values, valid)
    assert int(counted) == count
    mask = torch.ones(shape[:2], dtype=torch.bool) if valid is None else valid.expand(2, *valid.shape[1:])
    torch.testing.assert_close(sums, values[mask].sum(0).flatten())


def test_statistics_are_put_back_to_the_bit() -> None:
    norm = nn.BatchNorm1d(3)
    with frozen_statistics(norm):
        norm(torch.rand(8, 3))
        assert int(norm.num_batches_tracked) == 1
    assert int(norm.num_batches_tracked) == 0
    assert norm.running_mean is not None
    assert not norm.running_mean.any()


class Fires(nn.Module):
    """Neurons that are no layer."""

    def __init__(self, weighted: bool = False) -> None:
        super().__init__()
        self.weight = nn.Linear(4, 4) if weighted else None

    def forward(self, x: Tensor) -> Tensor:
        driven = x if self.weight is None else self.weight(x)
        return (driven > 0.1).to(x.dtype)


class WithState(Fires):
    """Gives its membrane as well, as libraries do."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), x


def hidden(*modules: nn.Module) -> list[str]:
    """What is found in modules that follow one another, of which each gets the first output of the one before."""
    net = nn.ModuleDict({f"m{number}": module for number, module in enumerate(modules)})
    with unrecorded(net) as names:
        x = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(2))
        for module in net.values():
            x = module(x)
            x = x[0] if isinstance(x, tuple) else x
    return list(names)


LAYER = SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(4, 4))
ONE_BY_ONE = nn.Linear(4, 4, bias=False)
nn.init.eye_(ONE_BY_ONE.weight)


@pytest.mark.parametrize(
    ("modules", "names"),
    [
        ([Fires()], ["m0"]),
        ([WithState()], ["m0"]),
        ([nn.Linear(4, 4), nn.ReLU(), nn.Sigmoid()], []),
        ([LAYER], []),
        ([SpikingLayer(TorchNeuron(LIFSpec()), nn.Sequential(nn.Linear(4, 4), Fires()))], []),
        ([nn.Sequential(nn.Linear(4, 4), nn.Sequential(Fires()))], ["m0.1.0"]),
        # What passes spikes on makes none; weights inside may.
        ([Fires(), nn.MaxPool1d(2), nn.Identity(), nn.Flatten(1)], ["m0"]),
        ([Fires(), ONE_BY_ONE], ["m0"]),
        ([Fires(), Fires(weighted=True)], ["m0", "m1"]),
        ([nn.Identity(), nn.Threshold(9.0, 0.0)], []),
    ],
)
def test_spikes_that_nobody_records_are_named(modules: list[nn.Module], names: list[str]) -> None:
    torch.manual_seed(0)
    assert hidden(*modules) == names


def test_looking_for_hidden_spikes_leaves_no_hooks() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Fires())
    with unrecorded(net) as names:
        net(torch.ones(2, 4))
        net(torch.randn(2, 4))
    assert list(names) == ["1"]
    assert not any(module._forward_hooks for module in net.modules())
