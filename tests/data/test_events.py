"""Stores of events: what is written, what is refused, and what a stranger's store cannot smuggle in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from neurozoo.core.signals import SignalShape
from neurozoo.data.manifest import Manifest
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

CLASSES: dict[str, Any] = {"task": "multiclass", "outputs": ["a", "b"], "origin": {"format": "test"}}
CAMERA = SignalShape.events((2, 3, 4), 100)


def write(dest: Path, *samples: list[list[int]], shape: SignalShape = CAMERA) -> Store:
    with StoreWriter(dest, signals={"events": shape}, **CLASSES) as writer:
        writer.add("train", {"events": [np.array(each).reshape(-1, 2) for each in samples]}, [0] * len(samples))
    return Store(dest)


def test_events_are_stored_as_they_are(tmp_path: Path) -> None:
    samples = [[[0, 23], [5, 0], [5, 0], [9, 7]], [], [[1_000_000, 1]]]
    store = write(tmp_path / "store", *samples)
    assert store.description.signals["events"] == SignalShape(
        (2,), 4, "int32", True, tick=1e-6, sensor=(2, 3, 4), span=1_000_001
    )
    assert store.description.signals["events"].seconds == pytest.approx(1.000001)
    signal = store.split("train").batch(torch.tensor([2, 0, 1])).signals["events"]
    assert signal.values.dtype == torch.int32
    assert [signal.values[row][signal.mask[row]].tolist() for row in range(3)] == [samples[2], samples[0], []]


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        ([[0, 1], [4, 1], [3, 1]], "sample 1: the time falls from 4 to 3 ticks; sort the events"),
        ([[-1, 1]], "sample 1 has the value -1; times of events are 0 to 2147483647"),
        ([[0, 24]], r"sample 1 has the value 24; addresses of \[2, 3, 4\] are 0 to 23"),
        ([[0, -1]], "sample 1 has the value -1; addresses"),
        ([[2**31, 1]], "int32 holds"),
    ],
)
def test_wrong_events_are_refused_by_sample(tmp_path: Path, sample: list[list[int]], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        write(tmp_path / "store", [[7, 0]], sample)
    assert not (tmp_path / "store").exists()


def test_time_may_fall_from_one_sample_to_the_next(tmp_path: Path) -> None:
    assert write(tmp_path / "store", [[7, 0], [8, 0]], [], [[1, 0]]).description.splits == {"train": 3}


@pytest.mark.parametrize(
    "shape",
    [
        SignalShape((2,), 5, "int64", True, 1e-6, (4,)),
        SignalShape((3,), 5, "int32", True, 1e-6, (4,)),
        SignalShape((2,), 5, "int32", False, 1e-6, (4,)),
        SignalShape.events((4, 0), 5),
        SignalShape.events((), 5),
        SignalShape.events((2**16, 2**15), 5),
        SignalShape.events((4,), 5, tick=0.0),
        SignalShape.events((4,), 5, tick=float("nan")),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path: Path, shape: SignalShape) -> None:
    with pytest.raises(DataError, match=r"declare it by SignalShape.events|ticks of|seconds from one"):
        StoreWriter(tmp_path / "store", signals={"events": shape}, **CLASSES)


def test_only_a_store_of_time_has_schema_3(tmp_path: Path) -> None:
    write(tmp_path / "events", [[0, 0]])
    waves = {"audio": SignalShape((), 8, "int16", tick=1 / 8000), "plain": SignalShape((3,), 1, "float32", False)}
    with StoreWriter(tmp_path / "audio", signals=waves, **CLASSES) as writer:
        writer.add("train", {"audio": [np.arange(5)], "plain": np.ones((1, 1, 3))}, [0])
    with StoreWriter(tmp_path / "plain", signals={"plain": waves["plain"]}, **CLASSES) as writer:
        writer.add("train", {"plain": np.ones((1, 1, 3))}, [0])
    content = {
        name: json.loads((tmp_path / name / "dataset.json").read_text()) for name in ("events", "audio", "plain")
    }
    assert {name: each["schema"] for name, each in content.items()} == {"events": 3, "audio": 3, "plain": 2}
    assert content["audio"]["signals"]["audio"]["tick"] == 1 / 8000
    assert content["audio"]["signals"]["plain"] == content["plain"]["signals"]["plain"]
    assert set(content["plain"]["signals"]["plain"]) == {"shape", "length", "dtype", "ragged", "masked"}
    assert Store(tmp_path / "audio").description.signals["audio"].seconds == pytest.approx(5 / 8000)


@pytest.mark.parametrize(("row", "value"), [(0, [0, 24]), (1, [-1, 3]), (2, [0, 3]), (2, [999, 3])])
def test_a_strangers_events_are_checked_when_read(tmp_path: Path, row: int, value: list[int]) -> None:
    store = write(tmp_path / "store", [[3, 3]], [[1, 5], [2, 6]])
    shard = next(store.path.glob("train-*"))
    tensors = load_file(shard)
    tensors["features/events"][row] = torch.tensor(value, dtype=torch.int32)
    save_file(tensors, shard, metadata={"ids": json.dumps(["first", "second"])})
    split, sample = Store(store.path).split("train"), "first" if row == 0 else "second"
    with pytest.raises(DataError, match=f"sample '{sample}': event .* times do not fall and are below 4"):
        split.batch(torch.arange(2))


def test_a_span_is_part_of_the_description(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [[3, 3]])
    content = json.loads((store.path / "dataset.json").read_text())
    del content["signals"]["events"]["span"]
    (store.path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="checksum differs"):
        Manifest.read(store.path)
