"""Whether any network is the same on several backends, and what is reported where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurozoo as nz
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Params, State
from neurozoo.errors import SpikingError, UserError
from neurozoo.registry.registry import Registry

X = 3 * torch.rand(7, 4, 5, generator=torch.Generator().manual_seed(0))


def make(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nz.LIF(threshold=0.4), *more, nn.Linear(8, 3), nz.LI())


def test_backends_that_are_exact_are_equivalent_and_the_network_stays_as_it_was() -> None:
    net = make(nn.Dropout(0.5))  # the same elements are dropped each time
    before = {name: each.clone() for name, each in net.state_dict().items()}
    own, random = net[1].neuron, torch.random.get_rng_state()
    found = nz.equivalent(net, X, "torch", "norse", "numba")
    assert found
    assert (found.verdict, found.first, found.silent) == ("equivalent", None, ())
    assert [each.backend for each in found.backends] == ["norse", "numba"]
    assert found.backends[0].layers[0].spikes == 7 * 4 * 8
    assert found.gradients == 5  # of two linears and the input
    assert found.rates["1"] > 0.05
    assert str(found).startswith("equivalent: norse, numba and torch\nnorse: equal\n  spikes: 0 of 224 differ\n")
    assert net[1].neuron is own
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(each, before[name]) for name, each in net.state_dict().items())
    assert all(each.grad is None for each in net.parameters())


def test_the_first_spike_that_differs_is_named() -> None:
    # Where the membrane equals the threshold, Norse's own neuron is silent.
    net = nn.Sequential(nz.IF(), nz.IF())
    x = torch.zeros(4, 2, 3)
    x[2, 1, 2] = 1.0
    found = nz.equivalent(net, x, "torch", "norse-native")
    assert not found
    assert found.first is not None
    assert (found.first.layer, found.first.step, found.first.sample, found.first.neuron) == ("0", 2, 1, (2,))
    assert found.first.expected == 1.0
    assert [each.mismatches for each in found.backends[0].layers] == [1, 1]
    assert "a spike of the reference is missing: layer 0, step 2, sample 1, neuron [2]" in str(found)


class _OtherGradient(TorchNeuron):
    """Fires as the oracle, and doubles its gradient."""

    def scan(
        self, currents: Tensor, state: State | None = None, threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:  # fmt: skip
        spikes, after = super().scan(currents, state, threshold, params)
        return 2 * spikes - spikes.detach(), after


def test_gradients_that_differ_are_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    net = make()
    resolve = Registry.resolve

    def other(self: Any, kind: Any, name: str, *rest: Any) -> Any:
        return _OtherGradient if name == "numba" else resolve(self, kind, name, *rest)

    monkeypatch.setattr(Registry, "resolve", other)
    found = nz.equivalent(net, X, "torch", "numba")
    assert found.first is None
    assert not found
    (numba,) = found.backends
    assert numba.gradient_difference == pytest.approx(3.0)  # doubled by both layers
    assert numba.worst_gradient in ("0.weight", "0.bias", "the input")
    assert "gradients: differ by 3 of the largest" in str(found)


def test_silence_and_spikes_that_are_not_compared_are_said() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0.5).to(x)

    net = nn.Sequential(Own(), nn.Linear(5, 4), nz.LIF(threshold=100.0))
    found = nz.equivalent(net, X, "torch", "norse")
    assert found
    assert found.silent == ("2",)
    assert found.unseen == {"0": "Own"}
    assert "hardly anything fires in 2: there equal spikes prove little" in str(found)
    assert "not compared, as they fire outside of a layer of neurons: 0 (Own)" in str(found)


def test_models_of_the_zoo_and_several_arguments() -> None:
    model = nz.create_model("recurrent", inputs=(3,), length=5, outputs=2)
    assert nz.equivalent(model, torch.rand(4, 5, 3), "torch", "norse")
    assert nz.equivalent(model, {"input": torch.rand(4, 5, 3)}, "torch", "norse")

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fire = nz.LIF(threshold=0.3)

        def forward(self, x: Tensor, scale: float) -> dict[str, Tensor]:
            return {"spikes": self.fire(x * scale)}

    assert nz.equivalent(Two(), (X, 0.5), "torch", "numba").gradients == 1


def test_what_cannot_be_compared_is_refused_and_nothing_changes() -> None:
    net = nn.Sequential(nz.ALIF())
    with pytest.raises(UserError, match="give two or more different ones"):
        nz.equivalent(net, X, "torch")
    with pytest.raises(SpikingError, match="does not run alif neurons"):
        nz.equivalent(net, X, "torch", "norse")
    assert type(net[0].neuron) is TorchNeuron
    with pytest.raises(UserError, match="no layer whose neurons fire"):
        nz.equivalent(nz.LI(), X, "torch", "numba")
