"""The sweep of ``bench events``: which sizes, where others cross the engine, and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from neurozoo.bench import engine_sweep
from neurozoo.bench.engine_sweep import (
    AT,
    EqualScore,
    FrameCost,
    Sweep,
    crossings,
    measure_equal,
    measure_frames,
    points,
)
from neurozoo.bench.engines import GATED, GATED_ONNX, LAYER, EngineCost
from neurozoo.cli.app import app
from neurozoo.errors import UserError
from neurozoo.registry.registry import default_registry
from neurozoo.reporting.engine_costs import crossing_sentences, sweep_figure, sweep_page, with_part

BASE = EngineCost(512, 0.02, 0.02, 1, 100, 700, 1, {"events": 2.0}, ("events",), 49_000.0, 2_482_176, 40e9)


def cost(rate: float = 0.02, neurons: int = 512, batch: int = 1, **times: float) -> EngineCost:
    return replace(
        BASE, rate=rate, neurons=neurons, batch=batch, microseconds={"events": 2.0, **times}, libraries=("lib",)
    )


@pytest.fixture
def sweep() -> Sweep:
    times = {"lib": 120.0, "torch": 80.0, GATED: 90.0, GATED_ONNX: 40.0}
    costs = [cost(rate, batch=batch, **times) for rate in (0.001, 0.02, 0.5) for batch in (1, 64)]
    costs += [cost(neurons=64, **times), cost(batch=4, **times)]
    frames = FrameCost(2, 16, 128, 0.05, "by place", {"events": 0.5, "torch": 2.0}, ("events",))
    equal = EqualScore("asc", 128, 50, 0.35, 0.13, {"events": 400.0, "torch": 7000.0, GATED_ONNX: 200.0}, ("events",))
    return Sweep(tuple(costs), (frames,), (equal,), 7)


def test_the_lines_go_through_one_point() -> None:
    for quick in (False, True):
        made = points(quick)
        assert len(made) == len(set(made))
        assert AT in made
    whole = points()
    assert {p.rate for p in whole} >= {0.001, 0.5}
    assert {p.neurons for p in whole} >= {64, 4096}
    assert {p.batch for p in whole} >= {1, 64}


def test_others_cross_where_they_are_as_fast() -> None:
    rates = (0.01, 0.04, 0.16)
    costs = [cost(rate, near=near, never=9.0, always=1.0) for rate, near in zip(rates, (8.0, 4.0, 1.0), strict=True)]
    found = {each.name: each for each in crossings(costs)}
    assert found["near"].rate == pytest.approx(0.08)  # from twice to half as long on a logarithmic axis
    assert (found["never"].rate, found["always"].rate) == (float("inf"), 0.0)
    assert crossing_sentences(
        [found["near"], found["never"], replace(found["never"], name="other"), found["always"]]
    ) == [
        "One sample at a time, the engine is ahead of near below 8 %, and behind above",
        "One sample at a time, the engine is ahead of never and other up to 16 %, the highest rate measured",
        "One sample at a time, the engine is behind always from 1 % on, the lowest rate measured",
    ]
    assert crossings([]) == []


def test_the_page_says_goals_crossings_and_where_others_are_ahead(sweep: Sweep) -> None:
    page = sweep_page(sweep, "neurozoo bench events", "events.svg")
    assert "![Time of a step against rate, width and batch](events.svg)" in page
    assert "lib, the fastest spiking library, takes 60 times as long as the engine; the goal of 50 is reached" in page
    assert "GRU in ONNX Runtime takes 20 times as long as the engine; the goal of 25 is missed" in page
    assert "64 samples at a time, the engine is ahead of lib, torch, torch.nn.GRU and GRU in ONNX Runtime up" in page
    assert "GRU in ONNX Runtime is ahead of the engine: asc" in page
    assert "torch takes 4.0 times as long as the engine; the goal of 5 is missed" in page
    assert "numba is ahead" not in page
    assert "| 512 | 0.1 % | 1 | 2 | 120 (60x) |" in page
    assert "| 49 | 24.5 | 40 |" in page
    assert not [line for line in page.splitlines() if line.startswith("## ")]


def test_the_figure_has_a_line_for_each(sweep: Sweep) -> None:
    drawn = sweep_figure(sweep)
    assert drawn.startswith("<svg ")
    for name in ("events", "lib", GATED_ONNX, "neurons"):
        assert f">{name}</text>" in drawn
    assert "currentColor" not in drawn


def test_a_part_of_a_page_is_replaced() -> None:
    page = with_part(None, "old\n", "new.md")
    assert with_part(f"before\n{page}after\n", "new\n", "a.md") == (
        "before\n<!-- bench events: begin -->\n\nnew\n\n<!-- bench events: end -->\nafter\n"
    )
    with pytest.raises(UserError, match=r"a\.md has no lines <!-- bench events: begin --> and"):
        with_part("a page\n", "new\n", "a.md")


def test_the_command_writes_page_and_figure(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_sweep, "measure_sweep", lambda **_: sweep)
    page = tmp_path / "events.md"
    app(["bench", "events", "--quick", "--out", str(page), "--json"], standalone_mode=False)
    assert len(json.loads(capsys.readouterr().out)["events"]["costs"]) == len(sweep.costs)
    assert f"`neurozoo bench events --quick --out {page} --rounds 7`" in page.read_text()
    assert (tmp_path / "events.svg").read_text().startswith("<svg ")
    page.write_text("no marks\n")
    with pytest.raises(UserError, match="has no lines"):
        app(["bench", "events", "--out", str(page)], standalone_mode=False)
    with pytest.raises(UserError, match="--quick and --out are of the whole sweep"):
        app(["bench", "events", "--quick", "--neurons", "8"], standalone_mode=False)


def test_frames_in_both_layouts() -> None:
    by_channel, by_place = measure_frames(2, 3, side=8, frames=2, rounds=1)
    assert (by_channel.layout, by_place.layout) == ("by channel", "by place")
    assert {"torch", *by_channel.engines} <= by_channel.milliseconds.keys()
    assert all(each > 0 for each in by_place.milliseconds.values())


@torch.no_grad()
@pytest.mark.parametrize("name", ["norse", "snntorch", "spikingjelly"])
def test_a_library_runs_the_same_layer(name: str) -> None:
    registry = default_registry()
    if name not in registry.usable_backends():
        pytest.skip(f"{name} is not installed")
    generator = torch.Generator().manual_seed(2)
    weight, back = torch.randn(20, 30, generator=generator), 0.1 * torch.randn(20, 20, generator=generator)
    x = (torch.rand(2, 40, 30, generator=generator) < 0.2).float()
    level = 1.0
    network = registry.resolve("neuron", name).plain_networks()[LAYER]
    spikes = network((30,), 40, 20, {"weight": weight, "back": back, "threshold": level})(x)
    v, z, expected = torch.zeros(2, 20), torch.zeros(2, 20), []
    for step in x.unbind(1):
        current = step @ weight.T + z @ back.T
        if name == "snntorch":  # a neuron that fired loses the current of the next step as well
            v = (v / 2 + current / 2) * (v <= level)
            z = (v > level).float()
        else:
            v = v + (current - v) / 2
            z = (v >= level).float()
            v = v * (1 - z)
        expected.append(z)
    assert 0.05 < float(spikes.mean()) < 0.5
    assert torch.equal(spikes, torch.stack(expected, 1))


@pytest.mark.slow
def test_a_trained_model_and_its_gated_net() -> None:
    found = measure_equal("braille-events", rounds=1)
    assert (found.hidden, found.steps) == (128, 38)
    assert 0 < found.fired < 0.5
    assert {*found.engines, "torch", GATED, GATED_ONNX} <= found.microseconds.keys()
