"""Runs of Weights & Biases, offline, read back from their files; and what happens without a key or a server."""

from __future__ import annotations

import getpass
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neurozoo_wandb.logger as plugin
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from neurozoo.errors import NeurozooError
from neurozoo.runs.run import Run
from neurozoo.training import listener, run_folder
from neurozoo.training.train import resume, train

RECIPE: dict[str, Any] = {
    "schema": 2,
    "data": {
        "name": "nowhere",
        "inputs": ["spikes"],
        "instead": {"name": "poisson-synthetic", "params": {"features": 4, "labels": 2, "size": 24, "length": 5}},
    },
    "task": {"name": "multilabel"},
    "model": {"name": "cuba-mlp", "params": {"hidden": [3]}},
    "training": {"epochs": 2, "batch_size": 8, "threads": 1, "loggers": ["wandb"]},
}
KEY = "0123456789abcdef" * 2 + "secret77"


class Listener(listener.Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(autouse=True)
def _nothing_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Do not use the key, address or mode of the user who runs the tests."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    wandb.teardown()  # so that it reads the environment again


@pytest.fixture(scope="module", autouse=True)
def _service() -> Iterator[None]:
    """The process that wandb starts ends with this module's tests."""
    yield
    wandb.teardown()


def pieces(raw: bytes) -> Iterator[bytes]:
    """Yield the records of a run's file: those of LevelDB's log, in blocks of 32 kB, after a head of 7 bytes."""
    assert raw[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(raw):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", raw, place)
        parts += raw[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def offline(run: Path) -> list[dict[str, Any]]:
    """Return what each offline run of a run folder holds: config, run, history by step, summary."""
    wandb.teardown()  # its process writes the last of a file when it ends
    found = []
    for path in sorted((run / "loggers" / "wandb").glob("offline-run-*/*.wandb")):
        held: dict[str, Any] = {"path": path, "config": {}, "history": {}, "summary": {}, "artefacts": []}
        for piece in pieces(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(piece)
            if record.HasField("run"):
                held["run"] = record.run
                held["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            if record.HasField("history"):
                held["history"][record.history.step.num] = values(record.history.item)
            if record.HasField("summary"):
                held["summary"] |= values(record.summary.update)
            if record.HasField("artifact"):
                held["artefacts"] += [entry.path for entry in record.artifact.manifest.contents]
        found.append(held)
    return found


def test_a_run_is_recorded_offline_without_keys_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    run, warned = tmp_path / "seeds" / "3", Listener()
    lines = "training.loggers=[{name: wandb, params: {project: tests, artefacts: [recipe, weights, report]}}]"
    summary = train(RECIPE, lines, out=run, listener=warned)
    assert not [text for text in warned.warnings if "logger" in text]
    (held,) = offline(run)
    records = Run(run).records()
    print(
        "DBG",
        held["path"].stat().st_size,
        held["path"].parent,
        list(held["history"]),
        held["summary"].keys(),
        warned.warnings,
    )
    assert sorted(held["history"]) == [1, 2]
    for record in records:
        row = held["history"][record["epoch"]]
        assert row["valid/map"] == record["valid"]["map"]
        assert row["train/loss"] == record["train"]["loss"]
    assert held["summary"]["final_test/map"] == summary["metrics"]["test"]["map"]
    assert held["summary"]["best_epoch"] == summary["best_epoch"]
    assert held["config"]["training"]["optimizer"]["lr"] == Run(run).recipe().training.optimizer.lr
    assert held["config"]["data_checksum"] == summary["data"]["checksum"]
    assert (held["run"].project, held["run"].display_name) == ("tests", "seeds/3")
    assert held["run"].run_group.startswith("recipe-")
    assert sorted(held["artefacts"]) == [
        "checkpoints/best.safetensors", "data.json", "environment.json", "recipe.yaml"
    ]  # fmt: skip
    # Whatever lies in the run folder: no key, nobody's name, no machine's.
    unsaid = [KEY, *(n for n in (getpass.getuser(), socket.gethostname()) if len(n) > 4)]
    texts = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert len(texts) > 10
    for path, raw in texts.items():
        hidden = [word for word in unsaid if word.encode() in raw]
        assert not hidden, path


def test_seeds_are_a_group_and_a_resumed_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, calls = run_folder.append_json, []

    def stopped(path: Path, record: Any, **options: Any) -> None:
        append(path, record, **options)
        calls.append(1)
        if len(calls) == 2:  # the line is written, and the logger has not got it
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "append_json", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(RECIPE, "training.epochs=3", out=run)
    resume(run)
    first, second = offline(run)
    assert first["run"].run_id == second["run"].run_id
    assert (sorted(first["history"]), sorted(second["history"])) == ([1], [1, 2, 3])
    losses = {record["epoch"]: record["valid"]["loss"] for record in Run(run).records()}
    assert {step: row["valid/loss"] for step, row in second["history"].items()} == losses
    other = tmp_path / "other"
    train(RECIPE, "training.epochs=3", "seed=9", "training.threads=null", out=other)
    (of_other,) = offline(other)
    assert of_other["run"].run_group == second["run"].run_group
    assert of_other["run"].run_id != second["run"].run_id


def test_online_without_a_key_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    warned = Listener()
    summary = train(RECIPE, "training.epochs=1", out=tmp_path / "run", listener=warned)
    (text,) = [text for text in warned.warnings if "logger" in text]
    assert "the logger 'wandb' failed at the beginning and was disabled" in text
    assert "WANDB_MODE=online, and there is no key; log in with `wandb login`" in text
    assert text in summary["warnings"]
    assert not (tmp_path / "run" / "loggers").exists()


def test_a_link_in_the_run_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "loggers").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NeurozooError, match="is a link, which is not followed"):
        plugin.WandbLogger(tmp_path / "run")._id()
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow  # ten seconds of waiting, in which wandb gives up
def test_a_server_that_is_gone_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(plugin, "_BEGIN", 1.0)
    begin, warned = time.monotonic(), Listener()
    summary = train(RECIPE, "training.epochs=1", out=tmp_path / "run", listener=warned)
    assert time.monotonic() - begin < 30
    assert summary["status"] == "finished"
    (text,) = [text for text in warned.warnings if "logger" in text]
    assert "the logger 'wandb' failed at the beginning and was disabled" in text
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
