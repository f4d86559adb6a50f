"""Importing the tactile Braille readings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.data.importers.run_importer import import_data
from neurozoo.data.representations.delta import reconstruct
from neurozoo.data.store import Store, feature_shape
from neurozoo.errors import DataError

LETTERS = ("Space", "A", "B", "E")
READINGS = (20, 13, 3, 7)
SPLITS = ("train", "valid", "test")


def arrays() -> dict[str, Any]:
    """SYNTHETIC: readings of four letters, mixed; each begins with its row's number, and ends in zeros."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(len(LETTERS)), READINGS))
    x = rng.integers(1, 256, (len(y), 5, 3), dtype=np.uint8)
    x[:, 0, 0] = np.arange(len(y))
    x[:, -1] = 0
    return {"x": x, "y": y, "letters": np.array(LETTERS)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "readings.npz"
    np.savez_compressed(path, **arrays())
    return path


def rows(store: Store, letter: str) -> dict[str, set[int]]:
    """A letter's rows in the file by split, by the values of their readings."""
    column = store.description.task.outputs.index(letter)
    found = {}
    for split, n in store.description.splits.items():
        view = store.split(split)
        x = view.batch(torch.arange(n)).signals["taxels"].values
        found[split] = {int(row) for row in x[view.target[:, column] == 1, 0, 0]}
    return found


def test_each_reading_has_one_label_and_keeps_its_values(source: Path, tmp_path: Path) -> None:
    store, file = import_data("braille", source, tmp_path / "store"), arrays()
    assert store.description.task.outputs == LETTERS
    assert store.description.signals == {"taxels": feature_shape(3, 5)}
    assert not store.description.synthetic
    seen = []
    for split in SPLITS:
        view = store.split(split)
        batch = view.batch(torch.arange(store.description.splits[split]))
        given = [int(row) for row in view.ids]
        np.testing.assert_array_equal(batch.signals["taxels"].values.numpy(), file["x"][given].astype(np.float32))
        assert batch.signals["taxels"].mask.all(), "zeros are values here"
        assert view.target.argmax(1).tolist() == file["y"][given].tolist()
        assert (view.target.sum(1) == 1).all()
        seen += given
    assert sorted(seen) == list(range(len(file["y"]))), "each reading is in one split"


def test_as_classes_the_readings_are_the_same(source: Path, tmp_path: Path) -> None:
    labels, classes = (
        import_data("braille", source, tmp_path / task, task=task) for task in ("multilabel", "multiclass")
    )
    assert classes.description.task.name == "multiclass"
    assert classes.description.task.outputs == labels.description.task.outputs
    for split in SPLITS:
        one, other = labels.split(split), classes.split(split)
        assert one.ids == other.ids
        assert other.target.tolist() == one.target.argmax(1).tolist()


def test_splits_are_drawn_letter_by_letter(source: Path, tmp_path: Path) -> None:
    store = import_data("braille", source, tmp_path / "store")
    sizes = {letter: [len(rows(store, letter)[split]) for split in SPLITS] for letter in LETTERS}
    assert sizes == {"Space": [14, 3, 3], "A": [9, 2, 2], "B": [1, 1, 1], "E": [5, 1, 1]}
    assert store.description.splits == {"train": 29, "valid": 7, "test": 7}
    assert store.description.origin["splits"].startswith("drawn by neurozoo with the seed 0")
    assert store.description.origin["splits"].endswith("the file has none")


def test_the_seed_alone_says_which_reading_is_where(source: Path, tmp_path: Path) -> None:
    first, again, other = (
        import_data("braille", source, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.description.checksum == again.description.checksum
    assert rows(first, "Space") == rows(again, "Space") != rows(other, "Space")


def test_some_letters_in_an_order_of_ones_own(source: Path, tmp_path: Path) -> None:
    whole = import_data("braille", source, tmp_path / "whole")
    assert main(["data", "import", "braille", str(source), str(tmp_path / "some"), "--letters", "E,Space"]) == 0
    some = Store(tmp_path / "some")
    assert some.description.task.outputs == ("E", "Space")
    assert some.description.origin["options"] == {"letters": ["E", "Space"], "seed": 0}
    for letter in ("E", "Space"):
        assert rows(some, letter) == rows(whole, letter)
    assert sum(some.description.splits.values()) == 27


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        (["Spce"], r"readings\.npz has no letter 'Spce'; there are: Space, A, B, E; did you mean 'Space'\?"),
        (["A", "e"], r"has no letter 'e'; .*; did you mean 'E'\?"),
        (["Q"], r"has no letter 'Q'; there are: Space, A, B, E$"),
        (["A", "A"], r"A, A; give one or more names, each once"),
    ],
)
def test_letters_that_are_not_there(source: Path, tmp_path: Path, letters: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        import_data("braille", source, tmp_path / "store", letters=letters)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y": None}, r"readings\.npz: the array 'y' is missing; there are: x \[43, 5, 3\], letters \[4\]"),
        ({"x": np.ones((43, 15))}, r"x is float64 of shape \[43, 15\]; give numbers \[N, L, D\]"),
        ({"x": np.ones((43, 0, 3))}, r"x is float64 of shape \[43, 0, 3\]"),
        ({"x": np.full((43, 5, 3), "a")}, r"x is <U1 of shape \[43, 5, 3\]"),
        ({"y": np.zeros(42, int)}, r"y is int64 of shape \[42\]; give whole numbers \[43\], one for each reading"),
        ({"y": np.zeros(43)}, r"y is float64 of shape \[43\]"),
        ({"y": np.repeat([0, 4], [40, 3])}, r"y of reading 40 is 4; there are 4 letters, 0 to 3"),
        ({"y": np.repeat([0, -1], [40, 3])}, r"y of reading 40 is -1"),
        (
            {"y": np.repeat([0, 1, 2, 3], [30, 8, 2, 3])},
            r"class 'B' has 2 samples, and each of train, valid, test needs one",
        ),
        ({"letters": np.arange(4)}, r"letters is int64 of shape \[4\]; give names, text \[K\]"),
        ({"letters": np.array(["A", "B", "A", "E"])}, r"letters has 'A' 2 times; each once"),
        ({"letters": np.array(LETTERS, object)}, r"readings\.npz holds Python objects, which are never loaded"),
    ],
)
def test_malformed_files(source: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    np.savez(source, **{name: array for name, array in (arrays() | changes).items() if array is not None})
    with pytest.raises(DataError, match=said):
        import_data("braille", source, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_letter_with_few_readings_can_be_left_out(source: Path, tmp_path: Path) -> None:
    np.savez(source, **arrays() | {"y": np.repeat([0, 1, 3], [30, 10, 3])})
    store = import_data("braille", source, tmp_path / "store", letters=["Space", "A", "E"])
    assert sum(store.description.splits.values()) == 43


def test_a_truncated_file(source: Path, tmp_path: Path) -> None:
    source.write_bytes(source.read_bytes()[:300])
    with pytest.raises(DataError, match=r"readings\.npz is truncated or not an npz file"):
        import_data("braille", source, tmp_path / "store")


def test_the_real_readings(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "braille" / "braille_taxels.npz"
    if not file.is_file():
        pytest.skip("the folder of NEUROZOO_TEST_DATA has no braille/braille_taxels.npz")
    store = import_data("braille", file, tmp_path / "store")
    assert store.description.signals == {"taxels": feature_shape(12, 76)}
    assert store.description.task.outputs[:3] == ("Space", "A", "B")
    assert store.description.splits == {"train": 27 * 34, "valid": 27 * 8, "test": 27 * 8}
    names = ["Space", "A", "E", "I", "O", "U", "Y"]
    seven = import_data("braille", file, tmp_path / "seven", letters=names)
    assert seven.description.task.outputs == tuple(names)
    assert seven.split("test").target.sum(0).tolist() == [8] * 7
    assert float(seven.split("train").batch(torch.arange(238)).signals["taxels"].values.max()) == 255


def test_readings_as_events_have_the_same_splits_and_come_back_within_a_step(source: Path, tmp_path: Path) -> None:
    dense = import_data("braille", source, tmp_path / "dense", task="multiclass")
    given = ["--events", "8", "--tick", "0.025", "--task", "multiclass"]
    assert main(["data", "import", "braille", str(source), str(tmp_path / "events"), *given]) == 0
    store = Store(tmp_path / "events")
    shape = store.description.signals["events"]
    assert (shape.sensor, shape.tick, shape.span) == ((6,), 0.025, 5)
    assert store.description.origin["options"] == dense.description.origin["options"] | {"events": 8.0, "tick": 0.025}
    x = arrays()["x"]
    for split in SPLITS:
        one, other = dense.split(split), store.split(split)
        assert one.ids == other.ids
        assert torch.equal(one.target, other.target)
        first = torch.from_numpy(x[[int(row) for row in one.ids]]).double()
        found = reconstruct(other.batch(torch.arange(len(first))).signals["events"], 5, 3, 8.0, first[:, :1])
        assert float((found - first).abs().max()) < 8


def test_the_real_readings_as_events(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "braille" / "braille_taxels.npz"
    if not file.is_file():
        pytest.skip("the folder of NEUROZOO_TEST_DATA has no braille/braille_taxels.npz")
    store = import_data("braille", file, tmp_path / "store", events=8.0)
    assert store.description.signals["events"].sensor == (24,)
    number = sum(
        int(store.split(split).batch(torch.arange(n)).signals["events"].mask.sum())
        for split, n in store.description.splits.items()
    )
    assert number == 27_584  # 20.4 a reading
