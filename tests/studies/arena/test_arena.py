"""A small arena from its file to its page: the protocol, what is kept, and what no choice may read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.data.view import SplitView
from neurozoo.data.writer import StoreWriter
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.recipe.recipe import Recipe
from neurozoo.reporting.arena_page import arena_csv, arena_html, arena_markdown
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.studies.arena.arena import run_arena
from neurozoo.studies.arena.choosing import Trial, best_threshold, choose
from neurozoo.studies.arena.description import read_arena
from neurozoo.studies.arena.leak import leak_of
from neurozoo.studies.costs import Cost
from neurozoo.studies.intervals import paired_difference
from neurozoo.training.kept_epochs import kept_epochs
from neurozoo.training.train import resume, train

COST = Cost(100, 2000.0, 3000.0, 400.0, 1.5, 12.0)

TEXT = """
schema: 1
description: a small arena
recipe: small.yaml
metric: micro_f1
seeds: 2
overrides: [training.optimizer.lr=0.02]
corruptions: {noise: [0.5], without_one: [0.5]}
rows:
  - {name: SMILE, family: spiking, threshold: 0.35}
  - {name: ReLU, family: without spikes, overrides: [model.parts.activation=relu], control_of: SMILE, without: spikes}
"""


@pytest.fixture
def path(recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    recipe()
    monkeypatch.setattr("neurozoo.studies.arena.gathering.DRAWS", 9)
    (tmp_path / "arena.yaml").write_text(TEXT)
    return tmp_path / "arena.yaml"


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No linear models and no timing, which are tested elsewhere and in the slow test below."""
    monkeypatch.setattr("neurozoo.studies.arena.floors.baselines", lambda view, task: [])
    monkeypatch.setattr("neurozoo.studies.arena.measuring.measure_cost", lambda folder, split: COST)


