"""A search on the valid split: what it tries, what it leaves closed, and how it goes on."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import neurozoo
from neurozoo.cli import main
from neurozoo.data import store as store_module
from neurozoo.errors import DataError, NeurozooError, RunError, UserError
from neurozoo.models.build import open_data
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.studies.tuning import TuningResult, search, tune
from neurozoo.training.listener import Checkpoint, Listener, Saved

optuna = pytest.importorskip("optuna")

TUNE = """
tune:
  metric: map
  space:
    training.optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}
    model.params.hidden: {values: [10, 20]}
    model.params.dropout: {low: 0.0, high: 0.5, step: 0.2}
    training.batch_size: {low: 8, high: 12}
"""
EPOCH = ("training.epochs=1",)


@pytest.fixture
def path(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    recipe()
    file = tmp_path / "small.yaml"
    file.write_text(file.read_text() + TUNE)
    return file


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """Nothing is trained: what a trial is worth depends on its batch size alone; returns the recipes of the trials."""
    trained: list[Recipe] = []

    def train(recipe: Recipe, *, out: Path, listener: Listener, closed: tuple[str, ...]) -> dict[str, Any]:
        trained.append(recipe)
        value = recipe.training.batch_size / 100
        for epoch in (1, 2, 3):
            record = {"epoch": epoch, "valid": {"map": value * epoch / 3, "loss": -value}}
            listener.epoch(record, Checkpoint({}, {}, best=True, saved=Saved({}, {})))
        return {"metrics": {"valid": {"map": value, "loss": -value, "hamming_loss": value}}}

    monkeypatch.setattr(search, "train", train)
    return trained


def values(found: TuningResult) -> list[Mapping[str, str]]:
    return [dict(line.split("=", 1) for line in trial.overrides) for trial in found.trials]


def test_a_search_opens_train_and_valid_alone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    class Counted(store_module.Shard):
        def __init__(self, file: Path) -> None:
            opened.append(file.name)
            super().__init__(file)

    monkeypatch.setattr(store_module, "Shard", Counted)
    out = tmp_path / "out"
    command = ["tune", str(path), *EPOCH, "--trials", "2", "--out", str(out)]
    assert main(command) == 0
    shown, told = capsys.readouterr()
    assert {name.partition("-")[0] for name in opened} == {"train", "valid"}
    assert [line[:12] for line in told.splitlines()] == ["1/2 trial 0:", "2/2 trial 1:"]
    assert "2 trials: 2 finished; chosen on valid, test was not opened" in shown

    written = json.loads((out / "best.json").read_text())
    assert (written["schema"], written["recipe"], written["metric"], written["split"]) == (1, "small", "map", "valid")
    assert written["trials"] == {"finished": 2}
    scores = []
    for number in (0, 1):
        run = out / "trials" / str(number)
        assert [file.name for file in (run / "predictions").iterdir()] == ["valid.safetensors"]
        summary = json.loads((run / "summary.json").read_text())
        assert all(list(summary[name]) == ["valid"] for name in ("metrics", "health"))
        assert all(list(by_split) == ["valid"] for by_split in summary["lesion"].values())
        assert list(summary["data"]["splits"]) == ["train", "valid"]
        scores.append(summary["metrics"]["valid"]["map"])
        assert summary["environment"]["threads"] == 1
    assert (written["value"], written["trial"]) == (max(scores), scores.index(max(scores)))
    assert written["overrides"][0] == EPOCH[0]
    assert shlex.split(shown.splitlines()[-3]) == ["neurozoo", "train", str(path), *written["overrides"]]
    best = load_recipe(path, written["overrides"])
    made = load_recipe(out / "trials" / str(written["trial"]) / "recipe.yaml")
    assert best.training.optimizer == made.training.optimizer
    assert 0.001 <= best.training.optimizer.lr <= 0.1
    assert best.model.params["dropout"] in (0.0, 0.2, 0.4)

    # Nor can it be opened later.
    capsys.readouterr()
    for command in (
        ["evaluate", str(out / "trials" / "0")],
        ["evaluate", str(out / "trials" / "1"), "--split", "test"],
    ):
        assert main(command) == 2
        assert "the split 'test' of " in (error := capsys.readouterr().err)
        assert "is closed here: tuning may not open it" in error
    assert main(["verify", str(out / "trials" / "0"), "--json"]) == 0
    view = open_data(best, closed=("test",))
    with pytest.raises(DataError, match=r"the split 'test' of .* is closed here"):
        view.split("test")
    with pytest.raises(DataError, match=r"the split 'test' of .* is closed here"):
        view.beside("audio").split("test")
    assert {name.partition("-")[0] for name in opened} == {"train", "valid"}


def test_the_same_command_goes_on_to_as_many_in_all(path: Path, tmp_path: Path, pretended: list[Recipe]) -> None:
    out = tmp_path / "out"
    tune(path, trials=1, out=out)
    found = neurozoo.tune(path, trials=3, out=out)
    assert len(pretended) == 3
    assert [trial.number for trial in found.trials] == [0, 1, 2]
    assert found.best is not None
    assert found.best.value == max(recipe.training.batch_size for recipe in pretended) / 100
    tune(path, trials=3, out=out)
    assert len(pretended) == 3
    # What is tried depends on the seed and on what was tried before, on nothing else.
    again = tune(path, trials=3, out=tmp_path / "again")
    assert values(again) == values(found)
    assert values(tune(path, "seed=4", trials=1, out=tmp_path / "other")) != values(found)[:1]


def test_a_study_is_of_one_recipe_data_and_space(path: Path, tmp_path: Path, pretended: list[Recipe]) -> None:
    tune(path, trials=1, out=tmp_path)
    with pytest.raises(UserError, match="the study 'small' is of another recipe; give another --study, or another"):
        tune(path, "training.epochs=3", trials=1, out=tmp_path)
    with pytest.raises(UserError, match="is of another tune section; give another --study"):
        tune(path, "tune.metric=loss", trials=1, out=tmp_path)
    found = tune(path, "tune.metric=loss", trials=10, out=tmp_path / "b", storage=str(tmp_path / "b.journal"))
    assert (tmp_path / "b.journal").is_file()
    assert found.best is not None
    assert found.best.value == min(-recipe.training.batch_size / 100 for recipe in pretended[1:])
    assert found.ranked[0] == found.best
    assert found.importance.keys() == values(found)[0].keys()
    assert sum(found.importance.values()) == pytest.approx(1)


def test_the_task_says_whether_lower_is_better(path: Path, tmp_path: Path, pretended: list[Recipe]) -> None:
    found = tune(path, "tune.metric=hamming_loss", trials=4, out=tmp_path)
    assert found.better == "lower"
    assert found.best is not None
    assert found.best.value == min(recipe.training.batch_size for recipe in pretended) / 100
    assert json.loads((tmp_path / "best.json").read_text())["better"] == "lower"


def test_a_trial_that_fails_is_noted_and_the_search_goes_on(path: Path, tmp_path: Path) -> None:
    space = "tune.space={training.optimizer.lr: {values: [0.001, 1.0e9]}, model.params.heads: {values: [5]}}"
    found = tune(path, *EPOCH, space, trials=3, out=tmp_path / "out")
    assert set(found.counts) == {"finished", "failed"}
    assert all("is not finite" in trial.reason for trial in found.trials if trial.state == "failed")
    assert found.best is not None
    assert found.best.overrides == ("training.optimizer.lr=0.001", "model.params.heads=5")
    with pytest.raises(
        NeurozooError, match=r"none of the 1 trials of 'b' .*; trial 0: the firing threshold is not finite"
    ):
        tune(path, *EPOCH, "tune.space={training.optimizer.lr: {values: [1.0e9]}}", trials=1, out=tmp_path, study="b")


def test_an_interrupted_trial_is_gone_on_with(
    path: Path, tmp_path: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    options = ["training.batch_size=8", "tune.space={training.optimizer.lr: {low: 0.001, high: 0.01}}"]
    undisturbed = tune(path, *options, trials=1, out=tmp_path / "undisturbed")
    out = tmp_path / "out"
    with interrupted_at(5):  # in the second epoch
        tune(path, *options, trials=1, out=out)
    begun = (out / "trials" / "0" / "run.json").stat().st_mtime_ns
    found = tune(path, *options, trials=1, out=out)
    assert found.trials == undisturbed.trials
    assert (out / "trials" / "0" / "run.json").stat().st_mtime_ns == begun
    assert not list((out / "trials").glob(".*"))

    # Trials of two searches do not go into one folder.
    with pytest.raises(RunError, match=r"holds the trials of another search \(study 'small'\); give another --out"):
        tune(path, *options, trials=1, out=out, study="other")
    (out / "study.json").unlink()
    with pytest.raises(RunError, match=r"trials/0: not of this study; give another --out"):
        tune(path, *options, "seed=9", trials=1, out=out, study="other", storage=str(tmp_path / "other.db"))


def test_two_that_begin_the_last_trial_at_once(
    path: Path, tmp_path: Path, pretended: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = optuna.Study.ask

    def late(study: Any) -> Any:
        if len(study.trials) == 1:
            ask(study)  # another process does, which is still at it
        return ask(study)

    monkeypatch.setattr(optuna.Study, "ask", late)
    found = tune(path, trials=2, out=tmp_path)
    assert [(trial.number, trial.state) for trial in found.trials] == [(0, "finished"), (1, "running")]
    assert len(pretended) == 1
    assert [trial.number for trial in tune(path, trials=3, out=tmp_path).trials] == [0, 1, 3]


def test_trials_worse_than_the_median_are_pruned(path: Path, tmp_path: Path, pretended: list[Recipe]) -> None:
    changes = ["tune.pruning=median", "tune.space={training.batch_size: {low: 1, high: 100}}"]
    found = tune(path, *changes, trials=12, out=tmp_path)
    assert "pruned" not in [trial.state for trial in found.trials[:5]]
    assert found.counts["pruned"] > 0
    assert found.best is not None
    assert all(trial.value < found.best.value for trial in found.trials if trial.state == "pruned")  # type: ignore[operator]


def test_what_cannot_be_used_is_named(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"smile_pom has no `tune` section; add one, such as `tune: \{metric: map"):
        tune("smile_pom", trials=1, out=tmp_path)
    (tmp_path / "text.db").write_text("this is no database, and it is long enough to be taken for none" * 20)
    for storage in ("nosuch://here", str(tmp_path / "text.db")):
        with pytest.raises(UserError, match=r"cannot be used as the storage of trials \(.*; give a file, or a URL"):
            tune(path, trials=1, out=tmp_path, storage=storage)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "optuna", None)
        with pytest.raises(
            UserError, match=r"tuning needs optuna, which is not installed; `pip install 'neurozoo-toolkit\[tune\]'"
        ):
            tune(path, trials=1, out=tmp_path)


WITHOUT_PICKLE = """
import pickle, sys
def refuse(*arguments, **options):
    raise AssertionError("pickle")
