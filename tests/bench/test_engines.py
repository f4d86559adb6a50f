"""The time of a step on engines next to other ways, at the wanted rate."""

from __future__ import annotations

import json
from functools import partial

import pytest

from neurozoo.bench import engines
from neurozoo.bench.engines import GATED, GATED_ONNX, EngineCost, measure_engines
from neurozoo.bench.interleaved import in_turns
from neurozoo.cli.app import app
from neurozoo.errors import UserError
from neurozoo.reporting.engine_costs import engines_table


@pytest.fixture(autouse=True)
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exporter takes seconds to import; the gated net in ONNX Runtime has a slow test of its own."""

    def refuse() -> None:
        raise UserError("not installed")

    monkeypatch.setattr(engines, "check_installed", refuse)


def test_a_size_is_measured_at_its_rate() -> None:
    cost = measure_engines(48, 0.05, batch=2, rounds=1)
    assert cost.found == pytest.approx(0.05, rel=0.06)
    assert {"torch", GATED} <= cost.microseconds.keys()
    assert GATED_ONNX not in cost.microseconds
    assert {*cost.engines, *cost.libraries} < cost.microseconds.keys()
    assert cost.weight_bytes == (700 + 48) * 48 * 4
    assert cost.copy_bytes > 0
    assert "dense" not in cost.microseconds
    assert all(each > 0 for each in cost.microseconds.values())
    assert cost.row_bytes == pytest.approx(2 * (0.05 * 700 + 0.05 * 48) * 48 * 4, rel=0.1)


def test_ratios_are_to_the_fastest_engine() -> None:
    times = {"events": 2.0, "other": 4.0, "torch": 100.0}
    cost = EngineCost(512, 0.02, 0.02, 1, 100, 700, 1, times, ("events", "other"), 49_000.0)
    assert cost.ratios == {"torch": 50.0}
    table = engines_table([cost])
    assert table.rows == [["512", "2 %", "1", "2", "4", "100 (50x)", "49", "24.5", "-"]]
    assert EngineCost(512, 0.02, 0.02, 1, 100, 700, 1, {"torch": 1.0}, (), 1.0).ratios == {}


@pytest.mark.parametrize("rate", [0.0, 0.51, -1.0, float("nan")])
def test_rates_that_neurons_do_not_have(rate: float) -> None:
    with pytest.raises(UserError, match=r"is not above 0 and at most 0\.5"):
        measure_engines(8, rate)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    app(["bench", "events", "--neurons", "24", "--rates", "0.1", "--rounds", "1", "--json"], standalone_mode=False)
    (row,) = json.loads(capsys.readouterr().out)["engines"]
    assert (row["neurons"], row["batch"], row["threads"]) == (24, 1, 1)
    with pytest.raises(UserError, match="--rates is 'fast'"):
        app(["bench", "events", "--rates", "fast"], standalone_mode=False)


def test_short_runs_are_repeated_within_a_timing() -> None:
    ticks = iter(range(1000))
    calls = {"short": 0, "other": 0}

    def count(name: str) -> None:
        calls[name] += 1

    runs = {name: partial(count, name) for name in calls}
    times = in_turns(runs, 2, clock=lambda: next(ticks), least=3.0)  # each look at the clock is a second later
    assert calls == {"short": 8, "other": 8}
    assert times == {"short": [1000.0, 1000.0], "other": [1000.0, 1000.0]}
