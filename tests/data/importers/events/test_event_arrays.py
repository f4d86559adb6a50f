"""Events in arrays, in files and in memory: their names, columns, units, polarities."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from neurozoo.data.importers.events.arrays import events_of, ticks
from neurozoo.data.importers.events.iterable import import_events
from neurozoo.errors import DataError

DTYPE = [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "?")]
GIVEN = [(3, 1, 2, True), (3, 1, 2, True), (70, 0, 3, False)]


def listed(content: Any, **options: Any) -> list[tuple[int, ...]]:
    events = events_of(content, "a file", **options)
    return list(zip(*(np.asarray(a).tolist() for a in (events.t, events.x, events.y, events.p)), strict=True))


def test_every_form_gives_the_same_events() -> None:
    rows = np.array(GIVEN, DTYPE)
    plain = np.array([tuple(map(int, event)) for event in GIVEN], np.uint64)
    expected = [(3, 1, 2, 1), (3, 1, 2, 1), (70, 0, 3, 0)]
    assert listed(rows) == expected
    assert listed(plain) == expected
    assert listed(plain[:, [1, 2, 3, 0]], columns="xypt") == expected
    assert listed({"TS": plain[:, :1], "x": plain[:, 1], "y": plain[:, 2], "Pol": rows["p"]}) == expected
    signed = plain.astype(float)
    signed[:, 3] = signed[:, 3] * 2 - 1
    assert listed(signed) == expected, "polarities of -1 and 1"


@pytest.mark.parametrize(
    ("t", "unit", "expected"),
    [
        (np.array([0.5, 1.0004], np.float64), 1e-3, [500, 1000]),
        (np.array([1.4, 60000.0 / 2**16], np.float16), 1.0, [1_400_391, 915_527]),
        (np.array([7], np.uint8), 1e-3, [7000]),
        (np.array([7], np.uint64), 1e-6, [7]),
        (np.array([1500], np.int64), 1e-9, [2]),
        (np.array([]), 1.0, []),
    ],
)
def test_times_become_microseconds_without_overflow(t: Any, unit: float, expected: list[int]) -> None:
    assert ticks(t, unit, "a file").tolist() == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((3, 3)), r"float64 of shape \[3, 3\]; give \[events, 4\] with the columns t, x, y, p"),
        (np.zeros(3), "give .events, 4."),
        (np.array([["a"] * 4]), "<U1 of shape"),
        (np.array([[0, 0.5, 0, 0]]), "x of event 0 is 0.5"),
        (np.array([[0, np.nan, 0, 0]]), "x of event 0 is nan"),
        (np.array([[np.inf, 0, 0, 0]]), "the time of event 0 is inf"),
        (np.array([[0, 0, 0, 2]]), "p of event 0 is 2; polarities are 0 and 1, or -1 and 1"),
        (np.array([[0, 0, 0, -1], [0, 0, 0, 0]]), "p of event 0 is -1"),
        (np.array([[2**63 - 1, 0, 0, 0]], np.int64), "is too large"),
        ({"x": np.zeros(2)}, r"it has no t; there are: x \[2\]"),
        ({"t": np.zeros(2), "x": np.zeros(3)}, "its fields differ in length: 2 t, 3 x"),
        ({"t": np.zeros((2, 2)), "x": np.zeros(4)}, "t is float64 of shape"),
    ],
)
def test_arrays_that_are_no_events(content: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        events_of(content, "a file", unit=1e-6 if "large" not in words else 1e-3)


def test_a_store_of_any_iterable(made: SimpleNamespace, tmp_path: Path) -> None:
    class Library:
        """A data set of another library: items by index, nothing else."""

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[Any, int]:
            if index >= len(self):
                raise IndexError
            return np.array([(10 * index, index, 1, 1), (50, 3, 2, 0)], DTYPE), index % 2

    store = import_events(Library(), tmp_path / "a", sensor=(2, 4, 4), classes=("left", "right"), split="test")
    assert store.description.splits == {"test": 3}
    assert store.split("test").target.tolist() == [0, 1, 0]
    assert store.split("test").ids == ("test-0", "test-1", "test-2")
    assert made.rows_of(store, "test")["test-1"] == [[10, 16 + 4 + 1], [50, 8 + 3]]
    signal = store.description.signals["events"]
    assert (signal.sensor, signal.tick) == ((2, 4, 4), 1e-6)


def test_channels_units_ticks_and_splits(made: SimpleNamespace, tmp_path: Path) -> None:
    parts = {
        "train": ((np.array([[0.01 * k, k]], np.float16), "b") for k in range(3)),
        "valid": [({"t": np.array([0.29]), "x": np.array([1])}, "a")],
    }
    store = import_events(parts, tmp_path / "a", sensor=(5,), classes=["a", "b"], unit=1.0, tick=0.01, signal="spikes")
    assert list(made.rows_of(store, "train", "spikes").values()) == [[[0, 0]], [[1, 1]], [[2, 2]]]
    assert made.rows_of(store, "valid", "spikes") == {"valid-0": [[29, 1]]}
    assert store.description.signals["spikes"].tick == 0.01


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([1], "split 'train', item 0 is int; give pairs"),
        ([(np.zeros((1, 4)), "c")], "the label 'c' is no class; there are: a, b"),
        ([(np.zeros((1, 4)), 2)], "the label is 2"),
        ([(np.zeros((1, 4)), 0.5)], "the label is 0.5"),
        ([(np.zeros((1, 4)), None)], "the label is NoneType"),
        ([(np.array([[0, 9, 0, 0]]), 0)], "item 0: x of event 0 is 9, and the sensor has 4"),
        ([(np.zeros((1, 4)), 0), (np.array([[5, 0, 0, 0], [4, 0, 0, 0]]), 0)], "item 1: the times fall"),
        ([(np.array([[-5, 0, 0, 0]]), 0)], "item 0: the first event is at -5"),
    ],
)
def test_items_that_are_refused_leave_nothing(items: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        import_events(items, tmp_path / "a", sensor=(2, 4, 4), classes=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_a_sensor_that_is_none(tmp_path: Path) -> None:
    for sensor in ((4, 4), (3, 4, 4), (0,), ()):
        with pytest.raises(DataError, match=r"sensor is"):
            import_events([], tmp_path / "a", sensor=sensor, classes=["a"])
