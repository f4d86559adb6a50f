"""Whether published numbers come back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.hub.packing import pack
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.packed import read_packed
from neurozoo.runs.run import Run


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
    tensors, metadata = read_tensors(Run(trained).best)
    write_tensors(Run(trained).best, {name: 1.5 * x for name, x in tensors.items()}, metadata)
    assert main(["verify", str(trained)]) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda summary: summary["lesion"]["permuted"].update(test=0.5), "test lesion effect, permuted: published 0.5"),
        (lambda summary: summary["metrics"].pop("test"), "test micro_f1: published None"),
        (lambda summary: summary["lesion"].clear(), "valid lesion effect, silent: published None"),
    ],
)
def test_what_was_taken_away_or_changed_beside_the_metrics(
    change: Callable[[dict[str, Any]], object], told: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))
    assert main(["verify", str(trained)]) == 3
    assert told in capsys.readouterr().out


def test_data_that_was_changed_under_its_checksum(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Path(Run(trained).recipe().data.root or "")
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    shard = next(copy.glob("test-*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert main(["verify", str(trained), "--data-root", str(store)]) == 0
    assert main(["verify", str(trained), "--data-root", str(copy)]) == 3
    assert "or `neurozoo data check` finds it changed" in capsys.readouterr().out
    assert [each["same_data_as_trained"] for each in evaluations(trained)] == [True, True, True, False]


def test_a_run_in_which_nothing_can_be_noted(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "evaluations.jsonl").mkdir()
    assert main(["verify", str(trained)]) == 2
    assert "evaluations.jsonl cannot be written (Is a directory); copy the run" in capsys.readouterr().err


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


OTHER = ["sad", "angry", "calm"]


def test_a_run_that_names_other_outputs_than_its_checkpoint(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads((trained / "data.json").read_text())
    data["task"]["outputs"] = OTHER
    (trained / "data.json").write_text(json.dumps(data))
    assert main(["verify", str(trained)]) == 3
    assert "data.json: names the multilabel outputs sad, angry, calm, and the weights" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["manifest", "summary"])
def test_a_manifest_that_names_other_outputs_than_the_checkpoint(
    place: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Run(trained).recipe().data.root or ""
    folder = pack(trained, tmp_path / "packed", licence="Apache-2.0")
    assert main(["verify", str(folder), "--data-root", store]) == 0
    packed = read_packed(folder)
    task = packed.task if place == "manifest" else packed.summary["data"]["task"]
    assert task is not None
    task["outputs"] = OTHER
    (folder / "neurozoo.json").write_text(json.dumps(packed.sealed().content()))
    assert main(["verify", str(folder), "--data-root", store]) == 3
    assert "neurozoo.json: names the multilabel outputs sad, angry, calm, and the weights" in capsys.readouterr().err
