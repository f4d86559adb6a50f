"""One recipe with several seeds: what is written, what is shown, and how it goes on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Timer

import pytest

import neurozoo
from neurozoo.cli import main
from neurozoo.errors import RecipeError, RunError, UserError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.table import runs_below
from neurozoo.studies.intervals import spread
from neurozoo.studies.launchers.local import LocalJobs
from neurozoo.studies.parallel_runs import ONE_THREAD, usable_jobs
from neurozoo.training.train import resume, train

Recipes = Callable[..., Recipe]


@pytest.fixture
def path(recipe: Recipes, tmp_path: Path) -> Path:
    recipe()
    return tmp_path / "small.yaml"


def resolved(path: Path, *overrides: str) -> Recipe:
    return load_recipe(path, (*overrides, ONE_THREAD), registry=default_registry())


def test_a_spread_by_hand() -> None:
    found = spread([0.5, 0.7])
    assert (found.values, found.mean) == ((0.5, 0.7), pytest.approx(0.6))
    assert found.deviation == pytest.approx(math.sqrt(0.02))
    assert found.low == pytest.approx(0.6 - 12.7062 * 0.1, abs=1e-4)
    assert found.high == pytest.approx(0.6 + 12.7062 * 0.1, abs=1e-4)
    alone = spread([0.5])
    assert alone.mean == 0.5
    assert all(math.isnan(value) for value in (alone.deviation, alone.low, alone.high))


@pytest.mark.usefixtures("trained_here")
def test_seeds_are_trained_shown_and_gone_on_with(
    path: Path,
    tmp_path: Path,
    interrupted_at: Callable[[int], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Seed 3 was trained before, seed 4 stopped in its second epoch, and seed 5 is new."""
    out = tmp_path / "out"
    undisturbed = train(resolved(path, "seed=3"), out=out / "3")
    expected = train(resolved(path, "seed=4"), out=tmp_path / "undisturbed")
    with interrupted_at(5):
        train(resolved(path, "seed=4"), out=out / "4")
    begun = (out / "4" / "run.json").stat().st_mtime_ns
    stamp = (out / "3" / "summary.json").stat().st_mtime_ns

    assert main(["train", str(path), "--seeds", "3", "--jobs", "1", "--out", str(out)]) == 0
    shown, told = capsys.readouterr()
    assert "of 3 seeds, 3 to 5" in shown
    assert f"written: {out / 'seeds.json'}" in shown
    assert [line.split(" ", 1) for line in told.splitlines()] == [[f"{i}/3", f"seed {i + 2}"] for i in (1, 2, 3)]
    assert (out / "3" / "summary.json").stat().st_mtime_ns == stamp
    assert (out / "4" / "run.json").stat().st_mtime_ns == begun
    written = json.loads((out / "seeds.json").read_text())
    assert (written["schema"], written["recipe"], written["seeds"]) == (1, "small", [3, 4, 5])
    assert written["synthetic"] is False
    assert list(written["metrics"]) == ["valid", "test"]
    for split, metrics in written["metrics"].items():
        for name, found in metrics.items():
            assert found.keys() == {"values", "mean", "deviation", "low", "high"}
            summaries = [undisturbed, expected, json.loads((out / "5" / "summary.json").read_text())]
            assert found["values"] == [summary["metrics"][split][name] for summary in summaries]
            assert found["low"] <= found["mean"] <= found["high"]
    assert written["lesion"]["permuted"]["test"]["values"][1] == expected["lesion"]["permuted"]["test"]

    assert main(["train", str(path), "--seeds", "1", "--out", str(out), "--json"]) == 0
    shown, told = capsys.readouterr()
    assert json.loads(told) == {"event": "training", "name": "seed 3", "done": 1, "total": 1}
    assert json.loads(shown)["metrics"]["test"]["map"]["low"] is None
    with pytest.raises(RunError, match=r"out/3: made with another recipe or other data; give another --out"):
        neurozoo.train_seeds(path, "training.epochs=3", seeds=1, out=out)
    (out / "4" / "summary.json").unlink()  # as if it had not come to its end
    with pytest.raises(RunError, match=r"out/4: made with another recipe or other data; give another --out"):
        neurozoo.train_seeds(path, "seed=4", "training.batch_size=4", seeds=1, out=out)


