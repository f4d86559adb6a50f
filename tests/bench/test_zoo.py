"""Published models next to plain writings on other libraries' neurons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from neurozoo.bench import zoo
from neurozoo.bench.zoo import CASES, ZooCost, measure_zoo
from neurozoo.cli import main
from neurozoo.reporting.bench import zoo_page, zoo_tables
from neurozoo.reporting.tables import plain_text

EXACT = ("spikformer-4-384", "sew-resnet-18", "plif-net-cifar10-dvs", "sparch-radlif-128")
"""Sizes whose plain writing is on the published neurons."""
SMALL = {
    "spikformer-4-384": {"width": 16, "heads": 2, "depth": 1},
    "sew-resnet-18": {"blocks": (1, 1)},
    "plif-net-cifar10-dvs": {"channels": (4, 4), "dropout": 0.0},
    "sparch-radlif-128": {"hidden": (8, 8), "dropout": 0.0},
}
COST = ZooCost(
    "sew-resnet-18", "convolutional", 1000, 2, (3, 8, 8), 4, "torch", "one", 1, 3, 10.0, 12.0, 4.0, 10.0, 1.0, 1.00001
)


@pytest.mark.parametrize("name", EXACT)
def test_a_plain_writing_is_the_same_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    shape = None if case.shape is None and case.group == "recurrent" else (2 if "plif" in name else 3, 16, 16)
    small = replace(case, batch=2, shape=shape, params={**case.params, **SMALL[name]})
    monkeypatch.setitem(CASES, name, small)  # type: ignore[arg-type]
    (cost,) = measure_zoo([name], steps=3, backend="torch", rounds=1)
    assert cost.loss == pytest.approx(cost.plain_loss, rel=1e-5)
    assert cost.same
    assert cost.step_ms > 0 < cost.plain_step_ms
    assert cost.peak_mib > 0 < cost.plain_peak_mib


@pytest.mark.parametrize("name", sorted(set(CASES) - set(EXACT)))
def test_a_plain_writing_on_other_neurons_takes_the_same_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, name, replace(CASES[name], batch=2))  # type: ignore[arg-type]
    (cost,) = measure_zoo([name], steps=3, backend="torch", rounds=1)
    assert cost.library == "norse"
    assert cost.parameters > 0


def test_the_command_writes_a_table_json_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "lsnn-evidence", replace(CASES["lsnn-evidence"], batch=2))  # type: ignore[arg-type]
    page = tmp_path / "speed.md"
    command = ["bench", "zoo", "lsnn-evidence", "--steps", "2", "--rounds", "1", "--backend", "torch"]
    assert main([*command, "--out", str(page), "--json"]) == 0
    (cost,) = json.loads(capsys.readouterr().out)["zoo"]
    assert cost["size"] == "lsnn-evidence"
    assert cost["steps"] == 2
    assert "lsnn-evidence" in page.read_text("utf-8")
    assert "SYNTHETIC" in page.read_text("utf-8")


def test_an_unknown_size_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "zoo", "spikformer-4-385"]) == 2
    assert "spikformer-4-384" in capsys.readouterr().err


def test_what_misses_the_goal_is_named() -> None:
    text = plain_text(zoo_tables([COST]))
    assert "misses" not in text
    assert "1.20" in text
    assert "0.40" in text
    slow = replace(COST, plain_step_ms=11.0, peak_mib=6.0)
    text = plain_text(zoo_tables([slow]))
    assert "misses the goal of 1.15 times, with 1.10" in text
    assert "misses the goal of 50% of the memory, with 60%" in text
    assert "neurozoo bench zoo --out x" in zoo_page([COST], "neurozoo bench zoo --out x")


def test_every_case_is_a_published_size() -> None:
    from neurozoo.models.by_name import variants

    assert set(zoo.CASES) <= {name for name, _, _ in variants()}
