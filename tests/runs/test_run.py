"""Run folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.errors import RunError
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.json_files import append_json
from neurozoo.runs.run import Run
from neurozoo.training.run_folder import RunFolder


def test_a_new_run_can_be_opened(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    RunFolder.begin(tmp_path / "run", recipe())
    run = Run(tmp_path / "run")
    assert run.recipe().digest == recipe().digest
    assert not run.finished
    assert run.records() == []


def test_an_existing_run_is_left_alone(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")
    with pytest.raises(RunError, match="already there and not empty; give another --out"):
        RunFolder.begin(tmp_path / "run", recipe())
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_file_in_the_way(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="already there"):
        RunFolder.begin(tmp_path / "run", recipe())
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder.begin(tmp_path / "run" / "below", recipe())


def test_what_is_not_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such run folder; `neurozoo train RECIPE"):
        Run(tmp_path / "no")
    with pytest.raises(RunError, match=r"not a run folder, it holds no recipe\.yaml"):
        Run(tmp_path)
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").touch()
    with pytest.raises(RunError, match=rf"it holds the runs 1, 2; name one of them, such as {tmp_path / '1'}"):
        Run(tmp_path)


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    run = RunFolder.begin(tmp_path / "run", recipe()).run
    append_json(run.records_path, {"epoch": 1, "map": float("nan")})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')
    assert run.records() == [{"epoch": 1, "map": None}]
    with pytest.raises(RunError, match="not there; the run did not get that far"):
        run.read_json("summary.json")
