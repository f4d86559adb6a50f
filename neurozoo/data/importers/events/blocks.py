"""Blocks of events as readers give them, and a sample's rows as a store has them.

A row is ``(time in ticks, address)``; an address is the flat index into the sensor's axes. A camera's axes are
``(2, H, W)``: polarity (1 is brighter), y from above, x. Other sensors have one axis, the channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = [
    "BLOCK",
    "SIGNAL",
    "Blocks",
    "Events",
    "Sample",
    "Unordered",
    "Unwrap",
    "event_rows",
    "write_events",
]

BLOCK = 2**18
"""Events that a reader decodes at a time."""
MOST_EVENTS = 2**24
"""Events of one sample: 128 MiB of rows. Longer recordings have to be cut into labelled parts."""

SIGNAL = "events"
_BATCH, _BATCH_EVENTS = 512, 2**21
"""Samples and events that are written at a time."""

Sample = tuple[NDArray[np.int32], int, str]
"""Rows ``[E, 2]``, class and id."""
Unordered = Literal["refuse", "sort"]
"""What happens to a sample whose times fall: it is refused, or its events are sorted, equal times in their order."""


@dataclass(frozen=True)
class Events:
    """Some events of one recording, in the order of the file.

    Attributes:
        t: Times in ticks, ``[n]`` int64.
        x: Columns of a camera, or channels, ``[n]`` of any integer dtype.
        y: Rows of a camera, ``[n]``; None of channels.
        p: Polarities, ``[n]``, 1 is brighter; None of channels.
    """

    t: NDArray[np.int64]
    x: NDArray[Any]
    y: NDArray[Any] | None = None
    p: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.t)


Blocks = Iterable[Events]


class Unwrap:
    """Continues a clock of ``bits`` bits beyond its overflow: where it falls by half its range, it has overflowed.

    Blocks are given in order; a smaller fall is left as it is.
    """

    def __init__(self, bits: int) -> None:
        self._range, self._last, self._added = 1 << bits, 0, 0

    def __call__(self, t: NDArray[Any]) -> NDArray[np.int64]:
        """Return the times ``[n]`` of the next block without overflow."""
        times = t.astype(np.int64)
        if not len(times):
            return times
        overflows = np.cumsum(np.diff(times, prepend=self._last) < -(self._range // 2))
        self._last = int(times[-1])
        times += self._added + overflows * self._range
        self._added += int(overflows[-1]) * self._range
        return times


def event_rows(
    blocks: Blocks,
    sensor: tuple[int, ...],
    where: str,
    *,
    from_first: bool,
    unordered: Unordered = "refuse",
    most: int = MOST_EVENTS,
) -> NDArray[np.int32]:
    """Return a sample's rows ``[E, 2]`` int32, checked.

    Args:
        blocks: The sample's events.
        sensor: Axes ``(2, H, W)`` of a camera, or ``(N,)``.
        where: Names the file in errors.
        from_first: Whether times count from the first event; else they stay as they are.
        unordered: Whether events are sorted by their times if these fall.
        most: Allowed number of events.

    Raises:
        DataError: An address is outside of the sensor; times fall, are negative, or do not fit into 32 bits; or there
            are more than ``most`` events.
    """
    times: list[NDArray[np.int64]] = []
    addresses: list[NDArray[np.int32]] = []
    count = 0
    for block in blocks:
        addresses.append(_addresses(block, sensor, where, count))
        times.append(block.t)
        count += len(block)
        if count > most:
            raise DataError(f"{where}: more than {most:,} events, the most of one sample; cut the recording into parts")
    if not count:
        return np.zeros((0, 2), np.int32)
    t, address = np.concatenate(times), np.concatenate(addresses)
    del times, addresses
    falls = np.flatnonzero(np.diff(t) < 0)
    if len(falls):
        if unordered == "refuse":
            at = int(falls[0])
            raise DataError(
                f"{where}: the times fall {len(falls)} times, first at event {at + 1}, from {t[at]} to {t[at + 1]}; "
                "sort its events with --unordered sort, or leave the file out"
            )
        order = np.argsort(t, kind="stable")
        t, address = t[order], address[order]
    first, last = int(t[0]), int(t[-1])
    if first < 0 and not from_first:
        raise DataError(f"{where}: the first event is at {first}; times are 0 or later")
    if last - (first if from_first else 0) > np.iinfo(np.int32).max:
        gaps = np.diff(t)
        at = int(gaps.argmax()) if len(gaps) else 0
        jump = f"; its clock jumps after event {at}, from {t[at]} to {t[at + 1]}" if len(gaps) else ""
        raise DataError(f"{where}: it lasts until {last}, more than 32 bits of ticks{jump}; cut it, or leave it out")
    rows = np.empty((count, 2), np.int32)
    rows[:, 0] = t - first if from_first else t
    rows[:, 1] = address
    return rows


def _addresses(block: Events, sensor: tuple[int, ...], where: str, done: int) -> NDArray[np.int32]:
    axes = {"channel": (block.x, sensor[-1])}
    if len(sensor) == 3:
        if block.y is None or block.p is None:
            raise DataError(f"{where}: its events have no y or no polarity; a camera's sensor needs both")
        axes = {"p": (block.p, 2), "y": (block.y, sensor[1]), "x": (block.x, sensor[2])}
    address = np.zeros(len(block), np.int64)
    for name, (values, size) in axes.items():
        outside = (values < 0) | (values >= size)
        if outside.any():
            at = int(outside.argmax())
            raise DataError(
                f"{where}: {name} of event {done + at} is {values[at]}, and the sensor has {size}, 0 to {size - 1}; "
                f"{int(outside.sum())} of {len(block)} events are outside: give a larger sensor, or another file"
            )
        address = address * size + values.astype(np.int64)
    if prod(sensor) > np.iinfo(np.int32).max:
        raise DataError(f"{where}: a sensor of {prod(sensor):,} addresses; at most 32 bits")
    return address.astype(np.int32)


def write_events(
    dest: Path,
    sensor: tuple[int, ...],
    tick: float,
    outputs: Sequence[str],
    origin: Mapping[str, Any],
    samples: Mapping[str, Iterable[Sample]],
    signal: str = SIGNAL,
) -> Store:
    """Make a store of the samples of each split; each passes once, and few are in memory.

    Args:
        dest: The store's folder; new or empty.
        sensor: Axes of the addresses.
        tick: Seconds of a unit of the times.
        outputs: Names of the classes.
        origin: Of the store.
        samples: Of each split.
        signal: Name of the signal.
    """
    signals = {signal: SignalShape.events(sensor, MOST_EVENTS, tick=tick)}
    with StoreWriter(dest, signals=signals, task="multiclass", outputs=outputs, origin=origin) as writer:
        for split, each in samples.items():
            for batch in _batches(each):
                rows, labels, ids = zip(*batch, strict=True)
                writer.add(split, {signal: rows}, labels, ids=ids)
    return Store(dest)


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    events = 0
    for sample in samples:
        batch.append(sample)
        events += len(sample[0])
        if len(batch) >= _BATCH or events >= _BATCH_EVENTS:
            yield batch
            batch, events = [], 0
    if batch:
        yield batch
