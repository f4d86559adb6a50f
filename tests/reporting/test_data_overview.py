"""``data info``: what a store holds, as numbers, tables and a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.summary import Labels, summarise


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Lengths 0, 1, 2, 4 in train and 4 in test; a NaN; labels as below."""
    text = np.ones((4, 4, 2))
    for row, length in enumerate((0, 1, 2, 4)):
        text[row, length:] = 0
    text[3, 1, 1] = np.nan
    with StoreWriter(tmp_path / "store", labels=["glad", "sad"], origin={"format": "by hand", "licence": "none"}) as w:
        w.add("train", {"text": text, "one": np.ones((4, 1, 1))}, [[0, 0], [1, 0], [1, 1], [1, 1]])
        w.add("test", {"text": np.ones((1, 4, 2)), "one": np.ones((1, 1, 1))}, [[0, 1]])
    return tmp_path / "store"


def test_lengths_and_labels_are_counted(store: Path) -> None:
    summary = summarise(Store(store))
    train = summary.lengths["text"]["train"]
    assert train.quartiles == (0, 0.75, 1.5, 2.5, 4)
    assert (train.without, train.counts) == (1, (1, 1, 1, 0, 1))
    assert summary.lengths["text"]["test"].quartiles == (4, 4, 4, 4, 4)
    assert summary.labels["train"] == Labels(4, (3, 2), ((3, 2), (2, 2)), (1, 1, 2))
    assert summary.labels["test"] == Labels(1, (0, 1), ((0, 0), (0, 1)), (0, 1, 0))


def test_the_tables(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(store)]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["format:", "by", "hand"] in lines
    assert ["text", "2", "4", "1"] in lines
    assert ["text", "train", "0", "0.75", "1.5", "2.5", "4", "1"] in lines
    assert ["glad", "3", "(75.0%)", "0", "(0.0%)"] in lines
    assert ["labels", "a", "sample", "1.25", "1.00"] in lines
    assert ["sad", "2", "3"] in lines


def test_for_programs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(store), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["checksum"] == Store(store).description.checksum
    assert told["non_finite"] == {"text": 1, "one": 0}
    assert told["labels"] == ["glad", "sad"]
    assert told["summary"]["labels"]["train"]["together"] == [[3, 2], [2, 2]]
    assert told["summary"]["lengths"]["text"]["train"]["counts"] == [1, 1, 1, 0, 1]


def test_the_page_says_the_same(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(store), "--html", str(tmp_path / "new" / "page.html")]) == 0
    page = (tmp_path / "new" / "page.html").read_text("utf-8")
    for words in ("by hand", "3 (75.0%)", "<svg", "text: valid positions", "labels a sample"):
        assert words in page
    assert "one: valid positions" not in page, "one position is no distribution"
    assert "SYNTHETIC" not in page
    assert len(page) < 1_000_000
    capsys.readouterr()


def test_made_up_data_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StoreWriter(tmp_path / "store", labels=["glad"], origin={}, synthetic=True) as writer:
        writer.add("train", {"text": np.ones((2, 2, 1))}, [[1], [0]])
    assert main(["data", "info", str(tmp_path / "store"), "--html", str(tmp_path / "page.html")]) == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert 'class="warning">SYNTHETIC' in (tmp_path / "page.html").read_text("utf-8")


def test_many_labels_become_the_pairs_most_often_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((3, 13), int)
    labels[:, [4, 7]] = 1
    labels[0, 2] = 1
    with StoreWriter(tmp_path / "store", labels=[f"l{i}" for i in range(13)], origin={}) as writer:
        writer.add("train", {"text": np.ones((3, 2, 1))}, labels)
    assert main(["data", "info", str(tmp_path / "store"), "--html", str(tmp_path / "page.html")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines.index(["l4", "l7", "3"]) < lines.index(["l2", "l4", "1"])


def test_a_page_that_cannot_be_written_or_drawn(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["data", "info", str(store), "--html", str(tmp_path / "file" / "page.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["data", "info", str(store), "--html", str(tmp_path / "page.html")]) == 2
    assert "pip install 'neurozoo[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
