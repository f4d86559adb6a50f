"""Taxels (ST-MNIST, Ev-Objects) and electrocardiograms (QTDB)."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from neurozoo.data.importers.events.qtdb import PARTS
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.store import Store
from neurozoo.errors import DataError

Made = SimpleNamespace


def mat(**arrays: Any) -> bytes:
    made = io.BytesIO()
    scipy.io.savemat(made, arrays)
    return made.getvalue()


def npy(array: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def spiketrain() -> np.ndarray[Any, Any]:
    """Taxel 57 (row 5, column 7) up at 1.5 ms, taxels 3 and 99 at 2 ms, one of them down."""
    train = np.zeros((101, 3))
    train[57, 0], train[3, 1], train[99, 1], train[100] = 1, -1, 1, (0.0015, 0.002, 0.9)
    return train


def test_st_mnist(made: Made, tmp_path: Path) -> None:
    source = made.write(
        tmp_path / "in", {f"{d}/s{n}.mat": mat(spiketrain=spiketrain()) for d in (0, 4) for n in range(4)}
    )
    store = import_data("st-mnist", source, tmp_path / "store", valid=0.25, test=0.25)
    assert store.description.splits == {"train": 4, "valid": 2, "test": 2}
    assert store.description.signals["events"].sensor == (2, 10, 10)
    assert set(map(str, made.rows_of(store, "train").values())) == {str([[0, 157], [500, 3], [500, 199]])}
    assert detect_format(source).format == "st-mnist"
    for train, words in (
        (spiketrain()[:50], r"it has spiketrain \[50, 3\]"),
        (spiketrain() * 2, "values besides -1, 0 and 1"),
    ):
        bad = made.write(tmp_path / f"bad{len(train)}", {f"{d}/1.mat": mat(spiketrain=train) for d in (0, 1)})
        with pytest.raises(DataError, match=words):
            import_data("st-mnist", bad, tmp_path / "b", valid=0.0, test=0.0)
    other = made.write(tmp_path / "other", {f"{d}/1.mat": mat(x=1) for d in (0, 1)})
    with pytest.raises(DataError, match="it has no spiketrain"):
        import_data("st-mnist", other, tmp_path / "b", valid=0.0, test=0.0)


@pytest.mark.parametrize("packed", [False, True])
def test_ev_objects(packed: bool, made: Made, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    steps = {f"train/sample_{n}_label_{n % 2}": rng.integers(0, 2, (39, 2, 6)).astype(np.float32) for n in range(12)}
    steps |= {f"test/sample_{n}_label_{n % 2}": rng.integers(0, 2, (39, 2, 5)).astype(np.float32) for n in range(2)}
    files = {f"Ev-Objects/{name}.npy": npy(array) for name, array in steps.items()}
    source = made.write(tmp_path / "in", {"Ev-Objects.zip": made.zipped(files)} if packed else files)
    source = source / "Ev-Objects.zip" if packed else source
    store = import_data("ev-objects", source, tmp_path / "store")
    assert store.description.splits == {"train": 6, "valid": 6, "test": 2}
    assert store.split("valid").ids == tuple(f"Ev-Objects/train/sample_{n}_label_{n % 2}" for n in range(6, 12)), (
        "the last of each"
    )
    signal = store.description.signals["events"]
    assert (signal.sensor, signal.tick, signal.span) == ((78,), 0.02, 6)
    for split in store.description.splits:
        for name, rows in made.rows_of(store, split).items():
            dense = np.zeros((6, 78))
            np.add.at(dense, tuple(np.array(rows).T), 1)
            given = steps[name.removeprefix("Ev-Objects/")].transpose(2, 0, 1).reshape(-1, 78)
            assert (dense[: len(given)] == given).all()
    assert detect_format(source).format == "ev-objects"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((39, 3, 2)), r"float64 of shape \[39, 3, 2\]"),
        (np.full((39, 2, 2), 2.0), "values besides 0 and 1"),
        (np.zeros((39, 2, 2)), "holds no event"),
        (np.array([[None]]), "holds Python objects"),
    ],
)
def test_ev_objects_that_are_none(array: Any, words: str, made: Made, tmp_path: Path) -> None:
    source = made.write(tmp_path / "in", {f"train/sample_{n}_label_{n % 2}.npy": npy(array) for n in range(4)})
    with pytest.raises(DataError, match=words):
        import_data("ev-objects", source, tmp_path / "store", valid=1)
    with pytest.raises(DataError, match="'0' has 2 samples of train, and 2 are to be valid"):
        import_data("ev-objects", source, tmp_path / "store", valid=2)


def test_an_npy_header_that_announces_more_than_there_is(made: Made, tmp_path: Path) -> None:
    raw = npy(np.zeros((39, 2, 2)))
    bad = raw.replace(b"(39, 2, 2)", b"(39, 2, 9)")
    source = made.write(tmp_path / "in", {f"train/sample_{n}_label_{n}.npy": bad for n in range(2)})
    with pytest.raises(DataError, match="which is not its size"):
        import_data("ev-objects", source, tmp_path / "store", valid=0)


STEPS = 30


def windows(n: int) -> dict[str, np.ndarray[Any, Any]]:
    """SYNTHETIC: windows with the three traps of the files."""
    rng = np.random.default_rng(n)
    x = rng.integers(0, 2, (n, STEPS, 4)).astype(float)
    x[:, -1, 0] = -1
    y = np.eye(6)[rng.integers(0, 6, (n, STEPS))]
    y[:, :19] = np.eye(6)[0]
    y[:, 21] = 0
    return {"x": x, "y": y, "t": np.zeros((n, STEPS)), "max_i": np.full((n, 1), STEPS)}


def ecg(tmp_path: Path, train: dict[str, Any], test: dict[str, Any] | None = None) -> Path:
    source = tmp_path / "in"
    source.mkdir(exist_ok=True)
    scipy.io.savemat(source / "QTDB_train.mat", train, do_compression=True)
    scipy.io.savemat(source / "QTDB_test.mat", test or windows(3), do_compression=True)
    return source


def all_of(store: Store, split: str) -> Any:
    return store.split(split).batch(torch.arange(store.description.splits[split]))


def test_qtdb_and_its_traps(tmp_path: Path) -> None:
    given = windows(8)
    source = ecg(tmp_path, given)
    store = import_data("qtdb", source, tmp_path / "store", valid=2)
    assert store.description.splits == {"train": 6, "valid": 2, "test": 3}
    assert store.description.task.per_step
    assert store.description.task.outputs == PARTS
    batch, view = all_of(store, "train"), store.split("train")
    clear = given["x"].copy()
    clear[:, -1, 0] = 0
    assert np.array_equal(batch.signals["ecg"].values.numpy(), clear[:6].astype(bool))
    assert view.target_valid is not None
    counts = view.target_valid.numpy()
    assert not counts[:, :19].any(), "P without meaning it"
    assert not counts[:, 21].any(), "no label"
    assert counts[:, 19:21].all()
    assert counts[:, 22:].all()
    assert np.array_equal(view.target.numpy()[counts], given["y"][:6].argmax(2)[counts])
    assert store.split("valid").ids == ("train-6", "train-7")
    signal = store.description.signals["ecg"]
    assert (signal.shape, signal.length, signal.dtype, signal.tick, signal.sensor) == ((4,), STEPS, "bool", 0.004, None)
    assert detect_format(source).format == detect_format(source / "QTDB_test.mat").format == "qtdb"
    every = import_data("qtdb", source, tmp_path / "b", valid=0, start=0, last_step="drop")
    assert every.description.signals["ecg"].length == STEPS - 1
    counted = every.split("test").target_valid
    assert counted is not None
    assert int(counted.sum()) == 3 * (STEPS - 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w["x"].__setitem__((1, 5, 2), -1), "QTDB_train.mat: x of window 1 has -1 at step 5"),
        (lambda w: w["y"].__setitem__((0, 3, 1), 0.5), "y of window 0 has 0.5 at step 3"),
        (lambda w: w["y"].__setitem__((0, 3), 1), "step 3 of window 0 has several labels"),
        (lambda w: w.pop("y"), "the variable y is missing; there are: x"),
        (lambda w: w.__setitem__("x", w["x"][:, :-1]), r"x is \[8, 29, 4\] and y \[8, 30, 6\]"),
        (lambda w: w.__setitem__("x", w["x"][:, :, :3]), r"give x \[N, L, 4\]"),
    ],
)
def test_windows_that_are_refused(change: Any, words: str, tmp_path: Path) -> None:
    given = windows(8)
    change(given)
    with pytest.raises(DataError, match=words):
        import_data("qtdb", ecg(tmp_path, given), tmp_path / "store", valid=2)


def test_choices_that_leave_nothing(tmp_path: Path) -> None:
    source = ecg(tmp_path, windows(4))
    for options, words in (
        ({"valid": 4}, "has 4 windows, and 4 are to be valid"),
        ({"valid": 0, "start": STEPS}, "are not to count"),
    ):
        with pytest.raises(DataError, match=words):
            import_data("qtdb", source, tmp_path / "store", **options)
    shorter = {
        name: array[:, :20] if array.ndim > 1 and name != "max_i" else array for name, array in windows(2).items()
    }
    shorter["x"][:, -1, 0] = -1
    with pytest.raises(DataError, match="windows of 20 steps, and 30 in train"):
        import_data("qtdb", ecg(tmp_path, windows(4), shorter), tmp_path / "store", valid=0)
