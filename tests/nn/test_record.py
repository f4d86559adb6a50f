"""Recording of any network's layers: quantities, order, units, and words for what is not there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neurozoo as nz
from neurozoo.core.kinds import ALIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import UserError


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nz.LIF(tau=3.0, threshold=0.2), nn.Linear(4, 2), nz.LI())


X = 3 * torch.rand(7, 2, 3, generator=torch.Generator().manual_seed(1))


def test_spikes_membranes_and_currents_of_every_layer(net: nn.Sequential) -> None:
    with nz.record(net, "spikes", "membrane", "current", "threshold") as seen:
        y = net(X)
    assert list(seen) == ["1", "3"]
    assert torch.equal(seen.current["1"], net[0](X))
    assert torch.equal(seen.spikes["1"], net[1](net[0](X)))
    assert list(seen.spikes) == ["1"]  # a readout does not fire
    assert torch.equal(seen.membrane["3"], y)
    # By the equation, before the reset.
    v = torch.zeros(2, 4)
    for step, (x, s) in enumerate(zip(seen.current["1"], seen.spikes["1"], strict=True)):
        v = v + (x - v) / 3.0
        torch.testing.assert_close(seen["1"].membrane[step], v.detach())
        assert torch.equal(v >= 0.2, s.bool())
        v = torch.where(v >= 0.2, 0.0, v)
    assert seen.spikes["1"].any()
    assert torch.equal(seen.threshold["1"], torch.full((7, 2, 4), 0.2))
    assert seen.rates == {"1": pytest.approx(float(seen.spikes["1"].detach().mean()))}


def test_spikes_keep_their_graph_for_a_penalty_and_nothing_stays_attached(net: nn.Sequential) -> None:
    with nz.record(net) as seen:
        net(X)
    seen.spikes["1"].mean().backward()
    assert net[0].weight.grad is not None
    assert net[0].weight.grad.abs().sum() > 0
    assert net[1].recorders == []
    before = seen.spikes["1"]
    net(2 * X)
    assert seen.spikes["1"] is before


def test_a_later_forward_replaces_an_earlier_one(net: nn.Sequential) -> None:
    with nz.record(net, "current") as seen:
        assert "no layer has run yet" in repr(seen)
        net(X)
        net(X[:3])
        assert seen["1"].shape == (3, 2, 4)
        assert "1: lif, T = 3, B = 2, neurons [4], " in repr(seen)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_membranes_from_a_state_with_recurrence_and_of_a_relative_kind(backend: str) -> None:
    torch.manual_seed(1)
    layer = nz.ALIF(recurrent=nn.Linear(3, 3, bias=False), adaptation=0.5, backend=backend)
    _, state = layer.run(X, None)
    with nz.record(layer, "membrane", "threshold", "spikes", "current") as seen:
        layer(X, state=state)
    here = seen[""]
    # A spike wherever the membrane, in units of the threshold, reaches 1.
    assert torch.equal(here.membrane >= here.threshold, here.spikes.bool())
    assert here.spikes.any()
    assert not here.spikes.all()
    other, _ = TorchNeuron(ALIFSpec(adaptation=0.5)).scan(here.current, state[:-1])
    assert torch.equal(other, here.spikes)


def test_a_model_of_the_zoo_is_recorded_with_what_counts() -> None:
    model = nz.create_model("recurrent", inputs=(3,), length=5, outputs=2)
    with nz.record(model, "spikes") as seen:
        model(torch.rand(4, 5, 3))
    assert seen.rates.keys() == seen.spikes.keys() != set()


def test_words_for_what_is_not_there(net: nn.Sequential) -> None:
    with (
        pytest.raises(UserError, match=r"'membranes' is recorded; there are: spikes, .*; did you mean 'membrane'"),
        (
            nz.record(net, "membranes")  # type: ignore[arg-type]
        ),
    ):
        pass
    with nz.record(net, "spikes") as seen:
        net(X)
    with pytest.raises(UserError, match="membrane was not recorded, only spikes; record it with"):
        _ = seen.membrane
    with pytest.raises(KeyError, match="no layer '2' has run; there are: 1, 3"):
        _ = seen["2"]
    with pytest.raises(UserError, match=r"make its neurons with neurozoo.LIF"), nz.record(nn.Linear(2, 2)):
        pass
