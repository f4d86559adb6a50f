"""SparCH: its equations at other sizes, what its quirks do, and that every kind of its neurons is awake."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.models.sparch import LIF, PUBLISHED, READOUT_TAU, SparCH
from neurozoo.registry.registry import default_registry
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.training.initialisation import initialise_fluctuation_driven

KINDS = {name: (recurrent, neuron) for name, (recurrent, neuron, _) in PUBLISHED.items()}


def made(problem: Problem, neuron: Any = None, **params: Any) -> SparCH:
    def parts(slot: str) -> Any:
        return default_registry().resolve("part", neuron["name"])(**neuron["params"]) if neuron else None

    return SparCH(problem, parts, TorchNeuron, **params)


def problem(inputs: int = 700, length: int = 100, outputs: int = 20) -> Problem:
    task = Multiclass([f"class {n}" for n in range(outputs)])
    return Problem({"spikes": SignalShape((inputs,), length)}, task)


def spikes(samples: int, inputs: int = 700, length: int = 100, rate: float = 0.014, seed: int = 0) -> Batch:
    """Noise of about the density of SHD: 1.4 % of the bins."""
    generator = torch.Generator().manual_seed(seed)
    return Batch({"spikes": Signal((torch.rand(samples, length, inputs, generator=generator) < rate).float())})


def awake(**params: Any) -> SparCH:
    """A small model, initialised."""
    torch.manual_seed(0)
    model = made(problem(12, 10, 3), **params)
    initialise_fluctuation_driven(model, spikes(8, 12, 10, 0.3), 0.2)
    return model


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_its_neurons_are_awake(kind: str, bidirectional: bool) -> None:
    recurrent, neuron = KINDS[kind]
    torch.manual_seed(0)
    model = made(problem(), neuron, recurrent=recurrent, bidirectional=bidirectional)
    initialise_fluctuation_driven(model, spikes(12), 0.2)
    with recorded(model.eval()) as firings, torch.no_grad():
        model(spikes(12, seed=1))
    for name in spiking_layers(model):
        rate = firings[name].spikes.mean((0, 1))
        assert 0.01 <= rate.mean() <= 0.5, (name, float(rate.mean()))
        assert (rate == 0).float().mean() < 0.2, name


def by_the_equations(model: SparCH, x: torch.Tensor, back: bool) -> torch.Tensor:
    """The published outputs ``[B, K]`` of ``[T, B, N]`` in evaluation, from rest, step by step."""
    *hidden, readout = model.get_submodule("layers").children()
    for layer in hidden:
        outputs = []
        for steps in (x, x.flip(0)) if back else (x,):
            current = layer.synapse.norm(layer.synapse.weight(steps).flatten(0, 1)).view(*steps.shape[:2], -1)
            u, w, s = (torch.zeros_like(current[0]) for _ in range(3))
            used = {"coupling": 0.0, "jump": 0.0, "adaptation_decay": 0.5} | layer.params()
            alpha, made = used["membrane_decay"], []
            for now in current:
                w = used["adaptation_decay"] * w + used["coupling"] * u + used["jump"] * s
                if layer.recurrent is not None:
                    now = now + s @ (layer.recurrent.weight.T - torch.diag(layer.recurrent.weight.diag()))
                u = alpha * (u - s) + (1 - alpha) * (now - w)
                s = (u > 1).to(u)
                made.append(s)
            outputs.append(torch.stack(made))
        x = torch.cat([outputs[0], outputs[1].flip(0)], -1) if back else outputs[0]
    alpha, u, shares = readout.params()["decay"], torch.zeros(()), torch.zeros(())
    for now in readout.synapse.norm(readout.synapse.weight(x).flatten(0, 1)).view(*x.shape[:2], -1):
        u = alpha * u + (1 - alpha) * now
        shares = shares + torch.softmax(u, -1)
    return shares


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_the_equations(kind: str, bidirectional: bool) -> None:
    recurrent, neuron = KINDS[kind]
    torch.manual_seed(3)
    stated = problem(9, 15, 4)
    model = made(
        stated, neuron, hidden=(10, 7, 6), recurrent=recurrent, bidirectional=bidirectional, readout="softmax"
    ).double()
    values = spikes(3, 9, 15, 0.3).signals["spikes"].values.double()
    initialise_fluctuation_driven(model, Batch.of({"spikes": values}), 0.2)
    with torch.no_grad():
        found = model.eval()(Batch.of({"spikes": values}))
        torch.testing.assert_close(found, by_the_equations(model, values.transpose(0, 1), bidirectional))


@pytest.mark.parametrize(("start", "varies"), [("rest", False), ("random", True)])
def test_a_random_start_is_a_random_prediction(start: str, varies: bool) -> None:
    model = awake(hidden=(16,), start=start).eval()
    with torch.no_grad():
        one, two = (model(spikes(2, 12, 10, 0.3)) for _ in range(2))
    assert bool((one != two).any()) is varies


@pytest.mark.parametrize(("neuron", "drawn"), [(None, "membrane recovery spike"), (LIF, "membrane spike")])
def test_what_is_drawn_at_random_and_in_which_order(neuron: Any, drawn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def draw(self: SparCH, layer: Any, state: str, like: torch.Tensor) -> torch.Tensor:
        order.append(state)
        return torch.rand_like(like)

    monkeypatch.setattr(SparCH, "draw", draw)
    model = made(problem(12, 10, 3), neuron, hidden=(16, 8), start="random").eval()
    model(spikes(2, 12, 10))
    assert " ".join(order) == f"{drawn} {drawn} membrane"


@pytest.mark.parametrize(("limits", "projected"), [("projected", True), ("clamped", False)])
def test_parameters_outside_of_their_range(limits: str, projected: bool) -> None:
    model, slowest = awake(hidden=(16,), limits=limits), exp(-1 / READOUT_TAU[0])
    readout = model.get_submodule("layers.1")
    readout.stored["decay"].data.fill_(0.5)
    model.after_step()
    model(spikes(2, 12, 10, 0.3)).square().sum().backward()
    assert torch.allclose(readout.stored["decay"], torch.tensor(slowest if projected else 0.5))
    assert bool(readout.stored["decay"].grad.any()) is projected
    used = readout.params()
    assert torch.allclose(used["decay"], torch.tensor(slowest))
    assert torch.allclose(used["gain"], 1 - used["decay"])


def test_a_direction_reads_the_reverse_of_the_valid_steps() -> None:
    model = awake(hidden=(16,), bidirectional=True, dropout=0.0).eval()
    values = spikes(1, 12, 10, 0.3).signals["spikes"].values
    valid = (torch.arange(10) < 6)[None]
    turned = values.clone()
    turned[:, :6] = values[:, :6].flip(1)
    with recorded(model) as firings, torch.no_grad():
        model(Batch({"spikes": Signal(values, valid)}))
        ahead, back = firings["layers.0"].spikes[:6].chunk(2, 1)
        model(Batch({"spikes": Signal(turned, valid)}))
        turned_ahead, turned_back = firings["layers.0"].spikes[:6].chunk(2, 1)
    assert ahead.any()
    assert not torch.equal(ahead, back)
    assert torch.equal(turned_ahead, back)
    assert torch.equal(turned_back, ahead)


def test_a_readout_with_short_time_constants_answers_at_once() -> None:
    model = awake(hidden=(16,), readout_tau=(0.5, 3.0))
    decay = model.get_submodule("layers.1").params()["decay"].detach()
    assert exp(-2) - 1e-6 <= float(decay.min()) < float(decay.max()) <= exp(-1 / 3) + 1e-6
    assert list(SparCH.check_params(readout_tau=(3.0, 0.5))) == [
        ("readout_tau", "3 is above 0.5; give the low one first")
    ]
