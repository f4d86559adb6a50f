"""Signals of any shape and dtype, ragged lengths, packed bits, and targets by task, written and read."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file, save_file

from neurozoo.core.signals import SignalShape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.view import DataView, training_statistics
from neurozoo.errors import DataError

DTYPES = ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"]
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)
EVENTS = SignalShape((2, 3, 3), 4, "bool", ragged=False)
CLASSES = {"task": "multiclass", "outputs": ["a", "b", "c"], "origin": {"format": "test"}}


def drawn(data: st.DataObject, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.startswith("float") else {}
    kind = np.dtype(dtype)
    return data.draw(hnp.arrays(kind, shape, elements=hnp.from_dtype(kind, **finite)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), shape=SHAPES, ragged=st.booleans(), masked=st.booleans())
def test_a_signal_is_read_as_it_was_written(
    data: st.DataObject, dtype: str, shape: tuple[int, ...], ragged: bool, masked: bool
) -> None:
    n, most = data.draw(st.integers(1, 5), "n"), data.draw(st.integers(1, 4), "L")
    lengths = [data.draw(st.integers(0, most)) if ragged else most for _ in range(n)]
    samples = [drawn(data, dtype, (length, *shape)) for length in lengths]
    masks = [drawn(data, "bool", (length,)) for length in lengths]
    order = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        dest = Path(folder) / "store"
        options = {"shard_samples": data.draw(st.integers(1, 3)), "masked": ["x"] if masked else []}
        with StoreWriter(dest, signals={"x": SignalShape(shape, most, dtype, ragged)}, **CLASSES, **options) as writer:
            cut = data.draw(st.integers(0, n))
            for part in (slice(0, cut), slice(cut, n)):
                given_masks = {"x": masks[part] if ragged else np.array(masks[part]).reshape(-1, most)}
                values: Any = samples[part]
                if not ragged:
                    values = np.array(values, dtype).reshape(-1, most, *shape)
                writer.add("train", {"x": values}, [0] * len(masks[part]), masks=given_masks if masked else None)
        store = Store(dest)
        store.verify()
        seen = store.description.signals["x"]
        longest = max(1, *lengths) if ragged else most
        assert seen == SignalShape(shape, longest, dtype, ragged or masked)
        batch = store.split("train").batch(torch.tensor(order))
        signal = batch.signals["x"]
        assert str(signal.values.dtype) == f"torch.{dtype}"
        width = max(1, *(lengths[i] for i in order), 0) if ragged else most
        assert signal.values.shape == (len(order), width, *shape)
        assert (signal.valid is None) == (not ragged and not masked)
        counted = [int(masks[i].sum()) if masked else lengths[i] for i in range(n)]
        assert store.split("train").lengths("x").tolist() == counted
        for row, i in enumerate(order):
            assert np.array_equal(signal.values[row, : lengths[i]].numpy(), samples[i])
            assert not signal.values[row, lengths[i] :].any()
            expected = np.zeros(width, bool)
            expected[: lengths[i]] = masks[i] if masked else True
            assert np.array_equal(signal.mask[row].numpy(), expected)


def test_bits_take_a_bit_and_bytes_a_byte(tmp_path: Path) -> None:
    for dtype, size in (("bool", 32 * 32 * 2 // 8), ("uint8", 32 * 32 * 2)):
        shape = SignalShape((2, 32, 32), 5, dtype, ragged=False)
        with StoreWriter(tmp_path / dtype, signals={"x": shape}, **CLASSES) as writer:
            writer.add("train", {"x": np.ones((20, 5, 2, 32, 32))}, np.arange(20) % 3)
        stored = (tmp_path / dtype / "train-00000.safetensors").stat().st_size
        assert 20 * 5 * size < stored < 20 * 5 * size + 1500
        batch = Store(tmp_path / dtype).split("train").batch(torch.arange(20))
        assert batch.signals["x"].values.element_size() == 1


def test_ragged_samples_are_not_padded_on_disk(tmp_path: Path) -> None:
    samples = [np.ones((length, 100), np.float32) for length in (500, 1, 1, 1)]
    with StoreWriter(tmp_path / "s", signals={"x": SignalShape((100,), 1000)}, **CLASSES) as writer:
        writer.add("train", {"x": samples}, [0, 1, 2, 0])
    store = Store(tmp_path / "s")
    assert (store.path / "train-00000.safetensors").stat().st_size < 503 * 400 + 1000
    assert store.split("train").batch(torch.tensor([1, 3])).signals["x"].values.shape == (2, 1, 100)
    assert store.description.signals["x"].length == 500


def test_shards_are_cut_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurozoo.data.filling._SHARD_BYTES", 600)
    lengths = [90, 20, 20, 150, 1, 1]
    with StoreWriter(tmp_path / "s", signals={"x": SignalShape((1,), 200)}, **CLASSES) as writer:
        writer.add("train", {"x": [np.full((n, 1), n) for n in lengths]}, [0] * 6)
    content = json.loads((tmp_path / "s" / "dataset.json").read_text())
    assert [shard["samples"] for shard in content["splits"]["train"]["shards"]] == [3, 1, 2]
    batch = Store(tmp_path / "s").split("train").batch(torch.tensor([5, 3, 0, 2]))
    assert batch.signals["x"].values[:, 0, 0].tolist() == [1, 150, 90, 20]


@pytest.mark.parametrize(
    ("task", "outputs", "target", "dtype"),
    [
        ("multilabel", ["a", "b"], [[0, 1], [1, 1]], torch.float32),
        ("multiclass", ["a", "b", "c"], [2, 0], torch.int64),
        ("regression", ["speed"], [[0.5], [-3.0]], torch.float32),
    ],
)
@pytest.mark.parametrize("valid", [None, (0.5, 1)])
def test_targets_are_those_of_the_task(
    tmp_path: Path, task: str, outputs: list[str], target: Any, dtype: torch.dtype, valid: Any
) -> None:
    with StoreWriter(tmp_path / "s", signals={"x": EVENTS}, task=task, outputs=outputs, origin={}) as writer:
        writer.add("train", {"x": np.zeros((2, 4, 2, 3, 3))}, target)
    view = DataView(Store(tmp_path / "s"), valid=valid)
    batch = next(view.batches("train", 2))
    assert (view.task.name, view.task.outputs, view.task.per_step) == (task, tuple(outputs), False)
    assert batch.target is not None
    assert batch.target.dtype == dtype
    assert (batch.target_valid, view.split("train").target_valid) == (None, None)
    if valid is None:
        assert batch.target.tolist() == target
    assert torch.equal(view.split("train").target, batch.target)


def test_targets_per_step_are_as_long_as_their_signal(tmp_path: Path) -> None:
    spikes = [np.ones((length, 5), bool) for length in (3, 1, 2)]
    target = [np.array([0, 1, 2]), np.array([1]), np.array([2, 2])]
    shapes = {"x": SignalShape((5,), 9, "bool")}
    with StoreWriter(tmp_path / "s", signals=shapes, along="x", shard_samples=2, **CLASSES) as writer:
        writer.add("train", {"x": spikes}, target)
    store = Store(tmp_path / "s")
    assert store.description.task.per_step
    batch = store.split("train").batch(torch.tensor([2, 0]))
    assert batch.target is not None
    assert batch.target_valid is not None
    assert batch.target.tolist() == [[2, 2, 0], [0, 1, 2]]
    assert batch.target_valid.tolist() == [[True, True, False], [True, True, True]]
    assert torch.equal(batch.target_valid, batch.signals["x"].mask)
    short = store.split("train").batch(torch.tensor([1]))
    assert short.target is not None
    assert short.target.tolist() == [[1]]
    split = DataView(store, valid=(0.34, 0)).split("train")
    assert split.target_valid is not None
    assert split.target.shape == split.target_valid.shape == (2, 3)


def test_steps_that_do_not_count(tmp_path: Path) -> None:
    shapes = {"x": SignalShape((1,), 3, "float32", ragged=False)}
    options = {"task": "regression", "outputs": ["y"], "origin": {}, "along": "x", "target_masked": True}
    y = np.array([[[1], [np.nan], [3]], [[np.inf], [5], [6]]])
    with StoreWriter(tmp_path / "s", signals=shapes, **options) as writer:
        writer.add("train", {"x": np.ones((2, 3, 1))}, y, target_mask=np.isfinite(y[..., 0]))
    batch = Store(tmp_path / "s").split("train").batch(torch.arange(2))
    assert batch.target is not None
    assert batch.target_valid is not None
    assert batch.target[..., 0].tolist() == [[1, 0, 3], [0, 5, 6]]
    assert batch.target_valid.tolist() == [[True, False, True], [False, True, True]]


def test_a_task_of_a_plugin_says_what_its_targets_are(tmp_path: Path) -> None:
    options: dict[str, Any] = {"signals": {"x": EVENTS}, "task": "ranking", "outputs": ["a", "b"], "origin": {}}
    with pytest.raises(DataError, match=r"the task 'ranking' are of no known shape; give target=SignalShape"):
        StoreWriter(tmp_path / "s", **options)
    with StoreWriter(tmp_path / "s", target=SignalShape((2,), 1, "int16"), **options) as writer:
        writer.add("train", {"x": np.zeros((1, 4, 2, 3, 3))}, [[7, -2]])
    target = Store(tmp_path / "s").split("train").target
    assert (target.dtype, target.tolist()) == (torch.int16, [[7, -2]])


ONE = {"x": np.zeros((2, 4, 2, 3, 3))}
WORDS = SignalShape((), 3, "uint8")


@pytest.mark.parametrize(
    ("shape", "values", "said"),
    [
        (EVENTS, np.zeros((2, 4, 3, 3)), r"'x': float64 of shape \[2, 4, 3, 3\]; give numbers \[samples, 4, 2, 3, 3\]"),
        (EVENTS, np.full((2, 4, 2, 3, 3), 2), r"'x', sample 3 has the value 2; spikes and other bits are 0 or 1"),
        (WORDS, [[1, 2], [256]], r"signal 'x', sample 4 has the value 256; uint8 holds 0 to 255; declare a larger"),
        (WORDS, [[1.5], [1]], r"signal 'x', sample 3 has the value 1\.5; uint8 holds whole numbers; round them"),
        (WORDS, [[1], [1, 2, 3, 4]], r"sample 1 of those given: 4 positions, and at most 3 are declared; cut"),
        (WORDS, [[[1]], [[1]]], r"sample 0 of those given: int64 of shape \[1, 1\]; give numbers \[positions\]"),
        (WORDS, [["a"], ["b"]], r"<U1 of shape \[1\]; give numbers"),
    ],
)  # fmt: skip
def test_wrong_values(tmp_path: Path, shape: SignalShape, values: Any, said: str) -> None:
    def write() -> None:
        with StoreWriter(tmp_path / "s", signals={"x": shape}, **CLASSES) as writer:
            first = [[0], [1], [2]] if shape is WORDS else np.zeros((3, 4, 2, 3, 3))
            writer.add("train", {"x": first}, [0, 0, 0])
            writer.add("train", {"x": values}, [0, 0])

    with pytest.raises(DataError, match=said):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "target", "said"),
    [
        ("multiclass", [0, 3], r"split 'train', sample 1 has the value 3; a class is its place among a, b, c: 0 to 2"),
        ("multiclass", [-1, 0], r"sample 0 has the value -1; a class is"),
        ("multiclass", [0.5, 0], r"sample 0 has the value 0\.5; a class is"),
        ("multiclass", [[0], [1]], r"targets are int64 of shape \[2, 1\]; give numbers \[samples\].*multiclass"),
        ("multilabel", [[0, 1, 1], [0, 2, 0]], r"sample 1, label 'b' is 2; labels are 0 or 1"),
        ("regression", [[0, 1, np.nan], [0, 2, 0]], r"sample 0 has the value nan; a target is a finite number; leave"),
        ("regression", [[0, 1], [0, 2]], r"targets are int64 of shape \[2, 2\]; give numbers \[samples, 3\]"),
        ("regression", [[0, 1, 1e300], [0, 2, 0]], r"1 targets are too large for float32; scale them"),
    ],
)
def test_wrong_targets(tmp_path: Path, task: str, target: Any, said: str) -> None:
    with (
        pytest.raises(DataError, match=said),
        StoreWriter(tmp_path / "s", signals={"x": EVENTS}, task=task, outputs=["a", "b", "c"], origin={}) as writer,
    ):
        writer.add("train", ONE, target)


def test_a_target_for_each_step_and_no_more(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"sample 1: 1 targets for 2 positions of 'x'; give one each, with target_mask"),
        StoreWriter(tmp_path / "s", signals={"x": WORDS}, along="x", **CLASSES) as writer,
    ):
        writer.add("train", {"x": [[1], [1, 2]]}, [[0], [0]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"signals": {"x": SignalShape((2,), 3, "complex64")}}, r"'x' of .* is complex64 \[3, 2\]; .*one of float16"),
        ({"signals": {"x": SignalShape((0,), 3)}}, r"give axes and a length of 1 or more"),
        ({"signals": {"x/y": EVENTS}}, r"'x/y' cannot be a name"),
        ({"signals": {"x": EVENTS}, "masked": ["z"]}, r"there is no signal 'z'; declared are: x"),
        ({"signals": {"x": EVENTS}, "along": "z"}, r"there is no signal 'z'; declared are: x"),
        ({"signals": {"x": EVENTS}, "target_masked": True}, r"target_masked is for targets per step; name their"),
        ({"signals": {"x": EVENTS}, "outputs": ["a", "a"]}, r"outputs of .*: a, a; give one or more names, each once"),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_be(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        StoreWriter(tmp_path / "s", **(CLASSES | options))


def test_a_mask_that_was_not_declared(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"signal 'x' is declared to have no mask; name it in masked="),
        StoreWriter(tmp_path / "s", signals={"x": EVENTS}, **CLASSES) as writer,
    ):
        writer.add("train", ONE, [0, 1], masks={"x": np.ones((2, 4))})


def test_offsets_that_do_not_fit_are_refused_on_opening(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", signals={"x": WORDS}, **CLASSES) as writer:
        writer.add("train", {"x": [[1], [1, 2]]}, [0, 1])
    shard = tmp_path / "s" / "train-00000.safetensors"
    tensors = load_file(shard)
    for offsets in ([0, 1, 2], [0, 4, 3], [1, 1, 3]):
        save_file(tensors | {"offsets/x": torch.tensor(offsets)}, shard, metadata={"ids": '["0", "1"]'})
        with pytest.raises(DataError, match=r"offsets/x does not divide the 3 rows of features/x into samples"):
            Store(tmp_path / "s")


def test_signals_are_joined_where_shape_and_dtype_agree(tmp_path: Path) -> None:
    shapes = {
        "one": SignalShape((2,), 3, "float32", ragged=False),
        "own": SignalShape((2,), 4),
        "bits": SignalShape((2,), 3, "bool", ragged=False),
    }
    with StoreWriter(tmp_path / "s", signals=shapes, **CLASSES) as writer:
        values = {"one": np.ones((2, 3, 2)), "own": [np.ones((1, 2)), np.ones((2, 2))], "bits": np.ones((2, 3, 2))}
        writer.add("train", values, [0, 1])
    store = Store(tmp_path / "s")
    view = DataView(store, join={"both": ["one", "own"]})
    assert list(view.signals) == ["both", "bits"]
    assert view.signals["both"] == SignalShape((2,), 5)
    batch = view.split("train").batch(torch.arange(2))
    assert batch.signals["both"].mask.tolist() == [[True] * 4 + [False], [True] * 5]
    assert batch.signals["bits"].valid is None
    with pytest.raises(DataError, match=r"joins one \[3, 2\], bits \[3, 2\].*dtypes bool, float32; only signals of"):
        DataView(store, ["x"], join={"x": ["one", "bits"]})


def test_statistics_of_frames_are_by_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (length, 1, 2, 3)).astype(np.uint8) for length in (1, 4, 2)]
    for each in frames:
        each[:, 0, 0, 0] = 9
    with StoreWriter(tmp_path / "s", signals={"x": SignalShape((1, 2, 3), 4, "uint8")}, **CLASSES) as writer:
        writer.add("train", {"x": frames}, [0, 1, 2])
    view = DataView(Store(tmp_path / "s"))
    assert training_statistics(view, names=[]) == {}
    found = training_statistics(view, batch_size=2)["x"]
    rows = np.concatenate(frames).reshape(7, 6).astype(np.float64)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std[1:], rows.std(0)[1:], rtol=1e-6)
    assert found.std[0] == 1, "a constant pixel"


def test_values_that_are_not_finite_are_counted_in_any_float(tmp_path: Path) -> None:
    shapes = {"half": SignalShape((1,), 2, "float16"), "double": SignalShape((1,), 2, "float64")}
    x = [np.array([[1e30], [np.nan]]), np.array([[1.0]])]
    with StoreWriter(tmp_path / "s", signals=shapes, **CLASSES) as writer:
        writer.add("train", {"half": x, "double": x}, [0, 1])
    store = Store(tmp_path / "s")
    assert store.non_finite == {"half": 2, "double": 1}
    assert store.split("train").batch(torch.tensor([0])).signals["double"].values.flatten().tolist() == [1e30, 0]
