"""``neurozoo runs``: lists, one run on a screen, and pruning, which deletes only with --yes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.reporting.runs import run_overview

Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Ran:
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["runs", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def root(trained_once: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``runs`` with a finished run, an interrupted one and a damaged one."""
    monkeypatch.chdir(tmp_path)
    for name in ("good", "stopped", "torn"):
        shutil.copytree(trained_once(1), tmp_path / "runs" / name)
    (tmp_path / "runs" / "stopped" / "summary.json").unlink()
    (tmp_path / "runs" / "torn" / "summary.json").write_text('{"\x1b[2J')
    return Path("runs")


def test_a_list(root: Path, ran: Ran) -> None:
    status, out, err = ran("list", "--sort", "map")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split("  ")[0] == "run"
    assert "map (valid)" in lines[0]
    assert "map (test)" in lines[0]
    assert lines[1].startswith("good")
    assert "1 of 1" in lines[1]
    assert [line.split()[1] for line in lines[1:4]] == ["finished", "interrupted", "damaged"]
    assert "summary.json" in lines[-1]
    assert "\x1b" not in out
    _, out, _ = ran("list", "--columns", "status, training.optimizer.lr,test/map", "--filter", "status=finished")
    assert out.splitlines()[0].split() == ["run", "status", "training.optimizer.lr", "test_map"]
    assert len(out.splitlines()) == 2
    _, out, _ = ran("list", "--json", "--sort", "seed")
    assert [row["run"] for row in json.loads(out)["runs"]] == ["good", "stopped", "torn"]
    status, out, _ = ran("list", "--filter", "run=none")
    assert (status, out) == (0, "no runs in runs that meet the conditions; `neurozoo train RECIPE` makes one\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--sort", "mapp"], "no column is called 'mapp'"),
        (["list", "--columns", "sed"], "did you mean 'seed'"),
        (["list", "--filter", "seed"], "is not KEY=VALUE"),
        (["list", "none"], "there is no such folder"),
        (["show", "none"], "there is no such run folder"),
        (["show", "."], "holds no recipe.yaml"),
        (["prune"], "nothing says which runs to delete"),
        (["prune", "--older-than", "3"], "is not an age"),
    ],
)
def test_wrong_input(arguments: list[str], words: str, root: Path, ran: Ran) -> None:
    status, out, err = ran(*arguments)
    assert (status, out) == (2, "")
    assert words in err


def test_one_run_on_a_screen(root: Path, ran: Ran) -> None:
    summary = json.loads((root / "good" / "summary.json").read_text())
    status, out, _ = ran("show", "runs/good", "--json")
    shown: dict[str, Any] = json.loads(out)
    assert status == 0
    assert shown["metrics"] == summary["metrics"]
    assert shown["data_checksum"] == summary["data"]["checksum"]
    assert shown["digest"] == summary["recipe_digest"]
    low, high = shown["intervals"]["test"]["map"]
    assert low <= summary["metrics"]["test"]["map"] <= high
    assert low < high
    assert list(shown["next"]) == [f"neurozoo {verb} runs/good" for verb in ("report", "verify", "pack")]
    (root / "good" / "report.html").write_text("<p>")
    _, out, _ = ran("show", "runs/good", "--json")
    opened, *others = json.loads(out)["next"].items()
    assert opened == ("open runs/good/report.html", "all of it as a page with pictures")
    assert others == list(shown["next"].items())[1:]
    status, out, _ = ran("show", "runs/good")
    assert status == 0
    for words in ("finished, epoch 1", "checksum " + shown["data_checksum"][:12], "map", " to ", "warnings", "verify"):
        assert words in out
    assert len(out.splitlines()) < 60
    status, out, _ = ran("show", "runs/stopped")
    assert status == 0
    assert "neurozoo train --resume runs/stopped" in out


def test_too_many_answers_have_no_interval(root: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_overview, "MOST_ANSWERS", 10)  # valid has as many, test one more
    monkeypatch.setattr(run_overview, "DRAWS", 5)
    _, out, _ = ran("show", "runs/good", "--json")
    assert list(json.loads(out)["intervals"]) == ["valid"]


def test_a_damaged_run_shows_what_it_has_and_fails(root: Path, ran: Ran) -> None:
    status, out, err = ran("show", "runs/torn")
    assert status == 2
    assert out.startswith("run     runs/torn: damaged\nrecipe  small, model smile")
    assert "is damaged: runs/torn/summary.json: cannot be read as JSON" in err
    (root / "good" / "predictions" / "test.safetensors").write_bytes(b"0" * 20)
    status, _, err = ran("show", "runs/good")
    assert status == 2
    assert "test.safetensors: not a whole safetensors file" in err


def test_data_that_moved(root: Path, ran: Ran) -> None:
    about = json.loads((root / "stopped" / "run.json").read_text())
    (root / "stopped" / "run.json").write_text(json.dumps({**about, "data_root": "/nowhere/store"}))
    _, out, _ = ran("show", "runs/stopped")
    assert "not in /nowhere/store any more" in out
    assert "neurozoo train --resume runs/stopped --data-root DIR" in out


def test_pruning_only_says_until_it_is_told_to(root: Path, ran: Ran) -> None:
    status, out, _ = ran("prune", "--interrupted")
    assert status == 0
    assert "interrupted after 1 epochs" in out
    assert "torn  it cannot be read" in out
    assert "nothing was deleted; the same with --yes deletes 1 run, " in out
    assert (root / "stopped").is_dir()
    status, out, _ = ran("prune", "--interrupted", "--yes", "--json")
    done = json.loads(out)
    assert (status, done["done"], [each["run"] for each in done["removals"]]) == (0, True, ["stopped"])
    assert sorted(path.name for path in root.iterdir()) == ["good", "torn"]
    _, out, _ = ran("prune", "--checkpoints", "--yes")
    assert "good: last.safetensors" in out
    assert "deleted from runs: 1 checkpoint of 1 run, " in out
    _, out, _ = ran("prune", "--checkpoints")
    assert out == "nothing to delete in runs\n"
