"""A run that was killed goes on as if nothing had happened: the same weights and metrics, to the bit."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.errors import CheckpointError, DataError, RunError
from neurozoo.evaluation.evaluate import Evaluation
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.training import run_folder
from neurozoo.training.step import Stepper
from neurozoo.training.train import resume, train

Recipes = Callable[..., Recipe]
CHANGES = ["training.epochs=4", "training.checkpoint_steps=2", "model.params.dropout=0.2"]
STEPS = 12
"""4 epochs of 24 samples, 8 a batch."""


class Killed(BaseException):
    """Nothing catches it."""


@pytest.fixture
def kill(tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains, and has the process end, as far as it can tell, at a call of a function."""

    def begun(module: Any, name: str, at: int, *, after: bool = True, changes: Sequence[str] = CHANGES) -> Path:
        folder = tmp_path / f"run-{name}-{at}-{after}"
        original, calls = getattr(module, name), []

        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) == at and not after:
                raise Killed
            result = original(*arguments, **options)
            if len(calls) == at:
                raise Killed
            return result

        checked = recipe(*changes)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, call)
            with pytest.raises(Killed):
                train(checked, out=folder)
        return folder

    return begun


def outcome(run: Path) -> tuple[dict[str, str], list[dict[str, Any]], dict[str, Any]]:
    """Hashes of the tensors that a run leaves, its metrics and its summary, without what depends on the clock, and on
    whether its process had loaded torch before neurozoo."""
    tensors = sorted([*run.rglob("*.safetensors")])
    hashes = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in tensors}
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    for record in records:
        del record["seconds"]
    for key in ("run", "duration_seconds"):
        del summary[key]
    del summary["environment"]["thread_waiting"]
    return hashes, records, summary


@pytest.fixture
def undisturbed(tmp_path: Path, recipe: Recipes) -> Path:
    train(recipe(*CHANGES), out=tmp_path / "undisturbed")
    return tmp_path / "undisturbed"


def test_killed_at_any_step(undisturbed: Path, kill: Callable[..., Path]) -> None:
    for step in (1, 5, STEPS):
        run = kill(Stepper, "step", step)
        resume(run)
        assert outcome(run) == outcome(undisturbed), f"killed after step {step}"


@pytest.mark.slow
def test_killed_between_the_files_of_an_epoch(undisturbed: Path, kill: Callable[..., Path]) -> None:
    """Each epoch writes the state after its second step, then best and last weights, its record, and the state."""
    places = [(run_folder, "write_tensors", write) for write in (1, 2, 3, 4, 7)]
    for module, name, at in (*places, (run_folder, "append_json", 1), (run_folder, "append_json", 3)):
        for after in (False, True):
            run = kill(module, name, at, after=after)
            resume(run)
            assert outcome(run) == outcome(undisturbed), (name, at, after)
            shutil.rmtree(run)


def test_killed_between_the_files_of_the_end(undisturbed: Path, kill: Callable[..., Path]) -> None:
    """Predictions, the summary, and last the state that nothing needs any more."""
    for after in (False, True):
        run = kill(Evaluation, "write_predictions", 1, after=after)
        assert Run(run).state.is_file()
        assert not Run(run).finished
        resume(run)
        assert outcome(run) == outcome(undisturbed)
        shutil.rmtree(run)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from neurozoo.recipe.recipe import load_recipe
from neurozoo.training import train as training
from neurozoo.training.step import Stepper
folder, recipe, seed = Path(sys.argv[1]), load_recipe(sys.argv[2]), int(sys.argv[3])
random.seed(seed)

def attempt(kill):
    # A fork of a process in which torch has not computed yet, so that its import is paid for once.
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    calls = [0]
    def counted(original):
        def call(*arguments, **options):
            calls[0] += 1
            if calls[0] == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)
        return call
    # In steps, and inside the writing of every file: before it is flushed, and before it takes its place.
    Stepper.step = counted(Stepper.step)
    os.fsync, os.replace = counted(os.fsync), counted(os.replace)
    try:
        training.resume(folder) if (folder / "recipe.yaml").is_file() else training.train(recipe, out=folder)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

