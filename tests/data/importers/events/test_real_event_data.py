"""Real files: N-MNIST, POKER-DVS in both forms, spoken Arabic commands, electrocardiograms, grasped objects."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from neurozoo.data.importers.events.aedat import read_aedat2
from neurozoo.data.importers.events.blocks import event_rows
from neurozoo.data.importers.events.packed import read_bin
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.errors import DataError

Made = SimpleNamespace


@pytest.fixture(scope="module")
def data() -> Path:
    folder = os.environ.get("NEUROZOO_TEST_DATA")
    if not folder or not (Path(folder) / "nmnist").is_dir():
        pytest.skip("NEUROZOO_TEST_DATA names no folder with nmnist/ and the other event data")
    return Path(folder)


def unpacked(archive: Path, folder: Path, keep: str = "") -> Path:
    with tarfile.open(archive) as file:
        file.extractall(folder, [member for member in file if keep in member.name], filter="data")
    return folder


def test_n_mnist(data: Path, made: Made, tmp_path: Path) -> None:
    source = unpacked(data / "nmnist/nmnist_small.tar.xz", tmp_path / "in", "Test/")
    assert detect_format(source).format == "n-mnist"
    store = import_data("n-mnist", source, tmp_path / "store")
    assert store.description.splits == {"test": 100}
    rows = made.rows_of(store, "test")
    for name in list(rows)[::25]:
        raw = np.frombuffer((source / f"{name}.bin").read_bytes(), np.uint8).reshape(-1, 5).astype(int)
        t = (raw[:, 2] & 127) << 16 | raw[:, 3] << 8 | raw[:, 4]
        address = ((raw[:, 2] >> 7) * 34 + raw[:, 1]) * 34 + raw[:, 0]
        assert rows[name] == np.stack([t, address], 1).tolist()


def test_every_poker_dvs_npy_is_an_aedat_with_its_polarity_turned(data: Path, made: Made, tmp_path: Path) -> None:
    for name in ("pips_train", "pips_test"):
        unpacked(data / f"poker-dvs/{name}.tar.gz", tmp_path / "npy")
    unpacked(data / "poker-dvs/poker_dvs.tar.gz", tmp_path / "aedat")
    one, other = (import_data("poker-dvs", tmp_path / form, tmp_path / f"{form} store") for form in ("npy", "aedat"))
    assert one.description.splits == {"train": 48, "test": 20}
    assert sum(other.description.splits.values()) == 131
    arrays = [rows for split in ("train", "test") for rows in made.rows_of(one, split).values()]
    known = {str(rows) for split in ("train", "test") for rows in made.rows_of(other, split).values()}
    assert len(arrays) == 68
    assert all(str(rows) in known for rows in arrays)


def test_spoken_commands_keep_their_frames(data: Path, made: Made, tmp_path: Path) -> None:
    # The valid file stands for the larger one of train.
    for split, name in (("train", "valid"), ("valid", "valid"), ("test", "test")):
        (tmp_path / f"asc_{split}.h5.gz").symlink_to(data / f"asc/asc_{name}.h5.gz")
    store = import_data("shd", tmp_path, tmp_path / "store")
    signal = store.description.signals["spikes"]
    assert (signal.sensor, signal.tick, signal.span) == ((80,), 0.01, 100)
    assert len(store.description.task.outputs) == 20
    view = store.split("test")
    values = view.batch(torch.arange(0, 1200, 150)).signals["spikes"]
    with h5py.File(io.BytesIO(gzip.decompress((data / "asc/asc_test.h5.gz").read_bytes()))) as file:
        for place, row in enumerate(range(0, 1200, 150)):
            times = np.rint(file["spikes/times"][row].astype(np.float64) * 100).astype(int)
            expected = np.stack([times, file["spikes/units"][row]], 1)
            assert values.values[place][values.mask[place].bool()].tolist() == expected.tolist()
            assert view.ids[row] == f"speaker{file['extra/speaker'][row]}/test-{row}"


def test_electrocardiograms(data: Path, tmp_path: Path) -> None:
    store = import_data("qtdb", data / "qtdb", tmp_path / "store")
    assert store.description.splits == {"train": 525, "valid": 93, "test": 141}
    view = store.split("train")
    assert view.target_valid is not None
    shares = torch.stack([(view.target == label) & (view.target_valid > 0) for label in range(6)]).sum((1, 2))
    assert float(shares.max() / shares.sum()) == pytest.approx(0.35, abs=0.03), "the largest class has about a third"
    assert 0.88 < float((view.target_valid[:, 19:] > 0).float().mean()) < 0.96


def test_grasped_objects(data: Path, made: Made, tmp_path: Path) -> None:
    source = data / "ev-objects/Ev-Objects.zip"
    assert detect_format(source).format == "ev-objects"
    store = import_data("ev-objects", source, tmp_path / "store")
    assert store.description.splits == {"train": 468, "valid": 108, "test": 144}
    name, rows = next(iter(made.rows_of(store, "test").items()))
    with zipfile.ZipFile(source) as archive:
        array = np.load(io.BytesIO(archive.read(f"{name}.npy")))
    dense = np.zeros((array.shape[2], 78))
    dense[tuple(np.array(rows).T)] = 1
    assert np.array_equal(dense, array.transpose(2, 0, 1).reshape(-1, 78))


def test_genuine_samples(data: Path) -> None:
    with open(data / "event-samples/sample_nmnist.bin", "rb") as file:
        rows = event_rows(read_bin(file, "sample"), (2, 34, 34), "sample", from_first=False)
    assert rows.shape == (4325, 2)
    with (
        open(data / "event-samples/sample_aedat_header.aedat", "rb") as file,
        pytest.raises(DataError, match="Davis346red"),
    ):
        list(read_aedat2(file, "sample"))
