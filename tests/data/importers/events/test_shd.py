"""SHD's layout: float16 times, channels, speakers, packed files, and what is no such file."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.errors import DataError

Made = SimpleNamespace
KEYS = ("zero", "one")
Sample = tuple[Sequence[float], Sequence[int], int, int]
"""Times, units, label, speaker."""


def write_h5(
    path: Path, samples: Sequence[Sample], *, keys: Sequence[str] | None = KEYS, speakers: bool = True, **other: Any
) -> None:
    with h5py.File(path, "w") as file:
        times = file.create_dataset(
            "spikes/times", (len(samples),), dtype=h5py.vlen_dtype(other.get("dtype", np.float16))
        )
        units = file.create_dataset("spikes/units", (len(samples),), dtype=h5py.vlen_dtype(np.uint16))
        for row, (t, unit, _, _) in enumerate(samples):
            times[row], units[row] = np.array(t, times.dtype), np.array(unit, np.uint16)
        file["labels"] = np.array([label for _, _, label, _ in samples], other.get("labels", np.uint16))
        if keys is not None:
            file["extra/keys"] = np.array([key.encode() for key in keys])
        if speakers:
            file["extra/speaker"] = np.array([speaker for *_, speaker in samples], np.uint16)


def words(n: int, speakers: int = 5, *, grid: bool = False) -> list[Sample]:
    """SYNTHETIC: words of some events; row k has k + 1, at times beyond a second too."""
    rng = np.random.default_rng(n)
    times = [np.sort(rng.integers(0, 140, k + 1) / 100 + (0 if grid else 0.001)) for k in range(n)]
    return [(list(t), list(rng.integers(0, 50, len(t))), k % 2, k % speakers) for k, t in enumerate(times)]


def rows(samples: Sequence[Sample], tick: float) -> list[list[list[int]]]:
    """The rows, computed value by value."""
    return [
        [[round(float(np.float16(t)) / tick), int(unit)] for t, unit in zip(times, units, strict=True)]
        for times, units, _, _ in samples
    ]


def folder(path: Path, files: Mapping[str, Sequence[Sample]], **options: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, samples in files.items():
        write_h5(path / f"{name}.h5", samples, **options)
    return path


def test_times_are_widened_before_they_are_ticks(made: Made, tmp_path: Path) -> None:
    given = {"ssc_train": words(12), "ssc_valid": words(4), "ssc_test": words(6)}
    source = folder(tmp_path / "in", given)
    store = import_data("shd", source, tmp_path / "store")
    for split in ("train", "valid", "test"):
        assert list(made.rows_of(store, split, "spikes").values()) == rows(given[f"ssc_{split}"], 1e-6)
    signal = store.description.signals["spikes"]
    largest = max(unit for samples in given.values() for _, units, *_ in samples for unit in units)
    assert (signal.sensor, signal.tick) == ((int(largest) + 1,), 1e-6), "the same channels for all splits"
    assert store.description.task.outputs == KEYS
    assert store.split("test").ids[:2] == ("speaker0/test-0", "speaker1/test-1")
    assert store.description.origin["splits"] == "as given: train, valid, test"
    assert "CC BY 4.0" in store.description.origin["licence"]


def test_times_on_a_grid_of_10_ms_fall_into_their_own_frame(made: Made, tmp_path: Path) -> None:
    every = [([k / 100 for k in range(101)], [k % 7 for k in range(101)], 0, 0), ([0.23], [1], 1, 1)]
    below = sum(int(float(np.float16(k / 100)) / 0.01) < k for k in range(101))
    assert below == 48, "as many frames would lose their events to the one before by a floor"
    store = import_data("shd", folder(tmp_path / "in", {"asc_train": every}), tmp_path / "store", valid=0.0)
    assert store.description.signals["spikes"].tick == 0.01
    assert [time for time, _ in made.rows_of(store, "train", "spikes")["speaker0/train-0"]] == list(range(101))
    fine = import_data("shd", tmp_path / "in", tmp_path / "fine", valid=0.0, tick=1e-6)
    assert made.rows_of(fine, "train", "spikes")["speaker1/train-1"] == [[229980, 1]]


@pytest.mark.parametrize("packed", ["h5.gz", "h5.zip"])
def test_packed_files_are_the_same(packed: str, made: Made, tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"shd_train": words(10), "shd_test": words(4)})
    plain = import_data("shd", source, tmp_path / "a")
    for path in list(source.iterdir()):
        raw = path.read_bytes()
        content = gzip.compress(raw) if packed.endswith("gz") else made.zipped({path.name: raw})
        (source / f"{path.stem}.{packed}").write_bytes(content)
        path.unlink()
    store = import_data("shd", source, tmp_path / "b")
    assert store.description.checksum == plain.description.checksum
    found = detect_format(source / f"shd_train.{packed}")
    assert found.command(source) == f"neurozoo data import shd {source} DEST"
    for damage in (
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"no archive",
    ):
        (source / f"shd_test.{packed}").write_bytes(damage((source / f"shd_train.{packed}").read_bytes()))
        with pytest.raises(DataError, match=rf"shd_test.{packed} (cannot be unpacked|is not read).*download it again"):
            import_data("shd", source, tmp_path / "c")
        assert not (tmp_path / "c").exists()


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shd_train.h5.gz").write_bytes(gzip.compress(bytes(2**21)))
    monkeypatch.setenv("NEUROZOO_READ_CONTENT_GIB", "0.001")
    with pytest.raises(DataError, match=r"shd_train.h5.gz unpacks to more than is allowed"):
        import_data("shd", tmp_path, tmp_path / "store")


def test_valid_is_held_out_by_whole_speakers_and_by_the_seed(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"shd_train": words(50, speakers=10), "shd_test": words(4)})
    stores = [import_data("shd", source, tmp_path / str(n), seed=seed) for n, seed in enumerate((0, 3))]
    speakers = {split: {name.split("/")[0] for name in stores[0].split(split).ids} for split in ("train", "valid")}
    assert [len(speakers[split]) for split in ("train", "valid")] == [9, 1]
    assert not speakers["train"] & speakers["valid"]
    assert stores[0].description.splits == {"train": 45, "valid": 5, "test": 4}
    assert stores[0].split("valid").ids != stores[1].split("valid").ids
    assert "by speaker: 0.1 to valid" in stores[0].description.origin["splits"]
    assert import_data("shd", source, tmp_path / "whole", valid=0.0).description.splits == {"train": 50, "test": 4}


def test_without_speakers_and_names_valid_is_drawn_by_class(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"mine_train": words(20)}, keys=None, speakers=False)
    store = import_data("shd", source, tmp_path / "store")
    assert store.description.splits == {"train": 18, "valid": 2}
    assert store.split("valid").target.tolist() == [0, 1]
    assert store.description.task.outputs == ("0", "1")
    assert store.split("train").ids[0] == "train-0"
    assert "by class, as no speakers are named" in store.description.origin["splits"]


def test_a_word_without_events_stays(made: Made, tmp_path: Path) -> None:
    given = [([], [], 0, 0), ([0.003], [3], 1, 1)]
    source = folder(tmp_path / "in", {"shd_train": given})
    store = import_data("shd", source, tmp_path / "store", valid=0.0, units=700)
    assert store.description.signals["spikes"].sensor == (700,)
    with pytest.raises(
        DataError,
        match=r"shd_train.h5: sample 1: channel of event 0 is 3, and the sensor has 3",
    ):
        import_data("shd", source, tmp_path / "other", valid=0.0, units=3)
    assert made.rows_of(store, "train", "spikes") == {"speaker0/train-0": [], "speaker1/train-1": [[3000, 3]]}


@pytest.mark.parametrize(
    ("samples", "options", "expected"),
    [
        ([([0.5, 0.2], [1, 2], 0, 0)], {}, "sample 0: the times fall"),
        ([([0.1], [1, 2], 0, 0)], {}, "sample 0 has 1 times of float16 and 2 units"),
        ([([-0.5], [1], 0, 0)], {}, "the time of event 0 is -0.5"),
        ([([float("inf")], [1], 0, 0)], {}, "the time of event 0 is inf"),
        ([([float("nan")], [1], 0, 0)], {}, "the time of event 0 is nan"),
        ([([0.1], [1], 2, 0)], {}, "the label of sample 0 is 2; there are 2 classes"),
        ([([0.1], [1], 0, 0)], {"keys": ("a", "a")}, "a name twice"),
        ([([0.1], [1], 0, 0)], {"labels": np.float32}, "labels is no list of whole numbers"),
        ([], {}, "it has 0 labels"),
    ],
)
def test_files_that_are_refused(
    samples: list[Sample], options: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder(tmp_path / "in", {"shd_train": samples}, **options)
    assert main(["data", "import", "shd", str(source), str(tmp_path / "store"), "--valid", "0"]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_other_layouts_and_choices(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"shd_train": words(4), "ssc_train": words(4)})
    with pytest.raises(DataError, match="has files of shd, ssc; choose with --name shd"):
        import_data("shd", source, tmp_path / "store")
    assert import_data("shd", source, tmp_path / "store", name="ssc", valid=0.0).description.splits == {"train": 4}
    assert detect_format(source).options == ("--name", "shd")
    write_h5(source / "shd_test.h5", words(4), keys=("a", "b"))
    with pytest.raises(DataError, match="has other classes than"):
        import_data("shd", source, tmp_path / "other", name="shd")
    with pytest.raises(DataError, match=r"there is no x_train.h5, .h5.gz or .h5.zip"):
        import_data("shd", source, tmp_path / "other", name="x")
    with h5py.File(source / "shd_train.h5", "w") as file:
        file["labels"] = np.zeros(3, int)
        file["spikes/times"] = np.zeros((3, 4), np.float16)
    with pytest.raises(DataError, match="a row of its own length for each sample"):
        import_data("shd", source, tmp_path / "other", name="shd")
