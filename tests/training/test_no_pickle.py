"""The project's own files hold nothing that could run: no command on a run reads or writes a pickle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.recipe.recipe import Recipe

WATCHED = """
import sys
seen = []
watching = False
def hook(event, arguments):
    if watching and event == "pickle.find_class":
        seen.append((event, arguments))
sys.addaudithook(hook)

import pickle, torch
from neurozoo.cli import main
from neurozoo.hub import packing
from neurozoo.training.step import Stepper

packing.SAMPLES = 1  # whose operations a card counts

def forbid(module, name):
    def refuse(*arguments, **options):
        raise AssertionError(f"{module.__name__}.{name}")
    setattr(module, name, refuse)

for name in ("load", "loads", "dump", "dumps"):
    forbid(pickle, name)
for name in ("load", "save"):
    forbid(torch, name)

class Stop(BaseException):
    pass

recipe, store, folder = sys.argv[1:]
watching = True
assert main(["train", recipe, "--out", folder + "/whole"]) == 0
step, steps = Stepper.step, []
def stopping(*arguments):
    steps.append(1)
    if len(steps) == 2:
        raise Stop
    return step(*arguments)
Stepper.step = stopping
assert main(["train", recipe, "--out", folder + "/stopped"]) == 1, "it was not stopped"
Stepper.step = step
for command in (["train", "--resume", folder + "/stopped"], ["evaluate", folder + "/whole"],
                ["verify", folder + "/whole"], ["predict", folder + "/whole", store, "--json"],
                ["pack", folder + "/whole", "--out", folder + "/packed"],
                ["verify", folder + "/packed", "--data-root", store],
                ["predict", folder + "/packed", store, "--json"]):
    assert main(command) == 0, command
import neurozoo
neurozoo.load(folder + "/packed")
sys.exit(f"pickles: {seen[:5]}" if seen else 0)
"""


@pytest.mark.slow
def test_no_command_on_a_run_touches_a_pickle(tmp_path: Path, store: Path, recipe: Callable[..., Recipe]) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(recipe("training.epochs=1", "training.checkpoint_steps=1").to_yaml())
    command = [sys.executable, "-c", WATCHED, str(path), str(store), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
