from __future__ import annotations

import csv as csv_module
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.data.importers.csd.labels import SegmentTable, read_folds, segment_table
from neurozoo.errors import DataError

LABELS = "CMU_MOSEI_Labels.csd"


def counts(table: SegmentTable) -> dict[str, int]:
    """How many segments have each label."""
    return {name: sum(segment.labels[k] for segment in table.segments) for k, name in enumerate(table.labels)}


def test_segments_have_their_split_and_labels(mosei: Path, folds: Path) -> None:
    table = segment_table(mosei / LABELS, folds)
    assert table.labels == ("happy", "sad")
    assert table.sizes == {"train": 4, "valid": 2, "test": 2, "none": 2}
    assert counts(table) == {"happy": 5, "sad": 5}
    first, second, *_ = table.segments
    assert (first.id, first.start, first.end, first.split) == ("a[0]", 0.0, 2.0, "train")
    assert (first.labels, second.labels) == ((1, 0), (0, 1))
    assert counts(segment_table(mosei / LABELS, folds, above=1.0)) == {"happy": 0, "sad": 5}


def test_a_segment_is_called_by_its_row_and_not_by_its_time(csd: Callable[..., Path], folds: Path) -> None:
    folds.write_text('{"train": ["a"], "valid": [], "test": []}')
    path = csd("labels.csd", {"a": ([[6, 8], [0, 2]], [[0, 1], [2, 0]])}, names=["glad", "sad"])
    late, early = segment_table(path, folds).segments
    assert (late.id, late.start, late.labels) == ("a[0]", 6.0, (0, 1))
    assert (early.id, early.start, early.labels) == ("a[1]", 0.0, (1, 0))


def test_a_file_that_does_not_name_its_columns_needs_them(csd: Callable[..., Path], folds: Path) -> None:
    folds.write_text('{"train": ["a"], "valid": [], "test": []}')
    path = csd("labels.csd", {"a": ([[0, 1]], [[0, 1]])})
    with pytest.raises(DataError, match=r"2 columns and does not say what they are; give label_order=NAME,NAME"):
        segment_table(path, folds)
    assert segment_table(path, folds, label_order=["glad", "sad"]).labels == ("glad", "sad")
    named = csd("named.csd", {"a": ([[0, 1]], [[0, 1]])}, names=["x", "y"])
    with pytest.raises(DataError, match=r"its columns are x, y, and glad, sad was given; leave that out"):
        segment_table(named, folds, label_order=["glad", "sad"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "three lists of videos, train, valid, test"),
        (json.dumps({"train": ["a"], "valid": [], "dev": []}), "three lists of videos"),
        (json.dumps({"train": ["a"], "valid": ["a"], "test": []}), "the video 'a' is in train and in valid"),
    ],
)
def test_folds_that_are_none(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "folds.json"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        read_folds(path)


def test_folds_as_the_sdk_assigns_them(tmp_path: Path) -> None:
    path = tmp_path / "cmu_mosei_std_folds.py"
    path.write_text(
        "import nothing\nstandard_train_fold=['a', 'b']\nstandard_valid_fold = ['c']\nstandard_test_fold=['d',]\n"
    )
    assert read_folds(path) == {"a": "train", "b": "train", "c": "valid", "d": "test"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("standard_train_fold = [", "cannot be read as Python"),
        ("standard_train_fold = ['a']", "assigns standard_train_fold and so on"),
        ("(" * 10_000, "cannot be read as Python"),
        ("standard_train_fold = standard_valid_fold = standard_test_fold = list(open('x'))", "cannot be read"),
    ],
)
def test_nothing_of_the_sdks_file_runs(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "folds.py"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        read_folds(path)


def test_cmu_mosei_has_the_segments_that_are_published() -> None:
    folder = os.environ.get("NEUROZOO_TEST_DATA")
    if not folder:
        pytest.skip("NEUROZOO_TEST_DATA names no folder with mosei/CMU_MOSEI_Labels.csd")
    mosei = Path(folder) / "mosei"
    table = segment_table(mosei / LABELS, mosei / "std_folds.json")
    assert table.sizes == {"train": 16_327, "valid": 1_871, "test": 4_662, "none": 399}
    assert counts(table) == {
        "happy": 12_465,
        "sad": 5_998,
        "anger": 4_997,
        "surprise": 2_320,
        "disgust": 4_097,
        "fear": 1_913,
    }


def test_segments_are_called_as_the_transcripts_call_them() -> None:
    folder = os.environ.get("NEUROZOO_TEST_DATA")
    if not folder:
        pytest.skip("NEUROZOO_TEST_DATA names no folder with mosei/CMU_MOSEI_Labels.csd and mosei/text_emotions.csv")
    mosei = Path(folder) / "mosei"
    starts = {each.id: each.start for each in segment_table(mosei / LABELS, mosei / "std_folds.json").segments}
    with (mosei / "text_emotions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv_module.DictReader(file))
    assert len(rows) == 21_496
    for row in rows:
        assert starts[f"{row['video_id']}[{row['segment_id']}]"] == pytest.approx(max(float(row["start"]), 0), abs=0.01)
