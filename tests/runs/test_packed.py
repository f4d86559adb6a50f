"""Packed folders as strangers and systems leave them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.errors import CheckpointError
from neurozoo.runs.packed import MANIFEST, WEIGHTS, read_packed
from neurozoo.runs.shipped_models import shipped_model


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    source = shipped_model("emotions-corrected")
    assert source is not None
    return Path(shutil.copytree(source, tmp_path / "packed"))


def test_what_systems_leave_is_no_change(packed: Path) -> None:
    for name in (".DS_Store", "._README.md", "Thumbs.db", "desktop.ini"):
        (packed / name).touch()
    for name in (".ipynb_checkpoints", "__MACOSX"):
        (packed / name).mkdir()
    read_packed(packed)
    (packed / "extra.txt").touch()
    with pytest.raises(CheckpointError, match=r"extra\.txt is additional; copy the folder again"):
        read_packed(packed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 3000 + "]" * 3000, "nested deeper"),
        ('{"schema": 1e400}', "too large"),
        ('{"schema": NaN}', "NaN"),
        ('{"schema": 1, "schema": 2}', "occurs twice"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_a_manifest_that_is_no_json(text: str, words: str, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (packed / MANIFEST).write_text(text)
    assert main(["evaluate", str(packed)]) == 2
    err = capsys.readouterr().err
    assert MANIFEST in err
    assert words in err


def test_numbers_without_end_inside_of_the_summary(packed: Path) -> None:
    text = (packed / MANIFEST).read_text()
    manifest = json.loads(text)
    manifest["summary"]["duration_seconds"] = 123456.789
    (packed / MANIFEST).write_text(json.dumps(manifest).replace("123456.789", "1e400"))
    with pytest.raises(CheckpointError, match="1e400 is too large"):
        read_packed(packed)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, "recipe.yaml"])
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_links_and_pipes_are_refused(kind: str, name: str, packed: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (packed / name).rename(outside)
    if kind == "pipe":
        os.mkfifo(packed / name)
    elif kind == "link":
        (packed / name).symlink_to(outside)
    else:
        (packed / name).hardlink_to(outside)
    with pytest.raises(CheckpointError, match=name):
        read_packed(packed)
