"""A layer of neurons: its parameters, recurrent weights, gain, and what it carries from chunk to chunk."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec
from neurozoo.core.layer import Learned, OneMinus, SpikingLayer, Synapse, TorchNeuron
from neurozoo.core.neuron import NeuronSpec, without_diagonal
from neurozoo.core.recording import over_neurons, recorded
from neurozoo.errors import SpikingError

LEARNED = [
    (PLIFSpec(), "leak", Learned(0.3, "layer", "sigmoid")),
    (PLIFSpec(), "leak", Learned((-1.0, 1.0), "neuron", "sigmoid")),
    (LIFSpec(), "tau", Learned(2.5)),
    (AdLIFSpec(), "membrane_decay", Learned((0.5, 0.9), "neuron", "clamp", (0.2, 0.95))),
    (CubaSpec(), "gain", Learned(0.1, "neuron", "identity")),
    (LISpec(), "decay", Learned(0.4, "layer", "clamp")),
    (ALIFSpec(), "adaptation", Learned((-1.0, 0.0), "neuron", "negative-exp")),
    (ALIFSpec(), "adaptation", Learned(-0.5, "layer", "exp")),
    (LIFSpec(), "tau", Learned(0.25, "neuron", "one-plus-exp")),
]


def used_by_hand(learned: Learned, stored: Tensor) -> Tensor:
    if learned.map == "sigmoid":
        return 1 / (1 + torch.exp(-stored))
    if learned.map == "clamp":
        return torch.minimum(torch.maximum(stored, torch.tensor(learned.bounds[0])), torch.tensor(learned.bounds[1]))
    by_exp = {"exp": (0, 1), "negative-exp": (0, -1), "one-plus-exp": (1, 1)}
    offset, sign = by_exp.get(learned.map, (0, 0))
    return offset + sign * torch.exp(stored) if sign else stored


@pytest.mark.parametrize(("spec", "name", "learned"), LEARNED)
def test_a_learned_parameter_is_stored_raw_and_used_mapped(spec: NeuronSpec, name: str, learned: Learned) -> None:
    torch.manual_seed(0)
    layer = SpikingLayer(TorchNeuron(spec), shape=(4,), learned={name: learned})
    assert list(layer.state_dict()) == [f"stored.{name}"]
    stored = layer.stored[name]
    assert stored.shape == ((4,) if learned.scope == "neuron" else ())
    low, high = learned.initial if isinstance(learned.initial, tuple) else (learned.initial, learned.initial)
    assert ((stored >= low) & (stored <= high)).all()
    torch.testing.assert_close(layer.params()[name], used_by_hand(learned, stored.detach()))
    torch.testing.assert_close(learned.used(learned.stored_of(layer.params()[name])), layer.params()[name])

    # The gradient of what the neuron itself gets, through the map by hand.
    x = 2 * torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(1))
    raw = stored.detach().clone().requires_grad_()
    expected, _ = TorchNeuron(spec).scan(x, None, 0.7, {name: used_by_hand(learned, raw)})
    outputs = layer(x, 0.7)
    assert torch.equal(outputs, expected)
    weights = torch.rand(outputs.shape, generator=torch.Generator().manual_seed(2))
    (expected * weights).sum().backward()
    (outputs * weights).sum().backward()
    assert stored.grad is not None
    assert raw.grad is not None
    torch.testing.assert_close(stored.grad, raw.grad, rtol=1e-4, atol=1e-6)
    assert stored.grad.abs().sum() > 0


def test_a_clamp_lets_no_gradient_through_outside() -> None:
    layer = SpikingLayer(TorchNeuron(LISpec()), learned={"decay": Learned(1.5, "layer", "clamp")})
    layer(torch.ones(3, 1, 2)).sum().backward()
    assert layer.params()["decay"] == 1.0
    assert layer.stored["decay"].grad == 0


def test_projection_moves_a_clamped_parameter_to_where_it_has_a_gradient() -> None:
    learned = {"decay": Learned(1.5, "layer", "clamp", (0.1, 0.9)), "gain": Learned(3.0)}
    layer = SpikingLayer(TorchNeuron(LISpec()), learned=learned)
    layer.project()
    assert layer.stored["gain"] == 3.0
    layer(torch.ones(3, 1, 2)).sum().backward()
    assert layer.stored["decay"].item() == pytest.approx(0.9)
    assert layer.stored["decay"].grad is not None
    assert layer.stored["decay"].grad > 0


def test_a_parameter_may_be_one_minus_another() -> None:
    layer = SpikingLayer(TorchNeuron(LISpec()), learned={"gain": OneMinus("decay"), "decay": Learned(0.75)})
    assert list(layer.state_dict()) == ["stored.decay"]
    u = layer(torch.tensor([[[4.0]], [[2.0]]]))
    assert u.flatten().tolist() == [1.0, 1.25]  # 0.25 * 4, then 0.75 * 1 + 0.25 * 2
    u[0].sum().backward()
    assert layer.stored["decay"].grad == -4.0
    fixed = SpikingLayer(
        TorchNeuron(LISpec()), params={"decay": torch.tensor(0.5)}, learned={"gain": OneMinus("decay")}
    )
    assert fixed.params()["gain"] == 0.5
    with pytest.raises(SpikingError, match="one minus decay, which is neither learned nor a fixed tensor"):
        SpikingLayer(TorchNeuron(LISpec()), learned={"gain": OneMinus("decay")})


def test_fixed_parameters_differ_by_neuron_and_are_not_saved() -> None:
    tau = torch.tensor([1.5, 2.0, 8.0])
    layer = SpikingLayer(TorchNeuron(LIFSpec()), params={"tau": tau})
    assert not layer.state_dict()
    x = 2 * torch.rand(7, 2, 3, generator=torch.Generator().manual_seed(3))
    together = layer(x, 0.6)
    for n, each in enumerate(tau.tolist()):
        alone = SpikingLayer(TorchNeuron(LIFSpec(tau=each)))(x[..., n : n + 1], 0.6)
        assert torch.equal(together[..., n : n + 1], alone)
    assert together.sum(0).unique(dim=1).numel() > 3


@pytest.mark.parametrize("options", [{"learned": {"beta": Learned(1.0)}}, {"params": {"beta": torch.ones(2)}}])
def test_a_parameter_that_the_neuron_does_not_have(options: dict[str, Any]) -> None:
    with pytest.raises(SpikingError, match="lif neurons have no parameter beta; they have: tau, v_reset"):
        SpikingLayer(TorchNeuron(LIFSpec()), **options)


def test_a_parameter_of_another_shape() -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), params={"tau": torch.full((3,), 2.0)})
    with pytest.raises(SpikingError, match=r"the parameter tau of shape \[3\] does not fit neurons of shape \[4\]"):
        layer(torch.ones(2, 1, 4))


def recurrent(spec: NeuronSpec, *, self_connections: bool = True, gain: bool = False) -> SpikingLayer:
    torch.manual_seed(4)
    back = nn.Linear(5, 5, bias=False)
    nn.init.normal_(back.weight, std=0.7)
    return SpikingLayer(
        TorchNeuron(spec), nn.Linear(3, 5), recurrent=back, self_connections=self_connections, gain=gain
    )


@pytest.mark.parametrize("self_connections", [True, False])
@pytest.mark.parametrize("spec", [LIFSpec(v_reset=None), CubaSpec(), ALIFSpec(refractory=2)])
def test_spikes_come_back_a_step_later(spec: NeuronSpec, self_connections: bool) -> None:
    layer = recurrent(spec, self_connections=self_connections)
    x = 3 * torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(5))
    assert layer.recurrent is not None
    weight = layer.recurrent.weight.detach().clone()
    if not self_connections:
        weight.fill_diagonal_(0)
    neuron, currents = TorchNeuron(spec), layer.currents(x).detach()
    state, fired, expected = neuron.initial_state(currents[0]), torch.zeros(4, 5), []
    for current in currents:
        fired, state = neuron.step(current + fired @ weight.T, state, 0.5)
        expected.append(fired)
    found = layer(x, 0.5)
    assert torch.equal(found, torch.stack(expected))
    assert 0 < found.mean() < 1

    found.sum().backward()
    assert layer.recurrent.weight.grad is not None
    diagonal = layer.recurrent.weight.grad.diagonal()
    assert bool(diagonal.any()) == self_connections
    assert layer.recurrent.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("gain", [True, False])
@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("spec", [LIFSpec(), AdLIFSpec(), ALIFSpec(refractory=1), CubaSpec(), LISpec()])
def test_chunks_equal_the_whole(spec: NeuronSpec, back: bool, gain: bool) -> None:
    layer = recurrent(spec, gain=gain)
    if not back:
        layer.recurrent = None
    x = 3 * torch.rand(9, 4, 3, generator=torch.Generator().manual_seed(6))
    thresholds = 0.5 + torch.rand(9, 4, 1, generator=torch.Generator().manual_seed(7))
    whole = layer(x, thresholds)
    for ends in ([1, 2], [4], [3, 8]):
        state, chunks = None, []
        for first, last in zip([0, *ends], [*ends, 9], strict=True):
            chunk, state = layer.run(layer.currents(x[first:last]), state, thresholds[first:last])
            chunks.append(chunk)
        torch.testing.assert_close(torch.cat(chunks), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("apply", ["threshold", "gain"])
def test_a_threshold_for_each_sample(apply: str) -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(3, 5), gain=apply == "gain")
    x = 3 * torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(8))
    levels = torch.tensor([0.1, 0.2, 0.4, 0.8])
    together = layer(x, levels)
    for sample, level in enumerate(levels.tolist()):
        torch.testing.assert_close(together[:, sample], layer(x[:, sample : sample + 1], level)[:, 0])
    assert together.sum((0, 2)).unique().numel() > 1


def test_an_input_that_is_held_runs_the_synapse_once() -> None:
    class Counted(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counted.calls += 1
            return super().forward(x)

    layer = SpikingLayer(TorchNeuron(LIFSpec()), Counted(3, 5))
    x = 4 * torch.rand(2, 3)
    held = layer(x, 0.5, steps=6)
    assert Counted.calls == 1
    assert torch.equal(held, layer(x.expand(6, 2, 3), 0.5))


def test_a_synapse_gets_the_rows_that_count() -> None:
    class Rows(Synapse):
        seen: Tensor | None = None

        def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
            Rows.seen = valid
            return x

    layer = SpikingLayer(TorchNeuron(LIFSpec()), Rows())
    valid = torch.tensor([[True, False], [True, True], [False, True]])
    assert layer(torch.ones(3, 2, 4), valid=valid).shape == (3, 2, 4)
    assert Rows.seen is not None
    assert torch.equal(Rows.seen, valid.flatten())
    layer(torch.ones(3, 2, 4), valid=valid[:1])
    assert torch.equal(Rows.seen, valid[:1].expand(3, 2).flatten())
    layer(torch.ones(3, 2, 4))
    assert Rows.seen is None


def test_learned_parameters_of_feature_maps() -> None:
    layer = SpikingLayer(
        TorchNeuron(PLIFSpec()),
        nn.Conv2d(2, 3, 3, padding=1),
        shape=(3, 1, 1),
        learned={"leak": Learned((-1.0, 1.0), "neuron", "sigmoid")},
    )
    spikes = layer(2 * torch.rand(4, 2, 2, 5, 6), 0.3)
    assert spikes.shape == (4, 2, 3, 5, 6)
    spikes.sum().backward()
    assert layer.stored["leak"].grad is not None
    assert layer.stored["leak"].grad.shape == (3, 1, 1)
    assert math.isfinite(float(layer.stored["leak"].grad.abs().sum()))


def test_a_forward_can_start_from_a_given_state() -> None:
    # h = .5 v + .5 x with x = 1: from .8 the first h is .9, which fires at .9, and .5 later does not.
    layer = SpikingLayer(TorchNeuron(LIFSpec(tau=2.0)))
    x = torch.ones(2, 1, 1)
    assert layer(x, 0.9).flatten().tolist() == [0.0, 0.0]
    with recorded(layer) as firings:
        assert layer(x, 0.9, state=(torch.full((1, 1), 0.8),)).flatten().tolist() == [1.0, 0.0]
    assert firings[""].spikes.flatten().tolist() == [1.0, 0.0]
    back = SpikingLayer(TorchNeuron(IFSpec()), recurrent=nn.Linear(1, 1, bias=False))
    nn.init.constant_(back.recurrent.weight, 1.0)  # type: ignore[union-attr]
    # The last output counts as well: it returns in the first step, and its spike in the next.
    state = (torch.zeros(1, 1), torch.ones(1, 1))
    assert back(torch.zeros(3, 1, 1), state=state).flatten().tolist() == [1.0, 1.0, 1.0]
    assert back(torch.zeros(3, 1, 1)).flatten().tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("detached", [False, True])
def test_the_gradient_through_what_returns(detached: bool) -> None:
    """Two steps of IF with a box surrogate of 1: u_0 = x_0 - 1, u_1 = v_0 + x_1 + V s_0 - 1."""
    spec = IFSpec(surrogate="box", alpha=4.0, detach_reset=True)
    back = nn.Linear(1, 1, bias=False)
    nn.init.constant_(back.weight, 0.5)
    layer = SpikingLayer(TorchNeuron(spec), recurrent=back, detach_recurrent=detached)
    x = torch.tensor([[[1.0]], [[0.25]]], requires_grad=True)
    spikes = layer(x)
    assert spikes.flatten().tolist() == [1.0, 0.0]
    spikes[1].backward()
    assert x.grad is not None
    # v_0 = (1 - s_0) h_0 is reset, so that x_0 reaches u_1 by the recurrent weight alone.
    assert x.grad.flatten().tolist() == [0.0 if detached else 0.5, 1.0]
    assert back.weight.grad is not None
    assert back.weight.grad.item() == 1.0


class OneStepLate(Synapse):
    """A delay: what comes in at a step drives the neurons a step later, so that there is one step more."""

    over_time = True

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        return nn.functional.pad(x, (0, 0) * (x.dim() - 1) + (1, 0))

    def valid_after(self, valid: Tensor | None) -> Tensor | None:
        return None if valid is None else torch.cat((valid[:1], valid))


def test_a_synapse_may_see_time_and_lengthen_it() -> None:
    layer = SpikingLayer(TorchNeuron(IFSpec()), OneStepLate())
    x = torch.tensor([[[1.0], [1.0]], [[0.0], [1.0]]])  # [T = 2, B = 2, N = 1]
    valid = torch.tensor([[True, True], [False, True]])
    with recorded(layer) as firings:
        spikes = layer(x, valid=valid)
    assert spikes[..., 0].T.tolist() == [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    assert firings[""].valid is not None
    assert firings[""].valid.T.tolist() == [[True, True, False], [True, True, True]]
    sums, count = over_neurons(spikes, firings[""].valid)
    assert (sums.tolist(), int(count)) == ([3.0], 5)
    assert layer(x[0], steps=2)[..., 0].T.tolist() == [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]


def test_recurrent_weights_without_their_diagonal_have_the_same_bits_when_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight = torch.randn(6, 6)
    wanted = without_diagonal(weight)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(without_diagonal(weight), wanted)
    assert torch.equal(wanted, weight * (1 - torch.eye(6)))
