"""The store as its readers see it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neurozoo.data.store import Store, StoreWriter, feature_shape
from neurozoo.errors import DataError

MakeStore = Callable[..., Store]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_was_written_is_read(data: st.DataObject) -> None:
    n, k, length, dim = (data.draw(st.integers(1, 6), label) for label in ("n", "k", "L", "D"))
    numbers = st.floats(-1e6, 1e6, width=32)
    text = data.draw(hnp.arrays(np.float32, (n, length, dim), elements=numbers))
    audio = data.draw(hnp.arrays(np.float32, (n, 2, 3), elements=numbers))
    labels = data.draw(hnp.arrays(np.uint8, (n, k), elements=st.integers(0, 1)))
    ids = data.draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=n, max_size=n))
    cut = data.draw(st.integers(0, n))
    order = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), max_size=8)), dtype=torch.int64)
    with tempfile.TemporaryDirectory() as folder:
        dest = Path(folder) / "store"
        names = [f"label {i}" for i in range(k)]
        with StoreWriter(dest, labels=names, origin={}, shard_samples=data.draw(st.integers(1, 4))) as writer:
            for part in (slice(0, cut), slice(cut, n)):
                writer.add("train", {"text": text[part], "audio": audio[part]}, labels[part], ids[part])
        store = Store(dest)
        store.verify()
        split = store.split("train")
        assert len(split) == n
        assert split.ids == tuple(ids)
        assert store.description.signals == {"text": feature_shape(dim, length), "audio": feature_shape(3, 2)}
        batch = split.batch(order)
        assert torch.equal(batch.signals["text"].values, torch.from_numpy(text)[order])
        assert torch.equal(batch.signals["audio"].values, torch.from_numpy(audio)[order])
        assert batch.target is not None
        assert torch.equal(batch.target, torch.from_numpy(labels)[order].float())
        assert torch.equal(split.target, torch.from_numpy(labels).float())
        assert batch.index is not None
        assert torch.equal(batch.index, order)
        assert batch.signals["text"].mask.dtype == torch.bool


def test_a_batch_does_not_alias_the_file(make_store: MakeStore) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    places = torch.tensor([0, 1])
    batch = store.split("train").batch(places)
    before = batch.signals["text"].values.clone()
    batch.signals["text"].values.zero_()
    places.zero_()
    assert torch.equal(store.split("train").batch(torch.tensor([0, 1])).signals["text"].values, before)
    assert batch.index is not None
    assert batch.index.tolist() == [0, 1]
    store.verify()


def test_only_the_modalities_asked_for_are_read(make_store: MakeStore) -> None:
    split = make_store({"text": (3, 2), "audio": (3, 2)}, {"train": 4}).split("train")
    batch = split.batch(torch.arange(2), ["audio"])
    assert set(batch.signals) == {"audio"}


@pytest.mark.parametrize("places", [[4], [-1], [0, 9]])
def test_places_outside_of_a_split(make_store: MakeStore, places: list[int]) -> None:
    split = make_store({"text": (3, 2)}, {"train": 4}).split("train")
    with pytest.raises(IndexError, match=r"were asked of a split of 4 samples"):
        split.batch(torch.tensor(places))


def test_an_unknown_split_names_those_there_are(make_store: MakeStore) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4, "test": 2})
    with pytest.raises(DataError, match=r"no split 'tset'; there are: train, test; did you mean 'test'\?"):
        store.split("tset")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        Store(tmp_path / "nowhere")


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"not a data store: it has no dataset\.json; make one with `neurozoo data import"
    ):
        Store(tmp_path)


def edit(store: Store, **changes: object) -> None:
    path = store.path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_unknown_schema(make_store: MakeStore) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    edit(store, schema=9)
    with pytest.raises(DataError, match=r"has schema 9; this neurozoo reads schemas 1, 2"):
        Store(store.path)


def test_a_description_that_was_edited(make_store: MakeStore) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    task = {"name": "multilabel", "outputs": ["sad", "glad"], "per_step": False}
    for changes in ({"origin": {"format": "another"}}, {"task": task}):
        edit(store, **changes)
        with pytest.raises(DataError, match=r"changed after it was written"):
            Store(store.path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "glad"}, r"malformed: task: Input should be an object"),
        (
            {"task": {"name": "multilabel", "outputs": "glad", "per_step": False}},
            r"outputs: Input should be a valid array",
        ),
        ({"surprise": 1}, r"malformed: surprise: "),
        ({"synthetic": "no"}, r"malformed: synthetic: "),
    ],
)
def test_a_malformed_description(make_store: MakeStore, changes: dict[str, object], said: str) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    edit(store, **changes)
    with pytest.raises(DataError, match=said):
        Store(store.path)


@pytest.mark.parametrize("content", [b"", b'{"schema": 1', b"\xff\xfe"])
def test_a_truncated_description(make_store: MakeStore, content: bytes) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    (store.path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match=r"dataset\.json: cannot be read as JSON.*import the data again"):
        Store(store.path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_shard_is_refused_on_opening(make_store: MakeStore, keep: int) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    shard = store.path / "train-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train-00000\.safetensors is truncated or not a safetensors file"):
        Store(store.path)


def test_a_missing_shard_is_refused_on_opening(make_store: MakeStore) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4}, shard_samples=2)
    (store.path / "train-00001.safetensors").unlink()
    with pytest.raises(DataError, match=r"train-00001\.safetensors is missing; import the data again"):
        Store(store.path)


def test_a_shard_of_another_store_is_refused_on_opening(make_store: MakeStore) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    other = make_store({"text": (3, 5)}, {"train": 4}, name="other")
    (store.path / "train-00000.safetensors").write_bytes((other.path / "train-00000.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"\[4, 3, 5\].*but the store's dataset\.json says"):
        Store(store.path)


def test_verify_finds_a_changed_value(make_store: MakeStore) -> None:
    store = make_store({"text": (3, 2)}, {"train": 4})
    shard = store.path / "train-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"changed since written: train-00000\.safetensors"):
        Store(store.path).verify()


def test_the_checksum_is_of_values_and_description(make_store: MakeStore) -> None:
    one = make_store({"text": (3, 2)}, {"train": 4}, name="one")
    same = make_store({"text": (3, 2)}, {"train": 4}, name="same")
    other = make_store({"text": (3, 2)}, {"train": 5}, name="other")
    made_up = make_store({"text": (3, 2)}, {"train": 4}, name="made_up", synthetic=True)
    checksums = [store.description.checksum for store in (one, same, other, made_up)]
    assert checksums[0] == checksums[1]
    assert len(set(checksums)) == 3