@pytest.mark.usefixtures("trained_here", "light")
def test_a_small_arena(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, told = tmp_path / "out", []
    result = run_arena(path, out=out, leak=True, on_progress=lambda *each: told.append(each))
    assert [done for _, done, _ in told] == list(range(1, 13))
    assert {total for _, _, total in told} == {12}

    # The trainings never saw test, and what they wrote does not hold it.
    for folder in (out / "runs").glob("*/*"):
        assert Run(folder).closed == ("test",)
        assert set(Run(folder).read_json("summary.json")["metrics"]) == {"valid"}
        assert list(kept_epochs(folder)) == [1, 2]

    smile, twin = result.row("SMILE"), result.row("ReLU")
    assert set(smile.test) == {"one", "each", "published"}
    assert set(twin.test) == {"one", "each"}
    assert list(smile.corrupted) == ["noise of 0.5 times the deviation", "one signal lost in 50% of samples"]
    assert {row.family for row in result.rows} == {"spiking", "without spikes", "floor"}
    means = [row.mean("map") for row in result.rows]
    assert means == sorted(means, reverse=True)
    by_hand = paired_difference(smile.test["one"]["map"], twin.test["one"]["map"])
    (found,) = (each for each in result.controls if each.metric == "map")
    assert (found.row, found.other, found.seeds) == ("SMILE", "ReLU", by_hand)

    # The epoch is the best on valid at its own best threshold, and test has that threshold.
    trial = Trial.of(out / "runs" / "smile" / "1", test=False)
    scores = {}
    for epoch in (1, 2):
        trial.load(epoch)
        made = trial.predict("valid")
        threshold = best_threshold(trial.task, made.target, made.predicted, "micro_f1")
        scores[epoch] = trial.task.measure(made.target, made.predicted, threshold)["micro_f1"], -epoch, threshold
    best = max(scores.values())
    assert (smile.epochs[0], smile.decisions["one"][0]) == (-best[1], best[2])
    kept, _ = read_tensors(out / "measured" / "smile" / "1.safetensors")
    target = Trial.of(out / "runs" / "smile" / "1", test=True).view.split("test").target.numpy()
    measured = trial.task.measure(target, kept["test"].numpy(), best[2])
    assert smile.test["one"]["micro_f1"][0] == pytest.approx(measured["micro_f1"])

    for row in (smile, twin):
        for metric in ("map", "micro_f1"):
            leak = row.leak[metric]
            most = leak["both" if metric == "micro_f1" else "epoch"]
            assert leak["honest"] == pytest.approx(row.test["one"][metric])
            assert all(a >= b for a, b in zip(most, leak["honest"], strict=True))

    # Nothing is trained or measured twice, and the result is the same.
    monkeypatch.setattr("neurozoo.studies.arena.arena.measure_run", None)
    monkeypatch.setattr("neurozoo.studies.launchers.local.LocalJobs.run", None)
    again = run_arena(path, out=out, leak=True)
    assert json.dumps(again.rows, default=vars) == json.dumps(result.rows, default=vars)

    text = arena_markdown(result)
    assert text.startswith("# a small arena\n")
    assert "- Of 2 models " in text
    assert "## Test, ranked by mAP, at the one threshold that is best for micro F1 on valid" in text
    assert "CHOSEN ON TEST" in text
    assert "SMILE minus ReLU" in text
    lines = list(csv.DictReader(io.StringIO(arena_csv(result))))
    assert [line["name"] for line in lines] == [row.name for row in result.rows]
    shown = next(line for line in lines if line["name"] == "SMILE")
    assert float(shown["one.map"]) == pytest.approx(np.mean(smile.test["one"]["map"]), rel=1e-4)
    page = arena_html(result)
    assert page.count("<svg") == 4
    assert "<script" not in page


@pytest.mark.usefixtures("trained_here")
def test_no_choice_can_read_test(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    arena = read_arena(path, only=["SMILE"])
    (row,) = arena.rows
    (tmp_path / "small.yaml").write_text((tmp_path / "small.yaml").read_text())
    train(arena.recipes["SMILE"], "seed=1", out=out / "runs" / "smile" / "1", closed=["test"])
    trial = Trial.of(out / "runs" / "smile" / "1", test=False)
    with pytest.raises(DataError, match=r"'test' .* is closed"):
        trial.predict("test")
    with pytest.raises(RunError, match="was not measured; what test would choose comes after that"):
        leak_of(arena, out, row, 1)
    opened = []
    batch = SplitView.batch
    monkeypatch.setattr(SplitView, "batch", lambda self, *given: (opened.append(len(self)), batch(self, *given))[1])
    assert choose(trial, "micro_f1").epoch in (1, 2)
    assert set(opened) == {10}  # the samples of valid


def test_rows_of_other_data_are_refused(path: Path, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "other", labels=("calm", "angry", "sad"), origin={"source": "other"}) as writer:
        for split in ("train", "valid", "test"):
            shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
            signals = {name: np.ones((2, *shape), np.float32) for name, shape in shapes.items()}
            writer.add(split, signals, np.eye(2, 3, dtype=np.int64))
    row = f"  - {{name: other, family: spiking, overrides: ['data.root={tmp_path / 'other'}']}}\n"
    path.write_text(TEXT + row)
    with pytest.raises(UserError, match=r"other: its data differs from that of the arena's recipe, small\.yaml"):
        run_arena(path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_epoch_is_kept_after_an_interruption_too(
    recipe: Callable[..., Recipe], tmp_path: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    loaded = recipe("training.loggers=[epochs]", "training.epochs=3")
    folder = tmp_path / "run"
    with interrupted_at(5):  # in the second epoch of three steps each
        train(loaded, out=folder)
    for file in kept_epochs(folder).values():
        file.unlink()  # as if it had ended before the copy was made
    resume(folder)
    kept = kept_epochs(folder)
    assert list(kept) == [1, 2, 3]
    assert read_tensors(kept[1])[1]["epoch"] == 1
    assert kept[3].read_bytes() == (folder / "checkpoints" / "last.safetensors").read_bytes()


def test_the_command_refuses_what_is_wrong(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arena", "nothing"]) == 2
    assert "give an arena's file or a shipped arena: " in capsys.readouterr().err
    assert main(["arena", str(path), "--only", "SMILES"]) == 2
    assert "there are: SMILE, ReLU" in capsys.readouterr().err
    assert main(["train", "fsdd_small", "--close", "test", "--seeds", "2"]) == 2
    assert "--close is for one training" in capsys.readouterr().err
    assert main(["arena", str(path), "--work", "play:SMILE"]) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("trained_here", "light")
def test_a_plan_may_hold_an_arena(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = path.with_name("missing.yaml")
    missing.write_text("schema: 1\nrecipe: sparch_shd\nmetric: accuracy\nrows: [{name: a, family: spiking}]\n")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        "[[arena]]\narena = 'arena.yaml'\nfile = 'page.md'\nseeds = 1\nleak = false\n"
        "only = ['SMILE']\noverrides = ['training.epochs=1']\n"
        "[[arena]]\narena = 'missing.yaml'\nfile = 'missing.md'\n"
    )
    assert main(["reproduce", str(plan), "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["finished"]) == ["arena-arena"]
    assert found["skipped"] == {"arena-missing": "its data, shd, is not installed"}
    assert (tmp_path / "out" / "arena-arena" / "runs" / "smile" / "1" / "summary.json").is_file()
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# a small arena\n")
    assert "1 of the arena's 2 rows, without: ReLU." in page
    assert not (tmp_path / "missing.md").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here", "light")
def test_each_row_chooses_among_as_many_settings_on_valid(path: Path, tmp_path: Path) -> None:
    space = "trials: 3\nspace: {training.optimizer.lr: {values: [0.01, 1.0e-9]}}\nrows:"
    path.write_text(TEXT.replace("lr=0.02", "lr=1.0e-9").replace("rows:", space).replace("seeds: 2", "seeds: 1"))
    out = tmp_path / "out"
    result = run_arena(path, "training.epochs=4", out=out)
    assert result.trials == 3
    for row in result.trained:
        folder = out / "settings" / row.name.lower()
        runs = [folder / "given", *sorted((folder / "trials" / "trials").iterdir())]
        assert len(runs) == 3
        values = {}
        for run in runs:
            assert Run(run).closed == ("test",)
            values[run.name] = Run(run).read_json("summary.json")["metrics"]["valid"]["micro_f1"]
        chosen = json.loads((folder / "chosen.json").read_text())["overrides"]
        is_given = values["given"] == max(values.values())
        assert chosen == ([] if is_given else ["training.optimizer.lr=0.01"])
        assert list(row.changes)[-len(chosen) :] == chosen or is_given
        trained = Run(out / "runs" / row.name.lower() / "1").recipe().training.optimizer.lr
        assert trained == (1e-9 if is_given else 0.01)
    assert run_arena(path, "training.epochs=4", out=out).rows[0].test == result.rows[0].test


@pytest.mark.slow
def test_the_command_in_processes(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "out", tmp_path / "page.md"
    arguments = ["arena", str(path), "training.epochs=1", "--out", str(out), "--seeds", "1", "--jobs", "2", "--leak"]
    assert main([*arguments, "--page", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"] == [1]
    assert found["leading"][0]["seeds"]["half_width"] is None
    assert page.read_text() == (out / "arena.md").read_text()
    assert (out / "arena.html").is_file()
    assert "of the best floor" not in page.read_text()
