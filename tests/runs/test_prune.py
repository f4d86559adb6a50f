"""Pruning: what is chosen by each criterion, what is kept whatever is asked for, and races."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from neurozoo.errors import UnknownNameError, UserError
from neurozoo.files.locks import is_locked, lock_folder, unlock_folder
from neurozoo.runs.prune import Criteria, Pruned, age, plan_prune, prune
from neurozoo.runs.table import runs_below

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and locks of POSIX")

Place = Callable[..., Path]


@pytest.fixture
def place(trained_once: Callable[[int], Path], tmp_path: Path) -> Place:
    """Puts a copy of a finished run somewhere below ``tmp_path / "runs"``, with another score, age or end."""

    def put(name: str, *, map: float | None = None, days: float = 0, finished: bool = True) -> Path:
        folder = Path(shutil.copytree(trained_once(1), tmp_path / "runs" / name))
        summary = json.loads((folder / "summary.json").read_text())
        if map is not None:
            summary["metrics"]["valid"]["map"] = map
            (folder / "summary.json").write_text(json.dumps(summary))
        if not finished:
            (folder / "summary.json").unlink()
        for path in folder.rglob("*"):
            then = path.stat().st_mtime - days * 86400
            os.utime(path, (then, then))
        return folder

    return put


def chosen(plan: Pruned) -> list[str]:
    return [each.run for each in plan.removals]


def reasons(plan: Pruned) -> dict[str, str]:
    return {each.run: each.reason for each in plan.kept}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_each_criterion_and_those_together(place: Place, tmp_path: Path) -> None:
    for name, score, days in (("a", 0.2, 0), ("b", 0.9, 40), ("c", 0.5, 40), ("d", 0.7, 0)):
        place(name, map=score, days=days)
    place("e", days=2, finished=False)
    root = tmp_path / "runs"
    before = digests(root)
    month, table = timedelta(days=30), runs_below(root)
    for criteria, expected in (
        (Criteria(older_than=month), ["b", "c"]),
        (Criteria(interrupted=True), ["e"]),
        (Criteria(interrupted=True, older_than=month), []),
        (Criteria(keep_best=2, by="map"), ["a", "c"]),
        (Criteria(keep_best=2, by="map", older_than=month), ["c"]),
        (Criteria(keep_best=1, by="hamming_loss"), ["b", "c", "d"]),  # equal ones: in the order of the table
        (Criteria(keep_best=9), []),
        (Criteria(checkpoints=True), ["a", "b", "c", "d"]),
        (Criteria(checkpoints=True, older_than=month), ["b", "c"]),
    ):
        plan = plan_prune(table, criteria)
        assert chosen(plan) == expected, criteria
        assert not plan.done
    assert digests(root) == before
    reason = plan_prune(table, Criteria(keep_best=1, by="map", older_than=month)).removals[0].reason
    assert reason == "unchanged for 40 days; number 3 of 4 by valid_map"


def test_the_best_are_counted_on_each_data_set_alone(place: Place, tmp_path: Path) -> None:
    for name, score in (("a", 0.2), ("b", 0.9), ("c", 0.1), ("d", 0.05)):
        folder = place(name, map=score)
        if name in "cd":
            data = json.loads((folder / "data.json").read_text())
            (folder / "data.json").write_text(json.dumps({**data, "checksum": "0" * 64}))
    assert chosen(plan_prune(tmp_path / "runs", Criteria(keep_best=1, by="map"))) == ["a", "d"]


def test_what_is_deleted_is_gone_and_all_else_is_as_it_was(place: Place, tmp_path: Path) -> None:
    place("old", days=40)
    stays = place("new")
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    before = digests(stays)
    plan = plan_prune(tmp_path / "runs", Criteria(older_than=timedelta(days=30)))
    size = sum(path.stat().st_size for path in (tmp_path / "runs" / "old").rglob("*") if path.is_file())
    done = prune(plan)
    assert (done.done, chosen(done), done.bytes) == (True, ["old"], size)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["new", "notes.txt"]
    assert digests(stays) == before


def test_checkpoints_leave_a_run_that_measures_the_same(place: Place, tmp_path: Path) -> None:
    import neurozoo as nz

    folder = place("run")
    (folder / "checkpoints" / "state.safetensors").write_bytes(b"left by a killed process")
    lacking = place("lacking")
    (lacking / "checkpoints" / "best.safetensors").unlink()
    done = prune(plan_prune(tmp_path / "runs", Criteria(checkpoints=True)))
    assert [each.files for each in done.removals] == [
        ("checkpoints/last.safetensors", "checkpoints/state.safetensors"),
    ]
    assert "best.safetensors: is missing" in nz.runs(tmp_path / "runs").where("run=lacking")[0]["problem"]
    assert (lacking / "checkpoints" / "last.safetensors").is_file()
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.safetensors"]
    summary = json.loads((folder / "summary.json").read_text())
    assert nz.evaluate(folder)["metrics"]["test"] == summary["metrics"]["test"]
    assert not plan_prune(tmp_path / "runs", Criteria(checkpoints=True)).removals


def test_links_damage_and_other_files_are_left_alone(place: Place, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    outside = shutil.copytree(place("there", days=9), tmp_path / "outside")
    (root / "linked").symlink_to(outside)
    place("damaged", days=9).joinpath("summary.json").write_text("{")
    os.utime(root / "damaged" / "summary.json", (1e9, 1e9))
    mine = place("mine", days=9)
    (mine / "thesis.txt").write_text("mine")
    os.utime(mine / "thesis.txt", (1e9, 1e9))
    nested = place("nested", days=9)
    (nested / "predictions" / "figure.png").write_bytes(b"mine")
    os.utime(nested / "predictions" / "figure.png", (1e9, 1e9))
    inner = place("inner", days=9)
    shutil.rmtree(inner / "predictions")
    (inner / "predictions").symlink_to(outside)
    packed = root / "no-run"
    packed.mkdir()
    (packed / "recipe.yaml").write_text("schema: 2")
    (tmp_path / "kept").mkdir()
    before = digests(outside), digests(packed)
    plan = plan_prune(root, Criteria(older_than=timedelta(days=1)))
    assert chosen(plan) == ["there"]
    assert "it cannot be read, so that it may be no run" in reasons(plan)["damaged"]
    assert reasons(plan)["mine"] == "it holds what no training writes: thesis.txt; move that first"
    assert "predictions (a link)" in reasons(plan)["inner"]
    assert "predictions/figure.png" in reasons(plan)["nested"]
    prune(plan)
    assert sorted(path.name for path in root.iterdir()) == ["damaged", "inner", "linked", "mine", "nested", "no-run"]
    assert (digests(outside), digests(packed)) == before


def test_runs_of_studies_are_kept_unless_asked_for(place: Place, tmp_path: Path) -> None:
    place("study/full/1", days=9)
    (tmp_path / "runs" / "study" / "ablation.json").write_text("{}")
    old = timedelta(days=1)
    plan = plan_prune(tmp_path / "runs", Criteria(older_than=old))
    assert not plan.removals
    study = tmp_path / "runs" / "study"
    assert reasons(plan) == {"study/full/1": f"a run of the study {study}; --studies deletes these too"}
    (removal,) = plan_prune(tmp_path / "runs", Criteria(older_than=old, studies=True)).removals
    assert removal.notes == (f"a run of the study {study}",)
    assert nz_study(tmp_path) == str(study)


def nz_study(tmp_path: Path) -> str:
    return str(runs_below(tmp_path / "runs")[0]["study"])


def test_who_began_with_its_weights_is_named(place: Place, tmp_path: Path) -> None:
    first = place("first", days=9)
    second = place("second")
    summary = json.loads((second / "summary.json").read_text())
    sha256 = hashlib.sha256((first / "checkpoints" / "best.safetensors").read_bytes()).hexdigest()
    summary["started_from"] = {"recipe": "small", "sha256": sha256}
    (second / "summary.json").write_text(json.dumps(summary))
    (removal,) = plan_prune(tmp_path / "runs", Criteria(older_than=timedelta(days=1))).removals
    assert removal.notes == ("the run second began with its weights",)


HOLD = "import sys; from pathlib import Path; from neurozoo.files.locks import lock_folder\n"
HOLD += "lock = lock_folder(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"


@pytest.fixture
def training(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], None]]:
    """Locks a run from another process, as a training does."""
    started: list[subprocess.Popen[str]] = []

    def hold(folder: Path) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], text=True, **pipes)  # type: ignore[call-overload]
        started.append(process)
        assert process.stdout.readline() == "locked\n"

    yield hold
    for process in started:
        process.communicate("")


def test_a_run_in_training_is_never_touched(place: Place, tmp_path: Path, training: Callable[[Path], None]) -> None:
    folder, late = place("busy", finished=False), place("late", finished=False)
    training(folder)
    assert is_locked(folder)
    assert not is_locked(late)
    assert [row["status"] for row in runs_below(tmp_path / "runs")] == ["running", "interrupted"]
    plan = plan_prune(tmp_path / "runs", Criteria(interrupted=True))
    assert (chosen(plan), reasons(plan)) == (["late"], {"busy": "a process is training in it"})
    training(late)  # after the plan
    before = digests(tmp_path)
    done = prune(plan)
    assert not done.removals
    assert reasons(done)["late"] == "another process is training in it"
    assert digests(tmp_path) == before


def test_a_run_that_changed_since_the_plan_stays(place: Place, tmp_path: Path) -> None:
    folder, swapped = place("run", finished=False), place("swapped", finished=False)
    given = place("given", finished=False)
    plan = plan_prune(tmp_path / "runs", Criteria(interrupted=True))
    (folder / "metrics.jsonl").touch()
    swapped.rename(tmp_path / "elsewhere")
    swapped.symlink_to(tmp_path / "elsewhere")
    (given / "thesis.txt").write_text("mine")
    os.utime(given / "thesis.txt", (1e9, 1e9))  # older than the run's own files
    done = prune(plan)
    assert not done.removals
    assert reasons(done) == {
        "given": "it holds what no training writes: thesis.txt; move that first",
        "run": "it changed since it was chosen; ask again",
        "swapped": "a link has taken its place",
    }
    assert len(digests(tmp_path / "elsewhere")) > 5


def test_what_cannot_be_deleted_is_said(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place("run", finished=False)
    plan = plan_prune(tmp_path / "runs", Criteria(interrupted=True))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("neurozoo.runs.prune.shutil.rmtree", refuse)
    done = prune(plan)
    assert not done.removals
    assert reasons(done)["run"].startswith("Permission denied; what is left of it is in ")
    assert len(runs_below(tmp_path / "runs")) == 0  # half a run is no run


@pytest.mark.parametrize(
    ("criteria", "words"),
    [
        (Criteria(), "nothing says which runs to delete"),
        (Criteria(studies=True), "nothing says which runs to delete"),
        (Criteria(older_than=age("0d")), "selects every run; give an age above 0"),
        (Criteria(interrupted=True, keep_best=1), "--keep-best for finished ones; give one"),
        (Criteria(interrupted=True, checkpoints=True), "--checkpoints for finished ones; give one"),
        (Criteria(interrupted=True, by="map"), "is the metric of --keep-best N"),
        (Criteria(keep_best=0), "give 1 or more"),
        (Criteria(keep_best=1, by="seed"), "is no metric"),
    ],
)
def test_criteria_that_say_nothing_are_refused(criteria: Criteria, words: str, place: Place, tmp_path: Path) -> None:
    place("run")
    with pytest.raises(UserError, match=words):
        plan_prune(tmp_path / "runs", criteria)
    with pytest.raises(UnknownNameError, match="no column is called 'mpa'"):
        plan_prune(tmp_path / "runs", Criteria(keep_best=1, by="mpa"))


def test_ages() -> None:
    assert [age(text) for text in ("12h", "30d", "1.5w")] == [
        timedelta(hours=12), timedelta(days=30), timedelta(days=10.5)
    ]  # fmt: skip
    for text in ("30", "d", "-3d", "3m", "1e9d", "99999999d"):
        with pytest.raises(UserError, match="is not an age"):
            age(text)


def test_the_files_of_studies_are_those_that_studies_write() -> None:
    from neurozoo.runs.table import STUDY_FILES
    from neurozoo.studies import parallel_runs, plan, seeds
    from neurozoo.studies.tuning import search

    assert {plan.FILE, seeds.FILE, search.BEST, search.STUDY, parallel_runs.MARK, "ablation.json"} == set(STUDY_FILES)


def test_locks_are_asked_for_without_being_held(tmp_path: Path) -> None:
    assert is_locked(tmp_path) is False
    lock = lock_folder(tmp_path, wait=False)
    assert is_locked(tmp_path) is True
    unlock_folder(lock)
    assert is_locked(tmp_path) is False
