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
