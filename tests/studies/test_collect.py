"""The table of runs that were started by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.errors import RunError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.recipe.recipe import Recipe
from neurozoo.reporting.summaries import seeds_lines
from neurozoo.runs.run import Run
from neurozoo.studies.collect import collect
from neurozoo.training.train import train


@pytest.fixture
def array(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """Seeds 1 and 2 of one recipe, and another one that trains for longer, each in a folder of its task's number."""
    folder = tmp_path / "array"
    for seed in (2, 1):
        train(recipe("training.epochs=1", f"seed={seed}"), out=folder / str(seed))
    train(recipe("training.epochs=2", "seed=1"), out=folder / "longer" / "1")
    return folder


def test_runs_are_grouped_by_recipe_and_the_rest_is_named(
    array: Path,
    recipe: Callable[..., Recipe],
    interrupted_at: Callable[[int], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(array / "1", array / "again")
    with interrupted_at(5):
        train(recipe(), out=array / "stopped")
    found = collect([array, array / "1"])
    assert [(group.seeds, group.overrides) for group in found.groups] == [
        ((1, 2), ("training.epochs=1",)),
        ((1,), ("training.epochs=2",)),
    ]
    values = [Run(array / str(seed)).read_json("summary.json")["metrics"]["test"]["map"] for seed in (1, 2)]
    assert found.groups[0].metrics["test"]["map"].values == tuple(values)
    assert dict(found.left_out) == {
        str(array / "again"): f"has the recipe and the seed of {array / '1'}",
        str(array / "stopped"): f"not finished; `neurozoo train --resume {array / 'stopped'}` continues it",
    }
    lock = lock_folder(array / "stopped")
    assert dict(collect([array]).left_out)[str(array / "stopped")] == "a process is training in it"
    unlock_folder(lock)
    out = array / "table.json"
    assert main(["collect", str(array), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert [row.split()[2] for row in shown.splitlines() if row.startswith("small training.epochs=1 ")] == ["2", "2"]
    assert "mean ± deviation over seeds (test)" in shown
    assert f"left out: {array / 'again'}: has the recipe" in shown
    written = json.loads(out.read_text())
    assert written["groups"][0]["metrics"]["test"]["map"]["values"] == values
    assert written["groups"][1]["metrics"]["test"]["map"]["low"] is None  # of one value there is no interval

    assert main(["collect", str(array / "1"), str(array / "2"), "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert (group["seeds"], group["overrides"]) == ([1, 2], [])
    assert "lesion effect" in seeds_lines(found.groups[0])
    assert "lesion effect" not in seeds_lines(replace(found.groups[0], lesion={}))  # of a model without any


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished run; give folders that hold runs"):
        collect([tmp_path])
    with pytest.raises(RunError, match="there is no such folder"):
        collect([tmp_path / "nowhere"])