kills = 0
while True:
    status = attempt(random.randint(3, 25) if kills < 8 else -1)
    if not os.WIFSIGNALED(status):
        print(kills)
        sys.exit(os.WEXITSTATUS(status))
    kills += 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_again_and_again(seed: int, undisturbed: Path, tmp_path: Path, recipe: Recipes) -> None:
    checked = recipe(*CHANGES)
    path = tmp_path / "copy" / f"{checked.name}.yaml"
    path.parent.mkdir()
    path.write_text(checked.to_yaml())
    command = [sys.executable, "-c", KILLS, str(tmp_path / "run"), str(path), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
    assert outcome(tmp_path / "run") == outcome(undisturbed)
    assert not list(tmp_path.rglob("*.partial")), "a killed writer's file was left"


def test_early_stopping_and_the_plateau_come_back(tmp_path: Path, recipe: Recipes, kill: Callable[..., Path]) -> None:
    changes = [
        "training.epochs=30",
        "training.early_stopping=3",
        "training.scheduler={name: plateau, patience: 0, factor: 0.3}",
        "training.optimizer.lr=0.2",
    ]
    train(recipe(*changes), out=tmp_path / "whole")
    assert len(Run(tmp_path / "whole").records()) < 30
    rates = {record["learning_rate"] for record in Run(tmp_path / "whole").records()}
    assert len(rates) > 1
    run = kill(Stepper, "step", 11, changes=changes)
    resume(run)
    assert outcome(run) == outcome(tmp_path / "whole")


def test_by_the_command_line(kill: Callable[..., Path], capsys: pytest.CaptureFixture[str], undisturbed: Path) -> None:
    run = kill(Stepper, "step", 8)
    assert main(["train", "--resume", str(run)]) == 0
    assert f"run folder: {run}" in capsys.readouterr().out
    assert outcome(run) == outcome(undisturbed)
    assert main(["train", "--resume", str(run)]) == 2
    assert "is finished; to train longer, begin a new run" in capsys.readouterr().err
    assert main(["train", "smile_pom", "--resume", str(run)]) == 2
    assert "leave out the recipe" in capsys.readouterr().err
    assert main(["train"]) == 2
    assert "no recipe is named" in capsys.readouterr().err


def test_a_damaged_state_leaves_the_checkpoints(kill: Callable[..., Path]) -> None:
    run = kill(Stepper, "step", 8)
    path = Run(run).state
    whole, best = path.read_bytes(), Run(run).best.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"state\.safetensors: not a whole safetensors file"):
        resume(run)
    path.write_bytes(Run(run).last.read_bytes())
    with pytest.raises(CheckpointError, match="not the state of a training"):
        resume(run)
    assert Run(run).best.read_bytes() == best
    path.write_bytes(whole)
    resume(run)


def test_another_recipe_or_other_data_is_refused(kill: Callable[..., Path]) -> None:
    run = kill(Stepper, "step", 8)
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("label_smoothing: 0.1", "label_smoothing: 0.2"))
    with pytest.raises(CheckpointError, match="is of another recipe than"):
        resume(run)
    (run / "recipe.yaml").write_text(text)
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(data | {"checksum": "0" * 64}))
    with pytest.raises(DataError, match=r"its data had the checksum 000000000000\.\.\., and has .* now"):
        resume(run)


def test_two_processes_do_not_train_in_one_run(kill: Callable[..., Path]) -> None:
    run = kill(Stepper, "step", 8)
    lock = lock_folder(run)
    with pytest.raises(RunError, match="another process is training in it"):
        resume(run)
    unlock_folder(lock)


@pytest.mark.parametrize(
    ("name", "works", "error"),
    [
        ("fsync", 20, OSError(errno.ENOSPC, "No space left on device")),
        ("replace", 12, OSError(errno.EROFS, "Read-only file system")),
    ],
)
def test_a_disk_that_is_full_or_read_only_keeps_the_last_state(
    name: str,
    works: int,
    error: OSError,
    tmp_path: Path,
    recipe: Recipes,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Path,
) -> None:
    original, calls = getattr(os, name), []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > works:
            raise error
        return original(*arguments, **options)

    checked = recipe(*CHANGES)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing)
        with pytest.raises(RunError, match=rf"cannot be written: .*{error.strerror}.*; the old file is unchanged"):
            train(checked, out=tmp_path / "run")
    assert not list(tmp_path.rglob("*.partial"))
    read_tensors(Run(tmp_path / "run").last)
    resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(undisturbed)
