"""``data info``: what a store holds, as numbers, tables and a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.core.signals import SignalShape
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
    assert ["text", "2", "4", "1", "float32", "padded"] in lines
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
    notice = "SYNTHETIC data: these numbers say nothing about real data and cannot be compared with published results"
    assert capsys.readouterr().out.splitlines()[1] == f"  {notice}"
    assert f'class="warning">{notice}' in (tmp_path / "page.html").read_text("utf-8")


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
    assert "pip install 'neurozoo-toolkit[plots]'" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def info(store: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[list[str]], dict[str, Any], str]:
    """What ``data info`` prints, gives programs, and draws."""
    assert main(["data", "info", str(store), "--html", str(page)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["data", "info", str(store), "--json"]) == 0
    return lines, json.loads(capsys.readouterr().out), page.read_text("utf-8")


def test_frames_spikes_and_tokens_with_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {
        "frames": SignalShape((1, 2, 2), 1, "uint8", ragged=False),
        "spikes": SignalShape((4,), 5, "bool"),
        "tokens": SignalShape((), 9, "int64"),
    }
    with StoreWriter(
        tmp_path / "s", signals=signals, task="multiclass", outputs=["left", "right"], origin={}
    ) as writer:
        values = {
            "frames": np.array([[[[[0, 10], [20, 30]]]], [[[[40, 50], [60, 70]]]]]),
            "spikes": [np.array([[1, 0, 0, 0]]), np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])],
            "tokens": [np.array([7, 3]), np.array([5])],
        }
        writer.add("train", values, [1, 1])
    lines, told, page = info(tmp_path / "s", tmp_path / "page.html", capsys)
    assert ["frames", "1", "x", "2", "x", "2", "1", "0", "uint8", "one", "length"] in lines
    assert ["spikes", "4", "3", "0", "bool", "as", "bits", "own", "lengths"] in lines
    assert ["spikes", "train", "0", "1", "0.1875"] in lines
    assert ["tokens", "train", "3", "7", "5"] in lines
    assert ["right", "2", "(100.0%)"] in lines
    assert told["summary"]["classes"] == {"train": {"samples": 2, "counts": [0, 2]}}
    assert told["summary"]["values"]["frames"]["train"] == {"least": 0, "most": 70, "mean": 35}
    assert told["signals"]["spikes"] == {"shape": [4], "length": 3, "dtype": "bool", "ragged": True}
    assert told["task"] == {"name": "multiclass", "outputs": ["left", "right"], "per_step": False}
    for words in ("2 (100.0%)", "spikes: valid positions", "own lengths", "<svg"):
        assert words in page
    assert "frames: valid positions" not in page


@pytest.mark.parametrize("task", ["multilabel", "multiclass", "regression"])
def test_targets_per_step_are_counted_by_step(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {"x": SignalShape((1,), 3, "float32")}
    of = {"task": task, "outputs": ["a", "b"], "along": "x", "target_masked": True, "origin": {}}
    steps = [[[1, 0], [1, 1], [0, 0]], [[0, 1]]]
    target = [np.array(each)[:, 1] if task == "multiclass" else np.array(each) for each in steps]
    with StoreWriter(tmp_path / "s", signals=signals, **of) as writer:
        values = {"x": [np.ones((len(each), 1)) for each in steps]}
        writer.add("train", values, target, target_mask=[[1, 1, 0], [1]])
    lines, told, _ = info(tmp_path / "s", tmp_path / "page.html", capsys)
    summary = told["summary"]
    if task == "multilabel":
        assert summary["labels"]["train"]["counts"] == [2, 2]
        assert ["a", "2", "(66.7%)"] in lines
    elif task == "multiclass":
        assert summary["classes"]["train"] == {"samples": 3, "counts": [1, 2]}
        assert ["b", "2", "(66.7%)"] in lines
    else:
        first = summary["quantities"]["train"][0]
        assert (first["least"], first["most"]) == (0, 1)
        assert (first["mean"], first["deviation"]) == pytest.approx((2 / 3, 2**0.5 / 3))
        assert ["a", "train", "0.6667", "0.4714", "0", "1"] in lines


def test_targets_of_another_task_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {"x": SignalShape((1,), 3, "float32", ragged=False)}
    of = {"task": "ranking", "outputs": ["first", "second"], "target": SignalShape((2,), 1, "int64"), "origin": {}}
    with StoreWriter(tmp_path / "s", signals=signals, **of) as writer:
        writer.add("train", {"x": np.ones((1, 3, 1))}, [[1, 0]])
    lines, told, _ = info(tmp_path / "s", tmp_path / "page.html", capsys)
    assert ["Targets", "of", "ranking"] in lines
    assert ["first,", "second"] in lines
    assert told["summary"]["labels"] == told["summary"]["classes"] == {}


def test_events_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a sample of 0.03 s and one of an instant: four of the fifteen cells of 10 ms hold events."""
    shape = SignalShape.events((3,), 10, tick=0.01)
    with StoreWriter(
        tmp_path / "s", signals={"spikes": shape}, task="multiclass", outputs=["a", "b"], origin={"format": "x"}
    ) as writer:
        writer.add("train", {"spikes": [[[0, 2], [0, 2], [1, 0], [3, 2]], [[0, 2]], np.zeros((0, 2))]}, [0, 1, 1])
    found = summarise(Store(tmp_path / "s"))
    assert found.lengths["spikes"]["train"].counts == ()
    assert found.lengths["spikes"]["train"].without == 1
    assert not found.values
    counts = found.events["spikes"]["train"]
    assert counts.events == 5
    assert counts.seconds == pytest.approx((0, 0, 0, 0.015, 0.03))
    assert counts.rate == pytest.approx(5 / 3 / 0.03)
    assert counts.busiest == pytest.approx(4 / 0.03)
    assert counts.silent == pytest.approx(1 / 3)
    assert counts.empty == pytest.approx(1 - 4 / 15)
    lines, told, page = info(tmp_path / "s", tmp_path / "page.html", capsys)
    assert ["spikes", "3", "4", "0", "int32", "events", "0.01", "s"] in lines
    assert ["spikes", "train", "5", "0", "0", "0.03", "55.6", "133", "33.3%", "73.3%"] in lines
    assert told["signals"]["spikes"] == {
        "shape": [2], "length": 4, "dtype": "int32", "ragged": True, "tick": 0.01, "sensor": [3], "span": 4
    }  # fmt: skip
    assert "Events" in page


def test_long_samples_are_counted_in_bins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {"audio": SignalShape((), 20_000, "int16", tick=1 / 8000)}
    with StoreWriter(tmp_path / "s", signals=signals, task="multiclass", outputs=["a"], origin={}) as writer:
        writer.add("train", {"audio": [np.ones(size) for size in (0, 150, 10_099)]}, [0, 0, 0])
    _, told, page = info(tmp_path / "s", tmp_path / "page.html", capsys)
    lengths = told["summary"]["lengths"]["audio"]["train"]
    assert (lengths["step"], len(lengths["counts"]), lengths["without"]) == (101, 100, 1)
    assert {place: count for place, count in enumerate(lengths["counts"]) if count} == {0: 1, 1: 1, 99: 1}
    assert "audio: valid positions" in page
