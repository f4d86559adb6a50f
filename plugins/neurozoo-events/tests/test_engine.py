"""Trained models and published sizes on the engine ``events``: the same answers, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from neurozoo_events.engine import EventEngine
from torch import nn

import neurozoo
from neurozoo.cli.app import app
from neurozoo.compare.engines import compare_engines
from neurozoo.compare.entry_points import Plan
from neurozoo.core.engine import attach
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import SpikingError
from neurozoo.models.engines import use_engine
from neurozoo.nn.ordered import ordered_run
from neurozoo.runs.shipped_models import shipped_models


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherSpec(LIFSpec):
    """Has a step of its own."""


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_packed_models_are_equivalent(name: str) -> None:
    found = compare_engines(Path(name), ("dense", "events"), Plan(1, 2, "valid", 1))
    (_, events), rows = found.engines, found.engines[1].layers
    assert events.verdict == "equivalent", events.problems
    judged = [row.alone for row in rows if row.alone is not None]
    assert len(judged) == len(rows)
    assert sum(each.outputs for each in judged) > 500
    assert sum(each.unordered + each.beyond for each in judged) == 0
    assert any(each.steps for each in judged)


@pytest.mark.parametrize(
    ("name", "params", "events"),
    [
        ("sparch-radlif-128", {}, 3),
        ("lsnn-evidence", {"decision_steps": 4}, 2),
        ("cuba-rsnn-shd", {"hidden": 40}, 3),
        ("plif-net-n-mnist", {"channels": (4, 4), "hidden": 16}, 3),
        ("dcls-delays-shd", {"hidden": (24,)}, 2),
    ],
)
def test_published_sizes_are_equivalent(name: str, params: dict[str, object], events: int) -> None:
    torch.manual_seed(1)
    model = neurozoo.create_model(name, **params).eval()
    ((signal, shape),) = model.problem.signals.items()
    batch = Batch({signal: Signal((torch.rand(2, 14, *shape.shape) < 0.1).float())})
    with torch.no_grad():
        expected = model(batch)
        plan = use_engine(model, "events")
        found = model(batch)
    assert sum(layer.runs == "events" for layer in plan.layers) == events
    assert "dense" not in {layer.runs for layer in plan.layers if layer.module.endswith("neurons")}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_load_with_an_engine_keeps_the_answer_and_says_how_layers_run() -> None:
    plain, made = (neurozoo.load("fsdd-small", engine=engine) for engine in (None, "events"))
    assert plain.plan is None
    assert made.plan is not None
    assert [(each.name, each.runs) for each in made.plan.layers] == [("layers.0", "events"), ("layers.1", "events")]
    spikes = {"events": (torch.rand(3, 30, 80, generator=torch.Generator().manual_seed(3)) < 0.1).float()}
    torch.testing.assert_close(made.predict(spikes), plain.predict(spikes), rtol=1e-5, atol=1e-6)


def test_a_layer_on_an_engine_still_learns() -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(5, 4)).eval()
    attach(layer, EventEngine(), "events")
    x = torch.ones(6, 1, 5, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    layer.train()
    with torch.no_grad():
        assert layer(x).shape == (6, 1, 4)


def test_weights_that_changed_are_refused() -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(5, 4)).eval()
    attach(layer, EventEngine(), "events")
    x = torch.rand(6, 2, 5)
    with torch.no_grad():
        layer(x)
        layer.load_state_dict({name: each + 1 for name, each in layer.state_dict().items()})
        with pytest.raises(SpikingError, match="the weights of a layer were changed after the engine had prepared it"):
            layer(x)
        attach(layer, EventEngine(), "events")
        assert torch.equal(layer(x), ordered_run(layer, x).outputs)


@pytest.mark.parametrize("replaced", ["synapse", "synapse.weight", "recurrent.weight"])
def test_weights_that_were_replaced_are_refused(replaced: str) -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(5, 4), recurrent=nn.Linear(4, 4, bias=False)).eval()
    run, x = EventEngine().layer(layer), torch.rand(6, 2, 5)
    run.run(x)
    where, _, name = replaced.rpartition(".")
    old = getattr(layer.get_submodule(where), name)
    setattr(layer.get_submodule(where), name, nn.Linear(5, 4) if name == "synapse" else nn.Parameter(old + 1))
    with pytest.raises(SpikingError, match="were changed after the engine had prepared it"):
        run.run(x)


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (SpikingLayer(TorchNeuron(OtherSpec()), nn.Linear(5, 4)), "OtherSpec neurons have no compiled step"),
        (SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(5, 4).double()), "synapse.weight is torch.float64 on cpu"),
        (nn.Linear(5, 4), "it has no layer of neurons"),
    ],
)
def test_what_cannot_run_is_refused_by_name(net: nn.Module, why: str) -> None:
    with pytest.raises(SpikingError, match=f"the engine events runs no layer of .*{why}"):
        attach(nn.Sequential(net).eval(), EventEngine(), "events")


def test_a_layer_that_it_does_not_run_stays_dense() -> None:
    net = nn.Sequential(
        SpikingLayer(TorchNeuron(OtherSpec()), nn.Linear(5, 4)), SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(4, 4))
    ).eval()
    x = torch.rand(6, 2, 5)
    with torch.no_grad():
        expected = net(x)
        plan = attach(net, EventEngine(), "events")
        assert [layer.runs for layer in plan.layers] == ["dense", "events"]
        assert torch.equal(net(x), expected)


@pytest.mark.parametrize(
    ("x", "state", "why"),
    [
        (torch.rand(3, 2, 7), None, r"a layer of 5 inputs takes \[T, B, ..., 5\], and got \[3, 2, 7\]"),
        (torch.rand(3, 2, 5).double(), None, "the input is torch.float64 on cpu"),
        (torch.rand(3, 2, 5), (torch.zeros(2, 4),) * 2, r"the state is \[2, 4\], \[2, 4\]; give membrane"),
        (torch.rand(3, 2, 5), (torch.zeros(1, 4),), r"the state is \[1, 4\]; give membrane, each \[2, 4\]"),
    ],
)
def test_inputs_that_do_not_fit(x: torch.Tensor, state: tuple[torch.Tensor, ...] | None, why: str) -> None:
    run = EventEngine().layer(SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(5, 4)).eval())
    with pytest.raises(SpikingError, match=why):
        run.run(x, state)


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (
            torch.rand(3, 2, 1, 6, 6),
            r"takes float32 \[T, B, 2, H, W\] .* got torch.float32 \[3, 2, 1, 6, 6\]",
        ),
        (torch.rand(3, 2, 2, 2, 6), r"frames of 2 x 6 are smaller than a kernel of \[3, 3\]"),
    ],
)
def test_frames_that_do_not_fit(x: torch.Tensor, why: str) -> None:
    run = EventEngine().layer(SpikingLayer(TorchNeuron(LIFSpec()), nn.Conv2d(2, 3, 3)).eval())
    with pytest.raises(SpikingError, match=why):
        run.run(x)


def test_frames_by_channel_and_by_place_are_the_same() -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Conv2d(6, 5, 3, padding=2)).eval()
    run = EventEngine().layer(layer)
    by_channel = (torch.rand(3, 2, 6, 7, 9, generator=torch.Generator().manual_seed(2)) < 0.2).float()
    by_place = by_channel.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    found = run.run(by_channel, None, 0.1)
    assert found.outputs.any()
    assert torch.equal(found.outputs, ordered_run(layer, by_channel, None, 0.1).outputs)
    assert torch.equal(found.outputs, run.run(by_place, None, 0.1).outputs)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = tmp_path / "samples.jsonl"
    spikes = (torch.rand(20, 80, generator=torch.Generator().manual_seed(5)) < 0.1).int().tolist()
    sample.write_text(json.dumps({"id": "a", "signals": {"events": spikes}}) + "\n", encoding="utf-8")
    answers = []
    for more in ([], ["--engine", "events"]):
        app(["predict", "fsdd-small", str(sample), *more], standalone_mode=False)
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["id"] == answers[1]["id"] == "a"
    assert answers[0].keys() == answers[1].keys()
    app(["show", "poker-dvs", "--engine", "events"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "blocks.0  lif neurons  events  a row of 16 weights at up to 9 places for each input that is not 0" in shown
    assert "head      Linear       dense   stands outside of the layers of neurons" in shown
    app(["show", "braille-taxels", "--engine", "events"], standalone_mode=False)
    assert "encoder   lif neurons   neurons  the synapse (ChannelGains) densely" in capsys.readouterr().out
    words = ["--engines", "dense,events", "--run", "fsdd-small", "--batches", "1", "--batch-size", "2"]
    app(["compare", *words], standalone_mode=False)
    assert "events  equivalent" in capsys.readouterr().out
