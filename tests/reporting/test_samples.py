"""Samples in time on the page of ``data info``, and in its JSON document."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from neurozoo.cli import main
from neurozoo.core.signals import SignalShape
from neurozoo.data.store import Split, StoreWriter
from neurozoo.reporting.sample_pictures import sample_picture
from neurozoo.reporting.samples import Sample, Steps

CAMERA = SignalShape.events((2, 6, 8), 100)
BLUE, AMBER = (0x3B, 0x82, 0xF6), (0xF5, 0x9E, 0x0B)


def looked(store: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The samples of the JSON document, and the page."""
    page = store.parent / "page.html"
    assert main(["data", "info", str(store), "--json", "--html", str(page)]) == 0
    return json.loads(capsys.readouterr().out)["samples"], page.read_text("utf-8")


def write(
    dest: Path, signals: dict[str, SignalShape], values: dict[str, Any], target: Any, outputs: list[str], **more: Any
) -> Path:
    ids = more.pop("ids", None)
    mask = more.pop("target_mask", None)
    with StoreWriter(dest, signals=signals, task="multiclass", outputs=outputs, origin={}, **more) as writer:
        writer.add("train", values, target, ids, target_mask=mask)
    return dest


def pictures(page: str) -> list[NDArray[np.uint8]]:
    """The PNGs of the films, ``[H, W, 4]``."""
    films = "".join(re.findall(r'<svg class="film".*?</rect>|<svg class="film".*?</figure>', page, re.DOTALL))
    coded = re.findall(r'href="data:image/png;base64,([^"]+)"', films)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGBA")) for each in coded]


def at(y: int, x: int, brighter: bool) -> int:
    return (int(brighter) * 6 + y) * 8 + x


