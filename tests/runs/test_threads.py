"""How OpenMP's threads wait: set before torch is loaded, left as the user has it, and recorded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import neurozoo
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.threads import SPIN_COUNT, VARIABLES

OURS = {"GOMP_SPINCOUNT": SPIN_COUNT}
SHOW = "from neurozoo.runs.threads import thread_waiting; print(json.dumps(thread_waiting().to_dict()))"
DOCTOR = (
    "from dataclasses import asdict; from neurozoo.testing.doctor import examine; "
    "from neurozoo.registry.registry import default_registry; "
    "print(json.dumps({'findings': [asdict(each) for each in examine(default_registry(), ['devices'])]}))"
)
LIBGOMP = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process whose environment has only these of the variables in question."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables
    return subprocess.run(
        [sys.executable, "-c", f"import json, os, sys; {code}"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip


def printed(code: str, **variables: str) -> Any:
    return json.loads(run(code, **variables).stdout)


@pytest.mark.parametrize("module", ["neurozoo", "neurozoo.cli", "neurozoo.errors"])
def test_it_is_set_by_any_import_and_without_torch(module: str) -> None:
    show = f"print(json.dumps([{{n: os.environ[n] for n in {VARIABLES} if n in os.environ}}, 'torch' in sys.modules]))"
    variables, has_torch = printed(f"import {module}; {show}")
    assert variables == OURS
    assert not has_torch
    assert printed(SHOW)["set_by"] == "neurozoo"


@pytest.mark.parametrize("name", VARIABLES)
def test_what_the_user_has_set_is_left_alone(name: str) -> None:
    value = {"OMP_WAIT_POLICY": "ACTIVE", "KMP_LIBRARY": "turnaround"}.get(name, "123")
    found = printed(SHOW, **{name: value})
    assert (found["set_by"], found["variables"]) == ("user", {name: value})
    assert printed(
        f"import neurozoo; print(json.dumps({{n: os.environ.get(n) for n in {VARIABLES}}}))", **{name: value}
    ) == (dict.fromkeys(VARIABLES) | {name: value})


def test_child_processes_inherit_it() -> None:
    child = f"import subprocess; subprocess.run([sys.executable, '-c', {f'import json; {SHOW}'!r}], check=True)"
    found = printed(f"import neurozoo; {child}")
    assert (found["set_by"], found["variables"]) == ("neurozoo", OURS)
    found = printed(f"import neurozoo; {child}", OMP_WAIT_POLICY="PASSIVE")
    assert (found["set_by"], found["variables"]) == ("user", {"OMP_WAIT_POLICY": "PASSIVE"})


@pytest.mark.skipif(not LIBGOMP, reason="this torch computes without libgomp")
def test_libgomp_has_read_it() -> None:
    done = run(f"import neurozoo, torch; {SHOW}", OMP_DISPLAY_ENV="VERBOSE")
    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in done.stderr
    assert json.loads(done.stdout)["libraries"] == ["libgomp"]


def test_torch_that_was_loaded_first_is_a_warning_of_doctor() -> None:
    code = f"import torch, neurozoo; assert 'GOMP_SPINCOUNT' not in os.environ; {DOCTOR}"
    (found,) = [each for each in printed(code)["findings"] if each["name"] == "thread waiting"]
    assert found["status"] == "warning"
    assert found["said"].startswith("torch was loaded before neurozoo, so GOMP_SPINCOUNT=1000 could not be set")
    details = found["details"]
    assert (details["set_by"], details["variables"], details["loaded_first"]) == ("nobody", {}, "torch")


def test_torch_that_was_loaded_first_has_read_what_the_user_has_set() -> None:
    found = printed(f"import torch; {SHOW}", OMP_WAIT_POLICY="PASSIVE")
    assert (found["set_by"], found["loaded_first"]) == ("user", "torch")


@pytest.mark.skipif(not LIBGOMP, reason="this torch computes without libgomp")
def test_libgomp_that_another_library_has_loaded_is_too_late(tmp_path: Path) -> None:
    library = tmp_path / "libgomp.so.1"
    shutil.copyfile(LIBGOMP[0], library)
    found = printed(f"import ctypes; ctypes.CDLL({str(library)!r}); {SHOW}")
    assert (found["set_by"], found["variables"], found["loaded_first"]) == ("nobody", {}, "libgomp")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "GOMP_SPINCOUNT=1000, set by neurozoo for libgomp"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "OMP_WAIT_POLICY=PASSIVE, from the"),
    ],
)
def test_doctor_names_the_setting_in_force(variables: dict[str, str], said: str) -> None:
    (found,) = [each for each in printed(DOCTOR, **variables)["findings"] if each["name"] == "thread waiting"]
    assert found["status"] == "ok"
    assert found["said"].startswith(said)
    assert found["details"]["variables"] == (variables or OURS)


def test_a_library_that_does_not_read_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from neurozoo.runs import threads

    monkeypatch.setattr(threads, "openmp_libraries", lambda: ["libomp"])
    waiting = threads.ThreadWaiting("neurozoo", OURS, None)
    assert waiting.describe().endswith("for libgomp, has no effect: libomp does not read it")


def test_a_run_records_it_and_so_do_the_trainings_of_a_study(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This process has loaded torch before neurozoo; the processes of a study have not.
    recipe()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    neurozoo.train_seeds(tmp_path / "small.yaml", "training.epochs=1", seeds=1, out=tmp_path / "study", jobs=1)
    (file,) = tmp_path.rglob("environment.json")
    recorded = json.loads(file.read_text())["thread_waiting"]
    assert (recorded["set_by"], recorded["variables"], recorded["loaded_first"]) == ("neurozoo", OURS, None)
