"""Whether published numbers come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.recipe import Recipe
from neurozoo.training.fit import train
from neurozoo.training.run import Run


@pytest.fixture
def trained(tmp_path: Path, recipe: Callable[..., Recipe]) -> Path:
    train(recipe("training.epochs=1"), tmp_path / "run")
    return tmp_path / "run"


def evaluations(run: Path) -> list[dict[str, object]]:
    path = run / "evaluations.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_they_come_back_on_every_equivalent_backend(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(trained), "--tolerance", "0"]) == 0
    assert "published numbers come back, on torch, to 0" in capsys.readouterr().out
    assert main(["verify", str(trained), "--backend", "spikingjelly", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verified"]
    assert told["backend"] == "spikingjelly"
    assert {(n["split"], n["name"]) for n in told["numbers"]} >= {("test", "map"), ("valid", "loss")}


def test_a_number_that_was_made_up(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"]["test"]["micro_f1"] += 0.01
    path.write_text(json.dumps(summary))
    assert main(["verify", str(trained)]) == 3
    out = capsys.readouterr().out
    assert "test micro_f1: published" in out
    assert "not verified" in out
    assert main(["verify", str(trained), "--tolerance", "0.02"]) == 0


def test_other_weights(trained: Path) -> None:
    other = bytearray(Run(trained).best.read_bytes())
    for place in range(len(other) - 400, len(other), 4):
        other[place + 2] ^= 0x40
    Run(trained).best.write_bytes(bytes(other))
    assert main(["verify", str(trained)]) == 3


def test_other_data(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checksum": "0" * 64}))
    assert main(["verify", str(trained)]) == 3
    assert "the data is not what it was trained on" in capsys.readouterr().out


def test_an_unfinished_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "summary.json").unlink()
    assert main(["verify", str(trained)]) == 2
    assert f"`neurozoo train --resume {trained}` brings it to its end" in capsys.readouterr().err


def test_every_look_at_a_split_is_noted(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluations(trained) == []
    assert main(["evaluate", str(trained), "--backend", "norse", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["verify", str(trained)]) == 0
    noted = evaluations(trained)
    assert [(each["split"], each["backend"]) for each in noted] == [
        ("test", "norse"),
        ("valid", "torch"),
        ("test", "torch"),
    ]
    assert noted[0]["metrics"] == told["metrics"]["test"]
    assert str(noted[0]["time"]).endswith("Z")