class Words(HTMLParser):
    """The text of a page, its tags, and the text alternatives of its pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.labels = "", set[str](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.labels += [value or "" for name, value in attrs if name == "aria-label"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_events_of_a_camera_are_a_picture_and_a_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [[0, at(0, 0, True)], [0, at(0, 0, True)], [700_000, at(5, 7, False)], [999_999, at(5, 7, False)]]
    store = write(tmp_path / "s", {"events": CAMERA}, {"events": [np.array(events)]}, [1], ["a", "b"], ids=["x"])
    found, page = looked(store, capsys)
    assert found["rule"] == "Of each class the first two samples of train, in the order of the store."
    (shown,) = found["shown"]
    assert (shown["id"], shown["title"]) == ("x", "b: x of train")
    assert shown["signals"]["events"] == {
        "kind": "events", "events": 4, "seconds": 1.0, "brighter": 0.5, "active": 2, "of": 96,
    }  # fmt: skip
    still, film = pictures(page)
    assert still.shape == (6, 8, 4)
    assert (tuple(still[0, 0]), tuple(still[5, 7])) == ((*BLUE, 255), (*AMBER, 255))
    assert (still[..., 3] > 0).sum() == 2
    frames = film.reshape(6, 16, 8, 4).swapaxes(0, 1)
    assert [frame for frame in range(16) if frames[frame, ..., 3].any()] == [0, 11, 15]
    words = Words(page)
    assert "script" not in words.tags
    assert "4 events in 1 s, 50% brighter; the middle goes from x 0.0, y 0.0 to x 7.0, y 5.0; left all" in words.text
    assert any("b: x of train; events: 4 events" in label for label in words.labels)
    assert "@media (prefers-reduced-motion: reduce)" in page
    assert "Hold the moving pictures still" in words.text


def test_two_of_each_of_a_few_classes_and_one_of_each_of_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    batch = Split.batch
    monkeypatch.setattr(Split, "batch", lambda self, places, *more: read.extend(places) or batch(self, places, *more))
    signals = {"x": SignalShape((3,), 4, "float32", ragged=False)}

    def of(name: str, classes: int, target: NDArray[np.int64]) -> dict[str, Any]:
        values = {"x": np.random.default_rng(0).normal(size=(len(target), 4, 3))}
        outputs = [f"c{k}" for k in range(classes)]
        return looked(write(tmp_path / name, signals, values, target, outputs), capsys)[0]

    few = of("few", 3, np.array([2, 2, 2, 0, 0, 0]))
    assert [each["title"].split(":")[0] for each in few["shown"]] == ["c0", "c0", "c2", "c2"]
    assert read == [3, 4, 0, 1]
    read.clear()
    many = of("many", 1000, np.arange(2000) // 2)
    assert many["rule"] == "Of each class the first one of train, in the order of the store; 970 of 1,000 have no room."
    assert read == list(range(0, 60, 2)), "a large store is not read"


def test_labels_and_quantities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StoreWriter(tmp_path / "s", labels=["a", "b", "c"], origin={}) as writer:
        writer.add("train", {"x": np.ones((4, 2, 1))}, [[0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
    found, _ = looked(tmp_path / "s", capsys)
    assert [each["title"].split(":")[0] for each in found["shown"]] == ["a, b", "a"]
    signals = {"x": SignalShape((1,), 2, ragged=False)}
    with StoreWriter(tmp_path / "q", signals=signals, task="regression", outputs=["h", "w"], origin={}) as writer:
        writer.add("train", {"x": np.ones((5, 2, 1))}, np.arange(10.0).reshape(5, 2) / 4)
    found, _ = looked(tmp_path / "q", capsys)
    assert [each["title"].split(":")[0] for each in found["shown"]] == ["h 0, w 0.25", "h 0.5, w 0.75", "h 1, w 1.25"]


def test_sound_its_spectrogram_and_its_spikes_share_an_axis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {
        "audio": SignalShape((), 9000, "int16", tick=1 / 8000),
        "log_mel": SignalShape((40,), 100, "float32", tick=0.01),
        "spikes": SignalShape.events((80,), 100, tick=0.01),
    }
    values = {
        "audio": [np.sin(np.arange(8000)).astype(np.int16) * 3000],
        "log_mel": [np.random.default_rng(0).normal(size=(90, 40))],
        "spikes": [np.array([[1, 70], [1, 70], [80, 3]])],
    }
    found, page = looked(write(tmp_path / "s", signals, values, [0], ["one", "two"]), capsys)
    facts = found["shown"][0]["signals"]
    assert facts["audio"]["positions"] == 8000
    assert facts["audio"]["seconds"] == 1.0
    assert facts["spikes"]["busiest"] == [70, 3]
    assert facts["log_mel"]["kind"] == "values"
    (label,) = [label for label in Words(page).labels if "along time" in label]
    assert "log_mel: 90 positions in 0.9 s" in label
    assert page.count("time, seconds") == 1
    assert len(re.findall(r"<image", page[page.index("Samples") :])) == 2


def test_steps_that_do_not_count_are_left_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {"ecg": SignalShape((2,), 6, "bool", ragged=False, tick=0.004)}
    target = [[0, 0, 1, 1, 0, 0], [2, 2, 2, 2, 2, 2]]
    mask = [[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    store = write(
        tmp_path / "s", signals, {"ecg": np.ones((2, 6, 2), bool)}, target, ["P", "Q", "R"],
        along="ecg", target_masked=True, target_mask=mask,
    )  # fmt: skip
    found, page = looked(store, capsys)
    assert found["rule"].startswith("The first 2 of train, and of each class that they lack")
    first = found["shown"][0]["steps"]
    assert first["target"] == [None, 0, 1, 1, 0]
    assert (first["counted"], first["classes"]) == (4, {"P": 2, "Q": 2})
    words = Words(page)
    assert "4 of 5 steps count; P 50%, Q 50%" in words.text
    assert "PQR" in words.text, "the key of the colours"


MARKUP = ['<script>alert("1")</script>', "$\\frac{1}{0}$ & \x1b[31m", "\u202eright to left"]


def test_names_with_markup_empty_samples_and_no_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {
        "events": CAMERA,
        "one": SignalShape.events((4,), 9, tick=1.0),
        "bits": SignalShape((3,), 5, "bool"),
        "flat": SignalShape((9,), 5, "float32"),
        "film": SignalShape((1, 4, 4), 3, "uint8"),
    }
    none = np.zeros((0, 2), int)
    values = {
        "events": [none, np.array([[0, 0]]), none],
        "one": [none, none, np.array([[2**31 - 1, 3]])],
        "bits": [np.zeros((n, 3), bool) for n in (0, 1, 5)],
        "flat": [np.full((n, 9), np.nan) for n in (0, 2, 5)],
        "film": [np.zeros((n, 1, 4, 4)) for n in (0, 1, 3)],
    }
    ids = ["<b>bold</b>", 'a"b', "$x^$"]
    found, page = looked(write(tmp_path / "s", signals, values, [0, 1, 2], MARKUP, ids=ids), capsys)
    assert [each["id"] for each in found["shown"]] == ids
    assert found["shown"][0]["signals"]["events"]["events"] == 0
    words = Words(page)
    assert words.tags.isdisjoint({"script", "b"})
    assert "events: no events" in words.text
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "0 positions" in words.text


def test_one_sample_and_one_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write(tmp_path / "s", {"x": SignalShape((2,), 1)}, {"x": [np.ones((1, 2))]}, [0], ["only"], ids=["x"])
    found, page = looked(store, capsys)
    assert [each["title"] for each in found["shown"]] == ["only: x of train"]
    assert "x: 1 position, values from 1 to 1, mean 1" in Words(page).text


@pytest.mark.parametrize("shape", [(1, 40, 50), (2, 40, 50), (3, 40, 50), (5, 40, 50)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_frames_of_any_channels(shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(0).normal(100, 30, size=(40, *shape)).astype(dtype)
    if dtype == "float32":
        values[0, 0, 0, 0] = np.nan
    picture, missing = sample_picture(Sample("s", "s", {"f": (values, SignalShape(shape, 40, dtype))}), room=90_000)
    assert (missing, picture.svg.count("<image")) == (0, 2)
    assert "right a film of 16 frames, each the mean of about 2" in picture.caption
    small, missing = sample_picture(Sample("s", "s", {"f": (values, SignalShape(shape, 40, dtype))}), room=500)
    assert (missing, small.svg) == (1, ""), "what has no room is left out and said"


def test_answers_that_are_not_finite_are_gaps() -> None:
    predicted = np.full((4, 2), np.nan)
    predicted[1] = 0.25, 0.75
    steps = Steps(np.array([0, 1, 1, 0]), np.array([True, True, False, True]), ["a", "b"], predicted, np.array([0] * 4))
    picture, _ = sample_picture(Sample("s", "s", {}, steps), room=100_000)
    assert "nan" not in picture.svg.lower()
    assert "the model is right in 67%" in picture.caption


def test_what_is_drawn_along_time_stays_within_its_room() -> None:
    rng = np.random.default_rng(0)
    signals = {name: (rng.normal(size=(900, 200)), SignalShape((200,), 900)) for name in ("a", "b", "c")}
    sizes = []
    for room in (200_000, 40_000, 15_000, 1_000):
        picture, missing = sample_picture(Sample("s", "s", signals), room=room)
        assert len(picture.svg) <= room
        sizes.append(len(picture.svg))
    assert missing == 1
    assert sizes == sorted(set(sizes), reverse=True), "coarser, and left out last"
    assert sizes[-1] == 0


def test_a_page_stays_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 10**6, size=(10, 60_000)), axis=1)
    events = np.stack([times, rng.integers(0, 2 * 128 * 128, size=times.shape)], axis=2)
    signals = {"events": SignalShape.events((2, 128, 128), 10**6)}
    store = write(tmp_path / "s", signals, {"events": list(events)}, np.arange(10), [f"c{k}" for k in range(10)])
    _, page = looked(store, capsys)
    assert page.count('<svg class="film"') == 10
    assert 300_000 < len(page) < 1_500_000
