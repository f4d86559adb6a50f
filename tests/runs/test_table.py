"""Runs of a folder as a table, from a recipe that is a dictionary."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import neurozoo as nz
from neurozoo.errors import RecipeError, RunError, UnknownNameError, UserError

RECIPE: dict[str, Any] = {
    "schema": 2,
    "data": {
        "name": "nowhere",
        "inputs": ["spikes"],
        "instead": {"name": "poisson-synthetic", "params": {"features": 4, "labels": 2, "size": 24, "length": 5}},
    },
    "task": {"name": "multilabel"},
    "model": {"name": "cuba-mlp", "params": {"hidden": [3]}},
    "training": {"epochs": 1, "batch_size": 8, "threads": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    nz.train(RECIPE, "seed=4", out=root / "first")
    nz.train(RECIPE, "seed=5", out=root / "study" / "seed-5")
    (root / "study" / "seed-5" / "summary.json").write_text("{")
    return root


def test_a_recipe_may_be_a_dictionary_and_is_checked_as_a_file() -> None:
    recipe = nz.load_recipe(RECIPE, ["seed=7"])
    assert (recipe.name, recipe.seed, recipe.model.name) == ("recipe", 7, "cuba-mlp")
    assert "seed" not in RECIPE
    with pytest.raises(RecipeError, match="epoch"):
        nz.load_recipe({**RECIPE, "training": {"epoch": 1}})


def test_runs_and_those_of_studies_are_rows(folder: Path) -> None:
    table = nz.runs(folder)
    assert [row["run"] for row in table] == ["first", "study/seed-5"]
    first = table[0]
    assert (first["model"], first["task"], first["seed"], first["status"]) == ("cuba-mlp", "multilabel", 4, "finished")
    assert (first["synthetic"], first["epochs"], first["recipe"]) == (True, 1, "recipe")
    assert 0 <= first["test_map"] <= 1
    assert first["seconds"] > 0
    # One that cannot be read stays visible.
    assert table[1]["status"] == "damaged"
    assert "summary.json" in table[1]["problem"]
    assert repr(table) == f"2 runs in {folder}\n  first, cuba-mlp, finished, 4\n  study/seed-5, cuba-mlp, damaged, 5"
    assert len(nz.runs(folder / "study")) == len(table[1:]) == 1
    assert nz.runs.__name__ == "neurozoo.runs"  # the package of the same name is still one


def test_frames_are_pandas_and_say_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = nz.runs(folder)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"data frames need pandas.*pip install .*\[pandas\]"):
        table.frame()

    class Frame:
        def __init__(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
            self.rows, self.columns = rows, columns

        def set_index(self, name: str) -> tuple[Frame, str]:
            return self, name

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))
    frame, index = table.frame()  # type: ignore[misc]
    assert index == "run"
    assert frame.rows == [dict(row) for row in table]
    assert {"model", "test_map", "problem"} <= {*frame.columns}


def test_a_data_frame_of_pandas(folder: Path) -> None:
    pytest.importorskip("pandas", reason="needs pandas, which neurozoo-toolkit[pandas] installs")
    frame = nz.runs(folder).frame()
    assert frame.loc["first", "seed"] == 4
    assert list(frame.index) == ["first", "study/seed-5"]


def test_no_folder_and_no_runs(tmp_path: Path) -> None:
    assert len(nz.runs(tmp_path)) == 0
    with pytest.raises(RunError, match="there is no such folder; give the folder that holds run folders"):
        nz.runs(tmp_path / "none")


def test_the_order_and_the_conditions(trained_once: Callable[[int], Path], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for name, score, loss in (("a", 0.5, 0.3), ("b", 0.9, 0.9), ("c", None, 0.2)):
        folder = Path(shutil.copytree(trained_once(1), root / name))
        summary = json.loads((folder / "summary.json").read_text())
        summary["metrics"]["valid"] |= {"map": score, "loss": loss}
        (folder / "summary.json").write_text(json.dumps(summary))
    stopped = Path(shutil.copytree(trained_once(2), root / "stopped"))
    (stopped / "summary.json").unlink()
    table = nz.runs(root)

    def order(name: str, *, reverse: bool = False) -> list[str]:
        return [row["run"] for row in table.sorted_by(name, reverse=reverse)]

    first = table[3]["valid_map"]
    expected = sorted([(0.5, "a"), (0.9, "b"), (first, "stopped")], reverse=True)
    assert order("map") == order("valid/map") == [*(name for _, name in expected), "c"]
    assert order("map", reverse=True) == [*(name for _, name in reversed(expected)), "c"]  # without a value: last
    assert order("valid_loss")[:2] == ["c", "a"]
    assert order("run", reverse=True) == ["stopped", "c", "b", "a"]
    assert order("training.epochs")[-1] == "stopped"
    records = [json.loads(line) for line in (stopped / "metrics.jsonl").read_text().splitlines()]
    best = min(records, key=lambda record: record["valid"]["loss"])
    assert (table[3]["status"], table[3]["epochs"], table[3]["best_epoch"]) == ("interrupted", 2, best["epoch"])
    assert first == best["valid"]["map"]

    def those(*conditions: str) -> list[str]:
        return [row["run"] for row in table.where(*conditions)]

    assert those("status=finished") == ["a", "b", "c"]
    assert those("status!=finished") == those("run=st*") == those("training.epochs=2") == ["stopped"]
    assert those("map=0.9") == ["b"]
    assert those("synthetic=false", "seed=3", "model=smile", "run!=a") == ["b", "c", "stopped"]
    assert those("seed=three") == []
    for wrong in ("seed", "=3", "!=3"):
        with pytest.raises(UserError, match="is not KEY=VALUE"):
            table.where(wrong)
    with pytest.raises(UnknownNameError, match=r"no column is called 'sead'.*did you mean 'seed'"):
        table.where("sead=3")
    assert table[0]["data"] == "store"
    assert table[0]["bytes"] == sum(path.stat().st_size for path in (root / "a").rglob("*") if path.is_file())


def test_a_run_without_its_weights_is_damaged(trained: Path) -> None:
    (trained / "checkpoints" / "best.safetensors").unlink()
    (row,) = nz.runs(trained.parent)
    assert row["status"] == "damaged"
    assert row["problem"].endswith("best.safetensors: is missing; copy the run folder again from its source")