def test_a_run_that_another_process_is_at_is_waited_for(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "3"
    summary = train(resolved(path), out=folder)
    lock, begun = lock_folder(folder), time.monotonic()
    Timer(0.5, unlock_folder, [lock]).start()
    found = neurozoo.train_seeds(path, seeds=1, out=tmp_path / "out", jobs=1)
    assert time.monotonic() - begun >= 0.5
    assert found.metrics["test"]["map"].values == (summary["metrics"]["test"]["map"],)
    # Until its result is written a study is known as one all the same: its runs are not pruned unless asked for.
    (tmp_path / "out" / "seeds.json").unlink()
    assert runs_below(tmp_path)[0]["study"] == str(tmp_path / "out")


def test_a_run_that_another_process_resumes_first_is_used(
    path: Path,
    tmp_path: Path,
    interrupted_at: Callable[[int], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two commands see a stopped run at the same moment; the second one finds it locked, or finished."""
    with interrupted_at(4):
        train(resolved(path), out=tmp_path / "out" / "3")

    def run(self: LocalJobs, name: str, arguments: Sequence[str]) -> None:
        assert arguments[:2] == ["train", "--resume"]
        resume(Path(arguments[2]))
        raise UserError("another process is training in it; wait for its end")

    monkeypatch.setattr(LocalJobs, "run", run)
    found = neurozoo.train_seeds(path, seeds=1, out=tmp_path / "out", jobs=1)
    summary = json.loads((tmp_path / "out" / "3" / "summary.json").read_text())
    assert found.metrics["test"]["map"].values == (summary["metrics"]["test"]["map"],)


def test_an_error_of_a_training_keeps_its_words_and_status(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, out = "training.optimizer.lr=1e9", tmp_path / "out"
    assert main(["train", str(path), broken, "--seeds", "1", "--out", str(out)]) == 1
    assert "error: seed 3: error: the firing threshold is not finite" in capsys.readouterr().err
    assert not out.exists() or not list(out.iterdir())  # a training that left no run leaves no study


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "2", "--dry-run"], "--dry-run is one step of one training; leave out --seeds"),
        (["--jobs", "2"], "--jobs 2 is for several trainings; give --seeds N"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], words: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(path), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert main(["train", "--resume", "somewhere", *arguments]) == 2
    assert "continues as the run began" in capsys.readouterr().err


def test_a_seed_that_is_too_large_is_refused_before_any_training(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="seed: 4294967296 is too large"):
        neurozoo.train_seeds(path, f"seed={2**32 - 1}", seeds=2, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_jobs_are_as_many_as_there_are_cores_and_trainings() -> None:
    assert usable_jobs("cpu", 1) == 1
    assert 1 <= usable_jobs("cpu", 1000) < 1000


@pytest.mark.usefixtures("trained_here")
def test_a_default_folder_of_other_runs_is_left_alone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = neurozoo.train_seeds(path, "training.epochs=1", seeds=1)
    other = neurozoo.train_seeds(path, "training.epochs=1", "training.batch_size=4", seeds=1)
    folders = [str(Path("runs") / name) for name in ("seeds-small", "seeds-small-2")]
    assert [first.folder, other.folder] == folders
    assert "folder" not in json.loads((Path(first.folder) / "seeds.json").read_text())
    stamps = [(Path(folder) / "3" / "summary.json").stat().st_mtime_ns for folder in folders]
    assert main(["train", str(path), "training.epochs=1", "training.batch_size=4", "--seeds", "1"]) == 0
    assert f"written: {Path(folders[1]) / 'seeds.json'}" in capsys.readouterr().out
    assert [(Path(folder) / "3" / "summary.json").stat().st_mtime_ns for folder in folders] == stamps
