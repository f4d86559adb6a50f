"""Writing a store: masks, counting, refusals, and nothing half-written."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.data.store import Store, StoreWriter, feature_shape
from neurozoo.errors import DataError

ONES = {"text": np.ones((2, 3, 2))}
LABELS = [[0], [1]]


def writer_at(dest: Path, labels: Sequence[str] = ("glad",), **options: Any) -> StoreWriter:
    return StoreWriter(dest, labels=labels, origin={"format": "test"}, **options)


def test_zero_rows_at_the_ends_are_padding_and_between_are_not(tmp_path: Path) -> None:
    rows = np.array([[[0], [1], [0], [2], [0]], [[0], [0], [0], [0], [0]], [[1], [0], [0], [0], [1]]])
    with writer_at(tmp_path / "store") as writer:
        writer.add("train", {"text": rows}, [[0], [0], [1]])
    masks = Store(tmp_path / "store").split("train").batch(torch.arange(3)).signals["text"].mask
    assert masks.int().tolist() == [[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]


def test_a_given_mask_is_kept(tmp_path: Path) -> None:
    given = [[1, 0, 1], [0, 0, 0]]
    with writer_at(tmp_path / "store") as writer:
        writer.add("train", ONES, LABELS, masks={"text": given})
    masks = Store(tmp_path / "store").split("train").batch(torch.arange(2)).signals["text"].mask
    assert masks.int().tolist() == given


def test_values_that_are_not_finite_are_counted_and_become_zero(tmp_path: Path) -> None:
    text = np.ones((2, 3, 2))
    text[0, 0] = np.nan
    text[1, 1, 0] = -np.inf
    text[1, 2, 1] = 1e300  # infinite as float32
    with writer_at(tmp_path / "store") as writer:
        writer.add("train", {"text": text, "audio": np.ones((2, 1, 1))}, LABELS)
        writer.add("test", {"text": text, "audio": np.ones((2, 1, 1))}, LABELS)
    store = Store(tmp_path / "store")
    assert store.non_finite == {"text": 8, "audio": 0}
    batch = store.split("train").batch(torch.arange(2))
    assert batch.signals["text"].values.tolist() == [[[0, 0], [1, 1], [1, 1]], [[1, 1], [0, 1], [1, 0]]]
    assert batch.signals["text"].mask.int().tolist() == [[0, 1, 1], [1, 1, 1]]
    assert np.isnan(text[0, 0, 0]), "the caller's array was changed"


def test_samples_stream_into_shards(tmp_path: Path) -> None:
    with writer_at(tmp_path / "store", shard_samples=3) as writer:
        for start in range(0, 8, 2):
            writer.add("train", {"text": np.arange(start, start + 2).reshape(2, 1, 1)}, LABELS)
            writer.add("test", {"text": np.ones((2, 1, 1))}, LABELS)
    shards = sorted(path.name for path in (tmp_path / "store").glob("train*"))
    assert shards == [f"train-0000{i}.safetensors" for i in range(3)]
    split = Store(tmp_path / "store").split("train")
    assert split.batch(torch.arange(8)).signals["text"].values.flatten().tolist() == list(range(8))
    assert split.ids == tuple(str(i) for i in range(8))


@pytest.mark.parametrize("value", [2, -1, 0.5, float("nan")])
def test_labels_other_than_0_and_1(tmp_path: Path, value: float) -> None:
    def write() -> None:
        with writer_at(tmp_path / "store", ["glad", "sad"]) as writer:
            writer.add("train", ONES, [[0, 0], [0, 1]])
            writer.add("train", ONES, [[0, 0], [0, value]])

    with pytest.raises(DataError, match=rf"split 'train', sample 3, label 'sad' is {value}; labels are 0 or 1"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"text": np.ones((2, 3, 5))}, r"signal 'text': float64 of shape \[2, 3, 5\]; give numbers \[samples, 3, 2\]"),
        ({"text": np.ones((2, 4, 2))}, r"signal 'text': float64 of shape \[2, 4, 2\]; give numbers \[samples, 3, 2\]"),
        ({"audio": np.ones((2, 3, 2))}, r"the signals are audio; the store has text \[3, 2\]; give all of them"),
        ({}, r"the signals are none; the store has text"),
        ({"text": np.ones((2, 3))}, r"signal 'text': float64 of shape \[2, 3\]; give numbers \[samples, 3, 2\]"),
        ({"text": np.full((2, 3, 2), "a")}, r"<U1 of shape \[2, 3, 2\]; give numbers"),
        ({"text": np.ones((3, 3, 2))}, r"signal 'text' has 3 samples, the target has 2"),
    ],
)
def test_wrong_features(tmp_path: Path, features: dict[str, np.ndarray], said: str) -> None:
    with (
        pytest.raises(DataError, match=said),
        writer_at(tmp_path / "store", modalities={"text": feature_shape(2, 3)}) as writer,
    ):
        writer.add("train", features, LABELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"target": [[0, 1], [1, 0]]}, r"targets are int64 of shape \[2, 2\]; give numbers \[samples, 1\].*glad"),
        ({"ids": ["a"]}, r"1 ids for 2 samples"),
        ({"masks": {"text": np.ones((2, 2))}}, r"the mask of 'text' is float64 of shape \[2, 2\]"),
        ({"masks": {"text": np.full((2, 3), 2)}}, r"the mask of 'text' is int64"),
        ({"split": "../train"}, r"'\.\./train' cannot be a name"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said), writer_at(tmp_path / "store") as writer:
        writer.add(**{"split": "train", "signals": ONES, "target": LABELS} | arguments)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with writer_at(tmp_path / "store", shard_samples=1) as writer:
            writer.add("train", ONES, LABELS)
            assert any(tmp_path.rglob("*.safetensors"))
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_finishing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(DataError, match=r"could not be written: No space left on device"),
        writer_at(tmp_path / "store") as writer,
    ):
        writer.add("train", ONES, LABELS)
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"would have no samples"), writer_at(tmp_path / "store"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(DataError, match=r"is not empty; remove it first, or give another folder"), writer_at(tmp_path):
        pass
    with pytest.raises(DataError, match=r"letter is a file"), writer_at(tmp_path / "letter"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with writer_at(tmp_path / "store") as writer:
        writer.add("train", ONES, LABELS)
    assert Store(tmp_path / "store").description.splits == {"train": 2}


def test_others_may_read_a_store_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with writer_at(tmp_path / "store") as writer:
        writer.add("train", ONES, LABELS)
    expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").iterdir()} == {expected}


@pytest.mark.parametrize("labels", [[], ["glad", "glad"]])
def test_labels_have_names_of_their_own(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"give one or more names, each once"):
        writer_at(tmp_path / "store", labels)


def test_a_writer_that_is_not_open(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"use it as `with StoreWriter"):
        writer_at(tmp_path / "store").add("train", ONES, LABELS)


def test_arrays_in_any_memory_order(tmp_path: Path) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    forms = {"c": x, "fortran": np.asfortranarray(x), "columns": x[:, :, ::-1]}
    forms["moved"] = np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0)
    with writer_at(tmp_path / "store") as writer:
        writer.add("train", forms, LABELS)
    batch = Store(tmp_path / "store").split("train").batch(torch.arange(2))
    for name in ("c", "fortran", "moved"):
        assert np.array_equal(batch.signals[name].values, x), name
    assert np.array_equal(batch.signals["columns"].values, x[:, :, ::-1])
