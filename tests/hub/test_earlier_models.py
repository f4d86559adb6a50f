"""Runs and packed models from before there were tasks: reported, packed, predicted, and used as their cards say."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.hub.packing import pack
from neurozoo.reporting.runs import report_runs
from neurozoo.runs.packed import read_packed
from neurozoo.runs.shipped_models import shipped_model

HERE = Path(__file__).parents[1] / "schema1"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, which is the current one, as recipes name their store relative to it."""
    folder = Path(shutil.copytree(HERE, tmp_path / "old"))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("source", ["zoo", "schema1"])
def test_the_code_of_a_card_runs(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shipped_model("emotions-corrected") if source == "zoo" else HERE / "packed"
    assert folder is not None
    (python,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.M | re.S)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(compile(python, "README.md", "exec"), names)
    assert "probabilities" in names


def test_a_run_is_reported(old: Path) -> None:
    made = report_runs([old / "finished"])
    assert list(made.facts["labels"]) == ["calm", "angry", "sad", "all decisions"]
    assert made.facts["split"] == "test"
    summary = json.loads((old / "finished" / "summary.json").read_text())
    average = sum(each["finished"]["average_precision"] or 0 for each in list(made.facts["labels"].values())[:3]) / 3
    assert average == pytest.approx(summary["metrics"]["test"]["map"])
    for section in ("Labels, on test", "Labels together, on test", "Lesion effects", "What the labels look at"):
        assert f"<h2>{section}</h2>" in made.page
    assert made.facts["not_looked_at"] == {}
    decided = summary["decision_threshold"]
    assert "<td>decision</td>" in made.page
    assert str(decided if not isinstance(decided, list) else decided[0]) in made.page


def test_a_run_is_packed_into_todays_form(old: Path, tmp_path: Path) -> None:
    folder = pack(old / "finished", tmp_path / "packed")
    manifest, before = read_packed(folder), read_packed(old / "packed")
    assert (before.schema, manifest.schema) == (1, 2)
    assert manifest.outputs == before.outputs == ("calm", "angry", "sad")
    assert manifest.shapes == before.shapes
    card = (folder / "README.md").read_text()
    assert "says how probable each of 3 labels is, independently of the others: calm, angry, sad." in card
    assert "## Decision thresholds" in card


def test_a_packed_model_answers_as_its_run_does(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for source in ("finished", "packed"):
        assert main(["predict", source, "store", "--split", "test"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    first = json.loads(found[0].splitlines()[0])
    assert list(first) == ["id", "split", "probabilities", "labels"]
