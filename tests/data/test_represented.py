"""A view of represented signals: shapes, joins, statistics, targets per step, and samples that are kept in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.core.representation import Representation
from neurozoo.core.signals import Batch, Signal, SignalShape
from neurozoo.data.representations.bins import Bins
from neurozoo.data.representations.event_choice import Crop
from neurozoo.data.representations.group_steps import GroupSteps
from neurozoo.data.represented import CACHE, Budget, RepresentedCache, trimmed
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.view import DataView, training_statistics
from neurozoo.errors import DataError, UserError

CLASSES: dict[str, Any] = {"task": "multiclass", "outputs": ["a", "b"], "origin": {"format": "test"}}
N = 11


class Counted(Representation):
    """Samples per call, and then what ``bins`` gives."""

    keeps_positions = True

    def __init__(self, of: Representation) -> None:
        self.of, self.samples = of, 0

    def shape(self, stored: SignalShape) -> SignalShape:
        return self.of.shape(stored)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        self.samples += len(signal)
        return self.of(signal, stored)


class Decibels(Representation):
    """Of a waveform, position by position; padding becomes another number than 0."""

    keeps_positions = True

    def shape(self, stored: SignalShape) -> SignalShape:
        return SignalShape((1,), stored.length, "float32", stored.ragged, stored.tick)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        return Signal((signal.values.float().abs() + 1e-3).log10()[..., None], signal.valid)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("events") / "store"
    shapes = {
        "left": SignalShape.events((3,), 50, tick=0.001),
        "right": SignalShape.events((3,), 50, tick=0.001),
        "audio": SignalShape((), 20, "int16", tick=0.01),
    }

    def events() -> np.ndarray:
        n = int(rng.integers(0, 20))
        return np.stack([np.sort(rng.integers(0, 100, n)), rng.integers(0, 3, n)], 1)

    with StoreWriter(path, signals=shapes, **CLASSES) as writer:
        for split, n in (("train", N), ("test", 3)):
            audio = [rng.integers(-9, 9, rng.integers(1, 20)) for _ in range(n)]
            signals = {"left": [events() for _ in range(n)], "right": [events() for _ in range(n)], "audio": audio}
            writer.add(split, signals, rng.integers(0, 2, n))
    return Store(path)


def chosen(**of: Representation) -> dict[str, list[tuple[str, Representation]]]:
    return {name: [(type(each).__name__, each)] for name, each in of.items()}


def test_what_a_view_shows_is_what_it_gives(store: Store) -> None:
    represent = chosen(left=Bins(step=0.01), right=Bins(step=0.01, valid="event"), audio=Decibels())
    view = DataView(store, represent=represent)
    assert {name: str(shape) for name, shape in view.signals.items()} == {
        "left": "[10, 3]",
        "right": "[10, 3]",
        "audio": f"[{store.description.signals['audio'].length}, 1]",
    }
    assert view.description.signals == view.signals
    assert set(view.events) == {"left", "right"}
    batch = next(view.batches("train", 4))
    assert batch.signals["left"].values.shape == (4, 10, 3)
    assert batch.signals["left"].valid is None
    raw = store.split("train").batch(torch.arange(4))
    counts = raw.signals["left"].mask.sum(1)
    assert torch.equal(batch.signals["left"].values.sum((1, 2)), counts.float())
    statistics = training_statistics(view, 3)
    every = view.split("train").batch(torch.arange(N)).signals
    torch.testing.assert_close(statistics["left"].mean, every["left"].values.flatten(0, 1).mean(0))
    torch.testing.assert_close(statistics["audio"].mean, every["audio"].values[every["audio"].mask].mean(0))


def test_signals_are_joined_after_they_are_represented(store: Store) -> None:
    represent = chosen(left=Bins(step=0.01), right=Bins(step=0.02))
    view = DataView(store, ["both"], represent=represent, join={"both": ["left", "right"]})
    assert str(view.signals["both"]) == "[15, 3]"
    alone = DataView(store, ["right"], represent=represent).split("test").batch(torch.arange(3))
    joined = view.split("test").batch(torch.arange(3)).signals["both"]
    assert torch.equal(joined.values[:, 10:], alone.signals["right"].values)


def test_representations_are_applied_in_order_and_name_themselves(store: Store) -> None:
    steps: list[tuple[str, Representation]] = [("crop", Crop(duration=0.03)), ("bins", Bins(step=0.01))]
    assert str(DataView(store, ["left"], represent={"left": steps}).signals["left"]) == "[3, 3]"
    with pytest.raises(DataError, match=r"data.represent.left: crop: it needs events, and the signal is float32 \[10"):
        DataView(store, represent={"left": steps[::-1]})
    with pytest.raises(DataError, match=r"data.represent names 'lefd', and .* did you mean 'left'"):
        DataView(store, represent={"lefd": steps})


def test_a_sample_is_represented_once(store: Store) -> None:
    counted = Counted(Bins(step=0.01))
    view = DataView(store, ["left"], represent=chosen(left=counted))
    order = torch.Generator().manual_seed(0)
    for _ in range(3):
        for _batch in view.batches("train", 4, order):
            pass
    assert counted.samples == N


@pytest.mark.parametrize("mib", ["0", "1"])
@pytest.mark.parametrize("valid", ["all", "event"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_kept_samples_have_the_same_bits(
    store: Store, monkeypatch: pytest.MonkeyPatch, mib: str, valid: str, dtype: str
) -> None:
    monkeypatch.setenv(CACHE, mib)
    bins = Bins(step=0.01, valid=valid, dtype=dtype)  # type: ignore[arg-type]
    view = DataView(store, ["left", "audio"], represent=chosen(left=bins, audio=Decibels()))
    monkeypatch.setenv(CACHE, "0")
    new = DataView(store, ["left", "audio"], represent=chosen(left=bins, audio=Decibels()))
    order = torch.Generator().manual_seed(0)
    for _ in range(6):
        places = torch.randint(0, N, (4,), generator=order)
        for name, found in view.split("train").batch(places).signals.items():
            expected = new.split("train").batch(places).signals[name]
            assert found.values.dtype == expected.values.dtype
            assert torch.equal(found.values, expected.values)
            assert (found.valid is None) == (expected.valid is None)
            assert torch.equal(found.mask, expected.mask)
    assert new._budget.left == 0


def test_a_batch_of_no_samples_is_read_too(store: Store) -> None:
    """A process that has no part of a batch reads one; it decides nothing of what is kept."""
    represent = chosen(left=Bins(step=0.01, valid="event"), right=Crop(duration=0.03), audio=Decibels())
    split = DataView(store, represent=represent).split("train")
    for places in ([], [3], []):
        batch = split.batch(torch.tensor(places, dtype=torch.int64))
        assert [len(signal) for signal in batch.signals.values()] == [len(places)] * 3
    values = split.batch(torch.tensor([3])).signals["audio"].values
    assert values.dtype == torch.float32
    assert not torch.equal(values, values.round())


def test_padding_is_zero_and_ends_with_the_longest_sample(store: Store) -> None:
    found = DataView(store, ["audio"], represent=chosen(audio=Decibels())).split("train").batch(torch.arange(4))
    signal = found.signals["audio"]
    assert not signal.values[~signal.mask].any()
    assert bool(signal.mask[:, -1].any())
    cut = trimmed(Signal(torch.ones(2, 5, 1), torch.zeros(2, 5, dtype=torch.bool)))
    assert cut.values.tolist() == [[[0.0]], [[0.0]]]


def test_what_is_kept_stays_within_the_budget() -> None:
    shape, budget = SignalShape((10,), 10, "float32", False), Budget(250)
    cache, made = RepresentedCache(5, shape, budget), []

    def make(places: torch.Tensor) -> Signal:
        made.append(places.tolist())
        return Signal(places[:, None, None].float().expand(-1, 10, 10).contiguous())

    for _ in range(2):
        for places in ([0, 1], [2, 1], [4, 3, 0]):
            values = cache.get(torch.tensor(places), make).values
            assert values[:, 0, 0].tolist() == places
    # Two samples of 100 bytes fit: the first two that come.
    assert made == [[0, 1], [2], [4, 3], [2], [4, 3]]
    assert budget.left == 50


def test_values_that_are_no_bytes_are_kept_as_they_are() -> None:
    shape = SignalShape((1,), 1, "float32", False)
    first, later = torch.tensor([[[3.0]]]), torch.tensor([[[0.5]]])
    cache = RepresentedCache(2, shape, Budget(100))
    cache.get(torch.tensor([0]), lambda _: Signal(first))
    assert float(cache.get(torch.tensor([1]), lambda _: Signal(later)).values) == 0.5
    assert cache.get(torch.tensor([1, 0]), lambda _: Signal(later)).values.flatten().tolist() == [0.5, 3.0]
    other = RepresentedCache(2, shape, Budget(100))
    other.get(torch.tensor([1]), lambda _: Signal(later))
    assert float(other.get(torch.tensor([1]), lambda _: Signal(first)).values) == 0.5


def test_a_budget_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setenv(CACHE, "much")
    with pytest.raises(UserError, match="NEUROZOO_CACHE_MIB is 'much'; give a number of MiB"):
        DataView(store)


def test_what_changes_events_sees_them_as_they_are_stored(store: Store) -> None:
    view = DataView(store, ["left", "audio"], represent=chosen(left=Bins(step=0.01), audio=Decibels()))
    seen: list[Batch] = []

    def silence(batch: Batch) -> Batch:
        seen.append(batch)
        left = batch.signals["left"]
        empty = Signal(left.values, torch.zeros_like(left.mask))
        return Batch({**batch.signals, "left": empty}, batch.target, index=batch.index)

    view.split("train").batch(torch.arange(4))  # kept, and not used
    batch = next(view.batches("train", 4, change=silence))
    assert seen[0].signals["left"].values.shape[2:] == (2,)
    assert not batch.signals["left"].values.any()
    plain = view.split("train").batch(torch.arange(4))
    assert plain.signals["left"].values.any()
    assert torch.equal(plain.signals["audio"].values, batch.signals["audio"].values)


@pytest.fixture(scope="module")
def per_step(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("steps") / "store"
    rng = np.random.default_rng(0)
    signals = {"ecg": SignalShape((2,), 7, "bool", False, tick=0.004), "age": SignalShape((1,), 1, ragged=False)}
    task = {"task": "multiclass", "outputs": list("abcdefg"), "along": "ecg", "target_masked": True}
    with StoreWriter(path, signals=signals, origin={"format": "test"}, **task) as writer:
        for split, n in (("train", 4), ("test", 2)):
            values = {"ecg": rng.integers(0, 2, (n, 7, 2)), "age": np.ones((n, 1, 1))}
            writer.add(split, values, np.tile(np.arange(7), (n, 1)), target_mask=np.tile([1, 1, 1, 1, 1, 0, 1], (n, 1)))
    return Store(path)


def test_targets_follow_the_groups_of_their_signal(per_step: Store) -> None:
    view = DataView(per_step, ["age", "ecg"], represent=chosen(ecg=GroupSteps(count=3)))
    split = view.split("train")
    batch = split.batch(torch.tensor([2, 0]))
    assert batch.signals["ecg"].values.shape == (2, 2, 2)
    for target, valid in ((batch.target, batch.target_valid), (split.target[:2], split.target_valid)):
        assert target is not None
        assert valid is not None
        assert target.tolist() == [[2, 0]] * 2  # what a mask leaves out is stored as 0
        assert valid[:2].tolist() == [[True, False]] * 2


def test_positions_with_targets_do_not_move_without_a_rule(per_step: Store) -> None:
    moving = Counted(GroupSteps(count=3))
    moving.keeps_positions = False  # type: ignore[misc]
    view = DataView(per_step, represent=chosen(ecg=moving))
    with pytest.raises(DataError, match=r"data.represent.ecg: Counted: it moves positions, which have targets here"):
        _ = view.split("train").target
    with pytest.raises(DataError, match="a target for each of up to 7 positions"):
        DataView(per_step, ["age"], represent=chosen(age=moving)).split("train")
