"""A run's JSON files that are none: each is refused by name, by every command, and no traceback is shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.errors import RunError
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.run import Run


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "[]"),
        ("summary.json", "{}"),
        ("summary.json", '{"metrics": 3}'),
        ("run.json", "[]"),
        ("run.json", '{"recipe": 3}'),
        ("data.json", "7"),
        ("environment.json", "7"),
        ("metrics.jsonl", "7\n"),
        ("metrics.jsonl", '{"epoch": 1, "valid": []}\n'),
    ],
)
def test_what_is_no_file_of_a_run_is_named(
    name: str, content: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / name).write_text(content)
    read_by = {
        "environment.json": ["report"],
        "metrics.jsonl": ["report"],
        "data.json": ["report", "verify", "predict"],
    }
    for command in read_by.get(name, ["report", "verify", "evaluate", "pack", "predict"]):
        more = [str(tmp_path / "store")] if command == "predict" else []
        assert main([command, str(trained), *more]) == 2
        told = capsys.readouterr().err
        assert f"{trained / name}: not what a run has there" in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    "change",
    [
        lambda summary: summary["metrics"]["test"].update(micro_f1="0.5"),
        lambda summary: summary.update(decision="x"),
        lambda summary: summary["lesion"].update(permuted=1.0),
    ],
)
def test_numbers_that_are_none(
    change: Callable[[dict[str, Any]], None], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))
    assert main(["verify", str(trained)]) == 2
    assert "not what a run has there" in capsys.readouterr().err


def test_a_threshold_a_label_has_one_for_each(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained / "summary.json"
    path.write_text(path.read_text().replace('"decision": 0.35', '"decision": [0.1, 0.2]', 1))
    assert main(["verify", str(trained)]) == 2
    assert "its decision has 2 values, and there are 3 outputs" in capsys.readouterr().err


def test_many_runs_do_not_go_into_one(
    trained: Path, recipe: Callable[..., Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe()
    small = str(trained.parent / "small.yaml")
    before = sorted(trained.rglob("*"))
    for command in (["train", small, "--seeds", "2"], ["ablate", small, "--seeds", "2"]):
        if command[0] == "ablate":
            shutil.copy(small, trained.parent / "many.yaml")
            text = (trained.parent / "many.yaml").read_text()
            (trained.parent / "many.yaml").write_text(f"{text}\nablations: {{plain: [model.parts.scaling=none]}}\n")
            command[1] = str(trained.parent / "many.yaml")
        assert main([*command, "--out", str(trained)]) == 2
        assert f"{trained}: is a single run, to which no runs can be added" in capsys.readouterr().err
    assert sorted(trained.rglob("*")) == before


@pytest.mark.parametrize("name", ["run.json", "data.json", "environment.json", "summary.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 3000 + "]" * 3000, "nested deeper"),
        ('{"a": 1e400}', "1e400 is too large"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ('{"a": ' + "1" * 5000 + "}", "5,000 digits"),
    ],
)
def test_json_of_strangers(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / name).write_text(f"{text}\n")
    run = Run(tmp_path)
    with pytest.raises(RunError, match=rf"{name}.*: cannot be read as JSON: .*{words}"):
        _ = run.records() if name == "metrics.jsonl" else run.read_json(name)
