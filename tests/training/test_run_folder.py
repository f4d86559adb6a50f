"""Run folders as they come: taken, reached through links, a stranger's, without their data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.errors import CheckpointError, DataError, NeurozooError, RunError, UserError
from neurozoo.evaluation.evaluate import evaluate_run
from neurozoo.files.locks import lock_folder
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.run import Run
from neurozoo.runs.trained_folder import open_trained
from neurozoo.training import run_folder
from neurozoo.training import train as training
from neurozoo.training.run_folder import RunFolder
from neurozoo.training.step import Stepper
from neurozoo.training.train import resume, train

Recipes = Callable[..., Recipe]
WHOLE = {"recipe.yaml", "run.json", "data.json", "environment.json", "metrics.jsonl", "summary.json"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def interrupted(tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was interrupted in its second epoch."""
    calls: list[int] = []
    step = Stepper.step

    def stopping(self: Stepper) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", stopping)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(recipe(), out=tmp_path / "run")
    assert caught.value.__notes__ == [f"`neurozoo train --resume {tmp_path / 'run'}` continues it"]
    return tmp_path / "run"


def test_the_folder_is_locked_before_it_has_its_name(
    tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, tried = PartialFolder.finish, []

    def finish_and_try(self: PartialFolder) -> None:
        finish(self)
        with pytest.raises(RunError, match="another process is training in it; wait for its end"):
            resume(tmp_path / "run")
        tried.append(1)

    monkeypatch.setattr(PartialFolder, "finish", finish_and_try)
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    assert tried
    assert names(tmp_path / "run") >= WHOLE


def test_a_failed_training_removes_its_folder_while_it_holds_the_lock(
    tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, held = shutil.rmtree, []

    def removing(path: Path, *arguments: Any, **options: Any) -> None:
        if Path(path) == tmp_path / "run":
            with pytest.raises(BlockingIOError):
                lock_folder(tmp_path / "run", wait=False)
            held.append(path)
        remove(path, *arguments, **options)

    def failing(*arguments: Any, **options: Any) -> None:
        raise NeurozooError("it failed")

    monkeypatch.setattr(shutil, "rmtree", removing)
    monkeypatch.setattr(Stepper, "add", failing)
    with pytest.raises(NeurozooError, match="it failed"):
        train(recipe(), out=tmp_path / "run")
    assert held
    assert not (tmp_path / "run").exists()


def test_who_does_not_get_the_lock_removes_nothing(interrupted: Path, recipe: Recipes) -> None:
    before = names(interrupted)
    run = Run(interrupted)
    held = RunFolder.reopen(run, run.recipe())
    try:
        with pytest.raises(RunError, match="another process is training in it"):
            resume(interrupted)
        with pytest.raises(RunError, match="already there and not empty"):
            train(recipe(), out=interrupted)
    finally:
        held.release()
    assert names(interrupted) == before


@pytest.mark.parametrize("kind", ["current", "link", "litter"])
def test_an_empty_folder_is_used_however_it_is_reached(
    kind: str, tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, folder = recipe("training.epochs=1"), tmp_path / "empty"
    folder.mkdir()
    out = folder
    if kind == "current":
        monkeypatch.chdir(folder)
        out = Path()
    elif kind == "link":
        out = tmp_path / "link"
        out.symlink_to(folder)
    else:
        (folder / ".DS_Store").touch()
    train(checked, out=out)
    assert names(folder) >= WHOLE
    assert not list(folder.rglob("*.partial"))
    assert Run(folder).finished


def test_a_folder_that_was_there_stays_when_the_training_fails(tmp_path: Path, recipe: Recipes) -> None:
    folder, link = tmp_path / "empty", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    with pytest.raises(DataError):
        train(recipe(f"data.root={tmp_path / 'nowhere'}"), out=link)
    assert names(folder) == set()
    with pytest.raises(DataError):
        train(recipe(f"data.root={tmp_path / 'nowhere'}"), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_default_name_that_is_taken_gets_a_number(
    tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = recipe("training.epochs=1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "default_folder", lambda recipe: Path("runs") / "same")
    made = [RunFolder.begin(Path("runs") / "same", checked, or_next=True) for _ in range(2)]
    assert [each.run.folder.name for each in made] == ["same", "same-2"]
    summary = train(checked)
    assert summary["run"] == str(Path("runs") / "same-3")
    for each in made:
        each.release()
    with pytest.raises(RunError, match="already there and not empty; give another --out"):
        train(checked, out=Path("runs") / "same")


def test_another_process_may_take_the_name_in_the_meantime(
    tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, finish = recipe(), PartialFolder.finish

    def late(self: PartialFolder) -> None:
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "mine.txt").touch()
        finish(self)

    monkeypatch.setattr(PartialFolder, "finish", late)
    with pytest.raises(RunError, match="already there and not empty"):
        RunFolder.begin(tmp_path / "run", checked)
    assert names(tmp_path / "run") == {"mine.txt"}
    made = RunFolder.begin(tmp_path / "run", checked, or_next=True)
    assert made.run.folder == tmp_path / "run-2"
    made.release()


def test_data_is_found_from_another_folder_and_after_it_moved(
    tmp_path: Path, recipe: Recipes, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = train(recipe("data.root=store"), out="whole")
    step, calls = Stepper.step, []

    def stopping(self: Stepper) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(recipe("data.root=store"), out="stopped")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    found = evaluate_run(tmp_path / "whole")
    assert found["metrics"]["test"] == expected["metrics"]["test"]
    assert found["same_data_as_trained"]
    store.rename(tmp_path / "moved")
    for call in (lambda: evaluate_run(tmp_path / "whole"), lambda: resume(tmp_path / "stopped")):
        with pytest.raises(DataError, match=r"its data is not in .*store any more; give .* with --data-root"):
            call()
    assert evaluate_run(tmp_path / "whole", data_root="../moved")["same_data_as_trained"]
    assert main(["train", "small", "--data-root", "../moved"]) == 2
    assert "--data-root ../moved is for --resume; give data.root=../moved" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "stopped"), "--data-root", "../moved"]) == 0
    bytes_of = [(tmp_path / run / "checkpoints" / "last.safetensors").read_bytes() for run in ("whole", "stopped")]
    assert bytes_of[0] == bytes_of[1]


def test_what_begins_with_a_closed_trial_keeps_its_splits_closed(tmp_path: Path, recipe: Recipes) -> None:
    checked = recipe("training.epochs=1")
    train(checked, out=tmp_path / "trial", closed=("test",))
    summary = train(checked, out=tmp_path / "next", start=open_trained(tmp_path / "trial"))
    assert Run(tmp_path / "next").closed == ("test",)
    assert set(summary["metrics"]) == {"valid"}
    with pytest.raises(UserError, match="test"):
        evaluate_run(tmp_path / "next", split="test")


def into(kind: str, path: Path, victim: Path) -> None:
    """Put a way out of the folder, or a pipe, in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "hard link":
        path.hardlink_to(victim)
    else:
        path.symlink_to(victim)


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
@pytest.mark.parametrize(
    "name",
    ["evaluations.jsonl", "summary.json", "run.json", "recipe.yaml", "data.json", "checkpoints/best.safetensors"],
)
def test_a_strangers_finished_run_leads_nowhere(kind: str, name: str, trained: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    file = trained / name
    content = file.read_bytes() if file.exists() else b"precious"
    victim.write_bytes(content)
    into(kind, file, victim)
    with pytest.raises((RunError, CheckpointError), match=file.name):
        evaluate_run(trained)
    assert victim.read_bytes() == content


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "data.json", "environment.json", "checkpoints/state.safetensors"])
def test_a_strangers_stopped_run_leads_nowhere(kind: str, name: str, interrupted: Path, tmp_path: Path) -> None:
    if name == "environment.json":  # read for its number of threads, which this recipe sets
        text = (interrupted / "recipe.yaml").read_text()
        assert "threads: 1" in text
    victim, file = tmp_path / "victim", interrupted / name
    victim.write_bytes(file.read_bytes())
    content = victim.read_bytes()
    into(kind, file, victim)
    if name == "environment.json" and kind != "pipe":
        resume(interrupted)  # is written again, in the place of the link
        assert not file.is_symlink()
        assert file.stat().st_nlink == 1
    else:
        with pytest.raises((RunError, CheckpointError), match=file.name):
            resume(interrupted)
    assert victim.read_bytes() == content


@pytest.mark.parametrize("name", ["checkpoints", "predictions"])
def test_a_folder_in_a_strangers_run_is_no_way_out(name: str, interrupted: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(interrupted / name, outside) if (interrupted / name).exists() else outside.mkdir()
    (interrupted / name).symlink_to(outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    with pytest.raises((RunError, CheckpointError)):
        resume(interrupted)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def test_records_and_folder_are_on_the_disk_before_the_state(
    tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the names of open files are read from /proc")
    sync, synced = os.fsync, []
    write = run_folder.write_tensors

    def noting(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        sync(handle)

    def writing(path: Path, *arguments: Any, **options: Any) -> None:
        synced.append(f"begin {path.name}")
        write(path, *arguments, **options)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(run_folder, "write_tensors", writing)
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    state = synced.index("begin state.safetensors")
    assert synced.index("metrics.jsonl") < state
    assert synced.index("run", synced.index("metrics.jsonl")) < state
    assert "checkpoints" in synced[:state]


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (MemoryError(), "there is not enough memory .*lower training.batch_size"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
            "enough memory",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "enough memory"),
        (RuntimeError("value cannot be converted to type float without overflow"), "too large to compute with"),
        (OverflowError("int too large to convert to float"), "too large to compute with .*training.epochs"),
    ],
)
def test_too_much_memory_and_too_large_numbers_are_named(
    raised: Exception, words: str, tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any, **options: Any) -> None:
        raise raised

    monkeypatch.setattr(Stepper, "add", failing)
    with pytest.raises(NeurozooError, match=words):
        train(recipe(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_errors_stay_what_they_are(tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Stepper, "add", failing)
    with pytest.raises(RuntimeError, match="a bug"):
        train(recipe(), out=tmp_path / "run")


def test_a_batch_larger_than_the_data_initialises(tmp_path: Path, recipe: Recipes) -> None:
    large = "training.initialisation={name: fluctuation-driven, batches: 99999999999999999999}"
    try:
        checked = recipe(large, "training.epochs=1")
    except UserError:  # the schema has an upper end
        return
    train(checked, out=tmp_path / "run")


@pytest.mark.parametrize("name", ["x" * 300, "null\0character"])
def test_names_that_the_system_refuses(name: str, tmp_path: Path, recipe: Recipes) -> None:
    folder = tmp_path / name
    with pytest.raises(RunError, match="there is no such run folder"):
        Run(folder)
    with pytest.raises(RunError, match="there is no such run folder"):
        open_trained(folder)
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder.begin(folder, recipe(), or_next=True)


def test_the_working_folder_is_gone(tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    checked, gone = recipe(), tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(RunError, match="cannot be written: No such file or directory"):
        RunFolder.begin(Path("runs") / "new", checked, or_next=True)
    monkeypatch.chdir(tmp_path)
