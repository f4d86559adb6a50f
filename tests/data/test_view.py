"""A store seen through a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.data.store import Store, StoreWriter, feature_shape
from neurozoo.data.view import DataView, training_statistics
from neurozoo.errors import DataError

MakeStore = Callable[..., Store]
MUSIC = {"comments": (4, 3), "lyrics": (2, 3), "cover": (1, 5)}


def test_signals_come_in_the_order_of_the_inputs(make_store: MakeStore) -> None:
    store = make_store({"vision": (3, 2), "audio": (4, 1), "text": (5, 6)}, {"train": 4})
    view = DataView(store, ["text", "audio", "vision"])
    assert list(view.signals.items()) == [
        ("text", feature_shape(6, 5)),
        ("audio", feature_shape(1, 4)),
        ("vision", feature_shape(2, 3)),
    ]
    assert list(next(view.batches("train", 2)).signals) == ["text", "audio", "vision"]
    assert view.task.outputs == ("glad", "sad")
    assert view.description.checksum == store.description.checksum


def test_signals_that_are_no_input_are_left_out(make_store: MakeStore) -> None:
    store = make_store({"vision": (3, 2), "audio": (4, 1)}, {"train": 4})
    view = DataView(store, ["audio"])
    batch = view.split("train").batch(torch.arange(4))
    assert set(batch.signals) == set(view.signals) == {"audio"}


@pytest.mark.parametrize("places", [range(1, 3), [1, 2], (1, 2)])
def test_places_may_be_any_sequence(make_store: MakeStore, places: Any) -> None:
    split = DataView(make_store({"audio": (4, 1)}, {"train": 4})).split("train")
    found, wanted = split.batch(places), split.batch(torch.tensor([1, 2]))
    assert torch.equal(found.signals["audio"].values, wanted.signals["audio"].values)
    assert found.index is not None
    assert found.index.tolist() == [1, 2]


def test_signals_come_by_name_in_the_order_asked_for(make_store: MakeStore) -> None:
    store = make_store(MUSIC, {"train": 4})
    assert list(DataView(store).signals) == ["comments", "lyrics", "cover"]
    assert list(next(DataView(store, ["cover", "comments"]).batches("train", 2)).signals) == ["cover", "comments"]
    assert list(DataView(store, join={"text": ["lyrics", "comments"]}).signals) == ["text", "cover"]
    assert list(DataView(store, ["text"], join={"text": ["lyrics"]}).signals) == ["text"]
    with pytest.raises(DataError, match=r"signal cover is used twice"):
        DataView(store, ["cover", "cover"])


def test_joined_modalities_follow_one_another(make_store: MakeStore) -> None:
    store = make_store(MUSIC, {"train": 4})
    view = DataView(store, ["text", "vision"], join={"text": ["comments", "lyrics"], "vision": ["cover"]})
    assert view.signals == {"text": feature_shape(3, 6), "vision": feature_shape(5, 1)}
    places = torch.tensor([2, 0])
    seen, raw = view.split("train").batch(places), store.split("train").batch(places)
    assert torch.equal(
        seen.signals["text"].values, torch.cat([raw.signals["comments"].values, raw.signals["lyrics"].values], 1)
    )
    assert torch.equal(
        seen.signals["text"].mask, torch.cat([raw.signals["comments"].mask, raw.signals["lyrics"].mask], 1)
    )
    assert torch.equal(seen.signals["vision"].values, raw.signals["cover"].values)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"inputs": ["lyric"]},
            r"has no signal 'lyric'; there are: comments \[4, 3\], lyrics \[2, 3\], cover \[1, 5\]; "
            r"did you mean 'lyrics'\?",
        ),
        (
            {"inputs": ["text"], "join": {"text": ["comment"]}},
            r"no signal 'comment' \(joined into 'text'\).*'comments'",
        ),
        (
            {"inputs": ["txt"], "join": {"text": ["comments"]}},
            r"no signal 'txt'.*joined: text; did you mean 'text'\?",
        ),
        (
            {"inputs": ["text"], "join": {"text": ["lyrics", "cover"]}},
            r"joins lyrics \[2, 3\], cover \[1, 5\].*same shape",
        ),
        ({"inputs": ["text"], "join": {"text": []}}, r"'text' is joined of nothing"),
        ({"inputs": ["cover", "cover"]}, r"signal cover is used twice"),
        ({"inputs": []}, r"no signal of .* is used; there are: comments"),
        ({"inputs": ["cover"], "valid": (1.5, 0)}, r"1\.5; give one between 0 and 1"),
    ],
)
def test_wrong_inputs(make_store: MakeStore, options: dict[str, Any], said: str) -> None:
    store = make_store(MUSIC, {"train": 4})
    with pytest.raises(DataError, match=said):
        DataView(store, **options)


def test_valid_is_drawn_from_train_by_the_seed(make_store: MakeStore) -> None:
    store = make_store({"audio": (2, 1)}, {"train": 20, "test": 5})
    view = DataView(store, ["audio"], valid=(0.25, 3))
    train, valid = view.split("train"), view.split("valid")
    assert view.description.splits == {"train": 15, "valid": 5, "test": 5}
    assert (len(train), len(valid), len(view.split("test"))) == (15, 5, 5)
    assert sorted([*train.ids, *valid.ids], key=int) == [str(i) for i in range(20)]
    assert valid.ids == DataView(store, ["audio"], valid=(0.25, 3)).split("valid").ids
    assert valid.ids != DataView(store, ["audio"], valid=(0.25, 4)).split("valid").ids
    assert torch.equal(view.split("test").target, store.split("test").target)
    raw = store.split("train").batch(torch.tensor([int(valid.ids[1])]))
    seen = valid.batch(torch.tensor([1]))
    assert torch.equal(seen.signals["audio"].values, raw.signals["audio"].values)
    assert seen.index is not None
    assert seen.index.tolist() == [1]
    assert torch.equal(valid.target, store.split("train").target[[int(i) for i in valid.ids]])


def test_a_stored_valid_split_is_used(make_store: MakeStore) -> None:
    store = make_store({"audio": (2, 1)}, {"train": 6, "valid": 3})
    view = DataView(store, ["audio"], valid=(0.5, 0))
    assert view.description.splits == {"train": 6, "valid": 3}
    assert torch.equal(view.split("valid").target, store.split("valid").target)


def test_a_valid_split_needs_two_samples(make_store: MakeStore) -> None:
    with pytest.raises(DataError, match=r"train has 1 sample"):
        DataView(make_store({"audio": (2, 1)}, {"train": 1}), ["audio"], valid=(0.5, 0))


def test_without_a_valid_split_the_error_says_what_there_is(make_store: MakeStore) -> None:
    view = DataView(make_store({"audio": (2, 1)}, {"train": 2, "test": 1}), ["audio"])
    with pytest.raises(DataError, match=r"no split 'valid'; there are: train, test"):
        view.split("valid")


def test_batches_hold_every_sample_once(make_store: MakeStore) -> None:
    view = DataView(make_store({"audio": (2, 1)}, {"train": 7}, shard_samples=2), ["audio"])

    def order(generator: torch.Generator | None) -> list[list[int]]:
        return [b.index.tolist() for b in view.batches("train", 3, generator) if b.index is not None]

    assert order(None) == [[0, 1, 2], [3, 4, 5], [6]]
    shuffled = order(torch.Generator().manual_seed(1))
    assert shuffled == order(torch.Generator().manual_seed(1))
    assert shuffled != order(None)
    assert sorted(place for batch in shuffled for place in batch) == list(range(7))


def test_statistics_are_of_valid_training_positions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    audio = rng.normal([380.0, 0.1, 5.0], [50.0, 0.01, 0.0], (40, 6, 3)).astype(np.float32)
    audio[:, :2] = 0
    with StoreWriter(tmp_path / "store", labels=["glad"], origin={}) as writer:
        features = {"audio": audio, "vision": np.zeros((40, 2, 4))}
        writer.add("train", features, np.zeros((40, 1)))
        writer.add("test", {"audio": audio + 1000, "vision": np.ones((40, 2, 4))}, np.zeros((40, 1)))
    view = DataView(Store(tmp_path / "store"), ["audio", "vision"])
    rows = audio[:, 2:].reshape(-1, 3).astype(np.float64)
    for batch_size in (7, 40):
        found = training_statistics(view, batch_size)
        np.testing.assert_allclose(found["audio"].mean, rows.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found["audio"].std[:2], rows.std(0)[:2], rtol=1e-6)
        assert found["audio"].std[2] == 1, "a constant feature"
        mean, std = found["vision"]
        assert mean.tolist() == [0] * 4, "no valid position"
        assert std.tolist() == [1] * 4
        assert mean.dtype == std.dtype == torch.float32