from neurozoo.cli import main
from neurozoo.training.step import Stepper
import optuna, torch
seen = []
sys.addaudithook(lambda event, arguments: seen.append(arguments) if event == "pickle.find_class" else None)
for name in ("load", "loads", "dump", "dumps"):
    setattr(pickle, name, refuse)
status = main(sys.argv[1:])
sys.exit(f"pickles: {seen}" if seen else status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["shared.db", "shared.journal"])
def test_two_processes_share_the_trials_without_a_pickle(path: Path, tmp_path: Path, storage: str) -> None:
    command = [sys.executable, "-c", WITHOUT_PICKLE, "tune", str(path), *EPOCH, "--trials", "8", "--json"]
    command += ["--storage", str(tmp_path / storage), "--out", str(tmp_path / "out")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    done = [{line.split('"')[7].partition(":")[0] for line in err.splitlines()} for _, err in told]
    assert done[0] | done[1] == {f"trial {number}" for number in range(8)}
    assert not done[0] & done[1]
    assert all(done)
    found = tune(path, EPOCH, trials=8, storage=str(tmp_path / storage), out=tmp_path / "out")
    assert found.counts == {"finished": 8}
    assert len({trial.overrides for trial in found.trials}) == 8


@pytest.mark.slow
def test_jobs_are_processes_and_their_errors_are_told(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tune", str(path), *EPOCH, "--trials", "4", "--jobs", "2", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    told = capsys.readouterr().err.splitlines()
    assert sorted(line.split(" ", 1)[1].partition(":")[0] for line in told) == [
        f"trial {number}" for number in range(4)
    ]
    assert json.loads((tmp_path / "out" / "best.json").read_text())["trials"] == {"finished": 4}
    broken = "tune.space={training.optimizer.lr: {values: [1.0e9]}}"
    command[-1] = str(tmp_path / "b")
    assert main([*command, broken, "--study", "b"]) == 1
    assert "none of the 4 trials of 'b' came to its end; trial " in capsys.readouterr().err
