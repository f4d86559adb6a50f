from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.data.importers.csd.importer import import_csd
from neurozoo.data.store import Store
from neurozoo.errors import DataError

Made = Callable[..., Store]


@pytest.fixture
def made(mosei: Path, folds: Path, tmp_path: Path) -> Made:
    def make(**options: object) -> Store:
        labels = mosei / "CMU_MOSEI_Labels.csd"
        return import_csd(mosei, tmp_path / "store", labels=str(labels), folds=str(folds), **options)  # type: ignore[arg-type]

    return make


def rows(store: Store, split: str, modality: str) -> list[list[float]]:
    """The first value of each row of each sample."""
    batch = store.split(split).batch(torch.tensor([0, 1]))
    return batch.signals[modality].values[:, :, 0].tolist()


def test_words_and_what_overlaps_them(made: Made) -> None:
    store = made(length=3)
    assert store.description.task.outputs == ("happy", "sad")
    assert dict(store.description.splits) == {"train": 4, "valid": 2, "test": 2}
    assert rows(store, "valid", "text") == [[0, 1, 3], [0, 5, 7]]
    # Frames 1 to 10 overlap the first word, and so on; the segment begins before the recording does.
    assert rows(store, "valid", "audio") == [[0, 5.5, 15.5], [0, 25.5, 35.5]]
    batch = store.split("valid").batch(torch.tensor([0, 1]))
    assert batch.signals["audio"].mask.tolist() == [[False, True, True]] * 2
    assert store.split("valid").ids == ("c[0]", "c[1]")
    assert store.description.origin["segments"] == {"train": 4, "valid": 2, "test": 2, "none": 2}


def test_padding_on_the_right_and_the_first_words(made: Made) -> None:
    assert rows(made(length=1, keep="first"), "valid", "text") == [[1], [5]]


def test_each_modality_by_itself(made: Made) -> None:
    store = made(length=3, frames=24, aligned=False, pad="right")
    assert rows(store, "valid", "text") == [[1, 3, 0], [5, 7, 0]]
    assert rows(store, "valid", "audio")[0] == [*range(1, 21), 0, 0, 0, 0]


def test_what_is_missing_is_masked_and_counted(made: Made, csd: Callable[..., Path]) -> None:
    silent = [[i / 10, (i + 1) / 10] for i in range(40)]
    odd = np.full((40, 3), 2.0)
    odd[0, 0], odd[5, 1] = -np.inf, np.nan
    csd("CMU_MOSEI_COVAREP.csd", {"a": (silent, odd), "c": (silent, odd), "d": (silent, odd)})
    store = made(length=2)
    assert store.description.origin["left_out"] == {"videos without audio": 1}
    assert store.non_finite["audio"] == 6
    train = store.split("train").batch(torch.tensor([0, 2]))
    assert train.signals["audio"].mask.tolist() == [[True, True], [False, False]]
    assert train.signals["audio"].values[0, 0].tolist() == pytest.approx([1.8, 1.8, 2.0])


@pytest.fixture
def cut(mosei: Path, csd: Callable[..., Path]) -> Path:
    """The same features as the SDK cuts them: a sequence for each segment, ``VIDEO[ROW]``."""
    for name in ("CMU_MOSEI_TimestampedGloveVectors_with_SP.csd", "CMU_MOSEI_COVAREP.csd"):
        pieces = {}
        with h5py.File(mosei / name) as file:
            for video, group in file["a root/data"].items():
                intervals, features = group["intervals"][()], group["features"][()]
                for row, (start, end) in enumerate([(-0.5, 2.0), (2.0, 4.0)]):
                    inside = (intervals[:, 0] < end) & (intervals[:, 1] > start)
                    pieces[f"{video}[{row}]"] = intervals[inside], features[inside]
        csd(name, pieces)
    return mosei


@pytest.mark.parametrize("aligned", [True, False])
def test_files_that_are_cut_already(cut: Path, made: Made, aligned: bool) -> None:
    store = made(length=3, frames=24, aligned=aligned, pad="right")
    assert store.split("valid").ids == ("c[0]", "c[1]")
    assert rows(store, "valid", "text") == [[1, 3, 0], [5, 7, 0]]
    audio = rows(store, "valid", "audio")
    assert audio[0][:2] == ([5.5, 15.5] if aligned else [1, 2])
    assert audio[1][:2] == ([25.5, 35.5] if aligned else [21, 22])
    assert store.description.origin["left_out"] == {}


def test_a_segment_that_is_missing_of_files_that_are_cut(cut: Path, made: Made) -> None:
    with h5py.File(cut / "CMU_MOSEI_COVAREP.csd", "a") as file:
        del file["a root/data/c[1]"]
    store = made(length=2)
    assert store.description.origin["left_out"] == {"segments without audio": 1}
    assert store.split("valid").batch(torch.tensor([0, 1])).signals["audio"].mask.tolist() == [[True] * 2, [False] * 2]


def test_segments_without_length_are_withdrawn(made: Made, csd: Callable[..., Path]) -> None:
    labels = {v: ([[0, 2], [3.2, 3.2], [2, 4]], [[1, 0.5, 0], [2, 1, 1], [-1, 0, 2]]) for v in "abcd"}
    csd("CMU_MOSEI_Labels.csd", labels, root="All Labels", names=["sentiment", "happy", "sad"])
    store = made()
    assert dict(store.description.splits) == {"train": 4, "valid": 2, "test": 2}
    assert store.split("valid").ids == ("c[0]", "c[2]")
    assert store.description.origin["left_out"] == {"segments of no length": 4}


