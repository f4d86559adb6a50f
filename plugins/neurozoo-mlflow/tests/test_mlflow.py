"""Runs of MLflow, in a file and behind a server that fails, read back by MLflow's own client."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from neurozoo_mlflow.logger import MlflowLogger, _quiet

from neurozoo.errors import NeurozooWarning
from neurozoo.runs.run import Run
from neurozoo.studies.seeds import train_seeds
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
    "training": {"epochs": 2, "batch_size": 8, "threads": 1, "loggers": ["mlflow"]},
}


class Listener(listener.Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings += [text] if "logger" in text else []


@pytest.fixture(autouse=True)
def _nothing_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Do not use the server of the user who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MlflowClient:
    """A store in files, which is made in no time; the environment names it."""
    address = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return MlflowClient(address)


def runs(client: MlflowClient, experiment: str = "neurozoo") -> list[Any]:
    with _quiet():
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        return list(client.search_runs([found.experiment_id]))


def history(client: MlflowClient, run: Any, name: str) -> list[tuple[int, float]]:
    with _quiet():
        return sorted((each.step, each.value) for each in client.get_metric_history(run.info.run_id, name))


@pytest.mark.parametrize("address", ["named", pytest.param("none", marks=pytest.mark.slow)])
def test_what_a_run_holds(address: str, files: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the store that the environment names; else in a file of this folder, which takes seconds to make."""
    client = files
    if address == "none":
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        with _quiet():
            client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run, warned = tmp_path / "seeds" / "3", Listener()
    lines = "training.loggers=[{name: mlflow, params: {experiment: tests, artefacts: [recipe, weights, report]}}]"
    summary = train(RECIPE, lines, out=run, listener=warned)
    assert not warned.warnings
    (made,) = runs(client, "tests")
    records = Run(run).records()
    assert history(client, made, "valid/map") == [(each["epoch"], each["valid"]["map"]) for each in records]
    assert history(client, made, "epoch") == [(1, 1), (2, 2)]
    assert history(client, made, "final_test/map") == [(summary["best_epoch"], summary["metrics"]["test"]["map"])]
    assert made.data.params["training.optimizer.lr"] == "0.001"
    assert made.data.params["seed"] == "1"
    assert not [name for name in made.data.params if name.startswith(("data.root", "training.loggers"))]
    assert (made.info.status, made.info.run_name) == ("FINISHED", "seeds/3")
    assert made.data.tags["neurozoo.data_checksum"] == summary["data"]["checksum"]
    assert made.data.tags["mlflow.note.content"].startswith("SYNTHETIC data")
    with _quiet():
        names = [each.path for each in client.list_artifacts(made.info.run_id)]
    assert sorted(names) == ["checkpoints", "data.json", "environment.json", "recipe.yaml"]
    unsaid = [word for word in (getpass.getuser(), socket.gethostname()) if len(word) > 2]
    for name, value in {**made.data.params, **made.data.tags}.items():
        assert not [word for word in unsaid if word in value], name
    assert made.info.user_id in ("", "unknown")


@pytest.mark.slow  # two processes, and a store that is made
def test_two_trainings_may_make_the_same_file_at_once(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    train_seeds(tmp_path / "recipe.yaml", seeds=2, jobs=2, out=tmp_path / "study")
    for seed in (1, 2):
        summary = json.loads((tmp_path / "study" / str(seed) / "summary.json").read_text())
        assert not [text for text in summary["warnings"] if "logger" in text]
    with _quiet():
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    made = runs(client)
    assert sorted(each.info.run_name for each in made) == ["study/1", "study/2"]
    assert len({each.data.tags["neurozoo.group"] for each in made}) == 1


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> None:
    """Interrupt a training when the line of an epoch is written, and the logger has not got it."""
    append, calls = run_folder.append_json, []

    def stopped(path: Path, record: Any, **options: Any) -> None:
        append(path, record, **options)
        calls.append(1)
        if len(calls) == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "append_json", stopped)
        with pytest.raises(KeyboardInterrupt):
            call()


