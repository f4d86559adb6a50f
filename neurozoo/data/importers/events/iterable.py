"""Make a store of events that are in memory: of any iterable of (structured array, label).

Data set objects of other libraries are such iterables; nothing of theirs is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurozoo.data.importers.common import UNKNOWN, origin_of
from neurozoo.data.importers.events.arrays import TICK, events_of
from neurozoo.data.importers.events.blocks import SIGNAL, Sample, Unordered, event_rows, write_events
from neurozoo.data.store import Store
from neurozoo.errors import DataError

__all__ = ["import_events"]


def import_events(
    iterable: Iterable[Any] | Mapping[str, Iterable[Any]],
    dest: str | Path,
    *,
    sensor: Sequence[int],
    classes: Sequence[str],
    split: str = "train",
    unit: float = TICK,
    tick: float = TICK,
    signal: str = SIGNAL,
    unordered: Unordered = "refuse",
    origin: Mapping[str, Any] | None = None,
) -> Store:
    """Make a store of an iterable of events; it passes once, and is not held in memory.

    Args:
        iterable: Pairs of events and a label, or such an iterable for each split. Events are a structured array with
            the fields t, x, y, p (or their usual other names; y and p of a camera alone), a dict of arrays, or numbers
            ``[n, 4]`` in this order. A label is a class's name or its place among ``classes``.
        dest: The store's folder; new or empty.
        sensor: Axes of the addresses: ``(2, H, W)`` of a camera, or ``(N,)`` of channels.
        classes: Names of the classes.
        split: Name of the split, of one iterable.
        unit: Seconds of one unit of the events' times.
        tick: Seconds of a tick of the store; times are rounded to it.
        signal: Name of the signal.
        unordered: ``refuse`` a sample whose times fall, or ``sort`` its events.
        origin: What is known of the data: format, source, licence, citation.

    Raises:
        DataError: An item is no such pair, or its events do not fit the sensor; names the split and the item.

    Example:
        >>> import tempfile
        >>> dtype = [("t", int), ("x", int), ("y", int), ("p", int)]
        >>> events = np.array([(0, 1, 2, 1), (1500, 3, 2, 0)], dtype=dtype)
        >>> dest = Path(tempfile.mkdtemp()) / "store"
        >>> store = import_events([(events, "left")], dest, sensor=(2, 4, 4), classes=["left", "right"])
        >>> store.split("train").ids
        ('train-0',)
    """
    shape = tuple(int(axis) for axis in sensor)
    if len(shape) not in (1, 3) or min(shape) < 1 or (len(shape) == 3 and shape[0] != 2):
        raise DataError(f"sensor is {list(shape)}; give (2, rows, columns) of a camera, or (channels,)")
    splits = iterable if isinstance(iterable, Mapping) else {split: iterable}
    described = dict(origin) if origin is not None else origin_of("events", "an iterable", UNKNOWN)
    samples = {
        name: _samples(items, name, shape, list(classes), unit, tick, unordered) for name, items in splits.items()
    }
    return write_events(Path(dest), shape, tick, classes, described, samples, signal)


def _samples(
    items: Iterable[Any],
    split: str,
    sensor: tuple[int, ...],
    classes: Sequence[str],
    unit: float,
    tick: float,
    unordered: Unordered,
) -> Iterator[Sample]:
    for number, item in enumerate(items):
        where = f"split {split!r}, item {number}"
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"{where} is {type(item).__name__}; give pairs (events, label)")
        given, label = item
        content = given if isinstance(given, Mapping) else np.asarray(given)
        # Ticks are counted by the factor between the units, as events_of does with microseconds.
        events = events_of(content, where, columns="txyp" if len(sensor) == 3 else "tx", unit=unit * TICK / tick)
        rows = event_rows([events], sensor, where, from_first=False, unordered=unordered)
        yield rows, _place(label, classes, where), f"{split}-{number}"


def _place(label: Any, classes: Sequence[str], where: str) -> int:
    if isinstance(label, str):
        if label not in classes:
            raise DataError(f"{where}: the label {label!r} is no class; there are: {', '.join(classes)}")
        return classes.index(label)
    try:
        place = int(label)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: the label is {type(label).__name__}; give a class's name or place") from error
    if not 0 <= place < len(classes) or place != label:
        raise DataError(f"{where}: the label is {label}; classes have the places 0 to {len(classes) - 1}")
    return place