@pytest.mark.parametrize("named", [True, False])
def test_pauses_can_be_left_out(made: Made, csd: Callable[..., Path], mosei: Path, named: bool) -> None:
    vectors = [[1, 2], [9, 9] if named else [0, 0], [5, 6], [7, 8]]
    words = "CMU_MOSEI_TimestampedGloveVectors_with_SP.csd"
    csd(words, {v: ([[i, i + 1] for i in range(4)], vectors) for v in "abcde"})
    if named:
        with h5py.File(mosei / "CMU_MOSEI_TimestampedWords.csd", "w") as file:
            for video in "abcde":
                file[f"words/data/{video}/intervals"] = [[i, i + 1] for i in range(4)]
                file[f"words/data/{video}/features"] = np.array([[b"so"], [b"sp"], [b"it"], [b"is"]])
    store = made(length=3, pauses="skip")
    assert rows(store, "valid", "text") == [[0, 0, 1], [0, 5, 7]]
    assert rows(store, "valid", "audio") == [[0, 0, 5.5], [0, 25.5, 35.5]]
    assert store.description.origin["left_out"]["pauses"] == 4


def test_files_of_other_videos(made: Made, csd: Callable[..., Path], folds: Path, tmp_path: Path) -> None:
    csd("CMU_MOSEI_COVAREP.csd", {"a_1": ([[0, 1]], [[1, 1, 1]])})
    with pytest.raises(DataError, match=r"none of the videos of .*: its ids are such as 'a_1', and 'a' or 'a\[0\]'"):
        made()
    folds.write_text(json.dumps({"train": ["a", "b"], "valid": ["C"], "test": ["d"]}))
    with pytest.raises(DataError, match=r"none of the 1 videos of valid is in .*: they are such as 'C'.*such as 'a'"):
        made()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("a_second", [30, 1000, 1 / 30])
def test_time_in_other_units(made: Made, csd: Callable[..., Path], a_second: float, tmp_path: Path) -> None:
    frames = np.stack([np.arange(40), np.arange(40) + 1], axis=1) * a_second / 10
    csd("CMU_MOSEI_COVAREP.csd", {v: (frames, np.ones((40, 3))) for v in "abcd"})
    with pytest.raises(DataError, match=r"COVAREP\.csd: its intervals end .* times as late .* are they in seconds\?"):
        made()
    assert not (tmp_path / "store").exists()


def test_by_the_command_line(mosei: Path, folds: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["--labels", str(mosei / "CMU_MOSEI_Labels.csd"), f"--folds={folds}"]
    assert main(["data", "import", "csd", str(mosei), str(tmp_path / "s"), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 4, "valid": 2, "test": 2}
    assert main(["data", "import", "csd", str(mosei), str(tmp_path / "t"), *options, "--option", "words=speech"]) == 2
    assert "words='speech' names no modality; there are: text, audio" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
    named = ["--option", "modalities=text=CMU_MOSEI_COVAREP.csd,audio=nothing.csd"]
    assert main(["data", "import", "csd", str(mosei), str(tmp_path / "t"), *options, *named]) == 2
    assert "'audio=nothing.csd' names no file" in capsys.readouterr().err


def _shorter(file: h5py.File) -> None:
    del file["a root/data/b/features"]
    file["a root/data/b/features"] = np.ones((3, 3), np.float32)


def _backwards(file: h5py.File) -> None:
    file["a root/data/b/intervals"][3] = [2.0, 1.0]


def _no_intervals(file: h5py.File) -> None:
    del file["a root/data/b/intervals"]


def _two_roots(file: h5py.File) -> None:
    file.create_group("another")


def _a_link(file: h5py.File) -> None:
    file["a root/data/x"] = h5py.ExternalLink("other.h5", "/")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_shorter, r"video 'b': features are float32 \[3, 3\]; give numbers \[40, 3\]"),
        (_backwards, "video 'b': an interval is not finite, or ends before it starts"),
        (_no_intervals, "video 'b' has no 'intervals'; there are: features"),
        (_two_roots, "no computational sequence; it holds a root, another"),
        (_a_link, "is a link to another file, which is not followed"),
    ],
)
def test_a_malformed_file_is_refused_and_nothing_is_left(
    made: Made, mosei: Path, tmp_path: Path, harm: Callable[[h5py.File], None], words: str
) -> None:
    with h5py.File(mosei / "CMU_MOSEI_COVAREP.csd", "a") as file:
        harm(file)
    with pytest.raises(DataError, match=words):
        made()
    assert not (tmp_path / "store").exists()
    assert not list(tmp_path.glob(".store*"))


def test_an_import_that_is_killed_leaves_no_store_and_the_next_one_starts_over(
    mosei: Path, folds: Path, tmp_path: Path, made: Made
) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom neurozoo.data.importers.csd import importer\n"
        "add = importer.StoreWriter.add\n"
        "def slow(*args, **kwargs):\n    add(*args, **kwargs)\n    print('added', flush=True)\n    time.sleep(60)\n"
        "importer.StoreWriter.add = slow\n"
        "s, d, l, f = sys.argv[1:]\nimporter.import_csd(Path(s), Path(d), labels=l, folds=f)\n"
    )
    labels = str(mosei / "CMU_MOSEI_Labels.csd")
    command = [sys.executable, "-c", code, str(mosei), str(tmp_path / "store"), labels, str(folds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "added\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "store").exists()
    assert len(list(tmp_path.glob(".store*"))) == 1
    assert made().description.splits["train"] == 4
    assert not list(tmp_path.glob(".store*"))