def test_a_resumed_run_is_the_same_with_each_epoch_once(
    files: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stop_after(2, monkeypatch, lambda: train(RECIPE, "training.epochs=4", out=run))
    (made,) = runs(files)
    assert (made.info.status, history(files, made, "epoch")) == ("KILLED", [(1, 1)])
    stop_after(2, monkeypatch, lambda: resume(run))
    resume(run)
    (made,) = runs(files)
    assert made.info.status == "FINISHED"
    losses = [(each["epoch"], each["valid"]["loss"]) for each in Run(run).records()]
    assert history(files, made, "valid/loss") == losses
    assert [step for step, _ in losses] == [1, 2, 3, 4]


def test_seeds_are_a_group_and_one_that_the_server_lost_is_made_again(
    files: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(RECIPE, out=tmp_path / "1")
    train(RECIPE, "seed=2", "training.threads=null", out=tmp_path / "2")
    train(RECIPE, "training.optimizer.lr=0.5", out=tmp_path / "3")
    groups = {each.info.run_name.rpartition("/")[2]: each.data.tags["neurozoo.group"] for each in runs(files)}
    assert groups["1"] == groups["2"] != groups["3"]
    assert groups["1"].startswith("recipe-")
    stop_after(2, monkeypatch, lambda: train(RECIPE, out=tmp_path / "lost"))
    (lost,) = [each for each in runs(files) if each.info.run_name == "lost"]
    with _quiet():
        files.delete_run(lost.info.run_id)
    resume(tmp_path / "lost")
    (again,) = [each for each in runs(files) if each.info.run_name == "lost"]
    assert again.info.run_id != lost.info.run_id
    assert history(files, again, "epoch") == [(1, 1), (2, 2)]


def test_a_server_that_is_gone_ends_no_training_and_keeps_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:hunter2-and-more@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    begin, warned = time.monotonic(), Listener()
    summary = train(RECIPE, out=tmp_path / "run", listener=warned)
    assert time.monotonic() - begin < 20
    assert summary["status"] == "finished"
    (text,) = warned.warnings
    assert "the logger 'mlflow' failed at the beginning and was disabled" in text
    assert "127.0.0.1" in text
    assert text in summary["warnings"]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path
    assert "hunter2" not in text


def test_epochs_that_fail_are_sent_later_with_one_warning(
    files: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, calls = MlflowClient.log_batch, []

    def flaky(self: MlflowClient, run_id: str, metrics: Any = (), **more: Any) -> None:
        calls.append(1)
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
        if metrics and len(calls) in (2, 3):  # the first is of the parameters
            raise MlflowException("http://a:secret77@host is away")
        send(self, run_id, metrics=metrics, **more)

    monkeypatch.setattr(MlflowClient, "log_batch", flaky)
    warned = Listener()
    with pytest.warns(
        NeurozooWarning, match=r"epoch 1 is sent with a later one, as this failed: http://\*\*\*@host"
    ) as told:
        train(RECIPE, "training.epochs=4", out=tmp_path / "run", listener=warned)
    assert len(told) == 1
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    assert not warned.warnings
    (made,) = runs(files)
    assert [step for step, _ in history(files, made, "valid/loss")] == [1, 2, 3, 4]


def test_one_that_keeps_failing_is_given_up(
    files: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, metrics: Any = (), **__: Any) -> None:
        if metrics:
            raise MlflowException("gone")

    monkeypatch.setattr(MlflowClient, "log_batch", gone)
    warned = Listener()
    with pytest.warns(NeurozooWarning):
        train(RECIPE, "training.epochs=7", out=tmp_path / "run", listener=warned)
    (text,) = warned.warnings
    assert "failed in epoch 5 and was disabled" in text
    assert "the last 5 epochs could not be sent: gone" in text


def test_what_a_stranger_wrote_into_the_run_is_not_followed(
    files: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stop_after(1, monkeypatch, lambda: train(RECIPE, out=run))
    (run / "loggers" / "mlflow.json").write_text('{"id": "../../elsewhere"}')
    logger = MlflowLogger(run)
    logger._client = files
    assert logger._found() is None
    (run / "loggers" / "mlflow.json").unlink()
    (run / "loggers" / "mlflow.json").symlink_to("/etc/passwd")
    warned = Listener()
    resume(run, listener=warned)
    assert "is a link, which is not followed" in warned.warnings[0]
