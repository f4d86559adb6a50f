"""Statistics of a store: lengths, values, and targets by task. A target per step counts as a sample here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.data.representations.event_arrays import step_of
from neurozoo.data.store import Split, Store

__all__ = ["CELL", "Classes", "EventCounts", "Labels", "Lengths", "Quantity", "Summary", "Values", "summarise"]

_READ = 256
"""Samples read at once; of events fewer."""
_LENGTHS, _BINS = 1000, 100
"""Up to so many lengths are counted each; more in so many bins."""
_READ_EVENTS = 16
CELL = 0.01
"""Seconds of the cells of an address that are counted as empty or not."""


@dataclass(frozen=True)
class Lengths:
    """Numbers of valid positions of a signal's samples in one split.

    Attributes:
        quartiles: Minimum, quartiles and maximum, by linear interpolation.
        without: Samples that have none.
        counts: Samples by length, from 0 to L; none for events.
        step: How many lengths each of the counts is of; more than 1 where L is large, as of waveforms.
    """

    quartiles: tuple[float, float, float, float, float]
    without: int
    counts: tuple[int, ...]
    step: int = 1


@dataclass(frozen=True)
class Values:
    """Spikes, frames or token numbers at valid positions in one split; all 0 if there are none.

    The mean of spikes is their rate, per neuron and position.
    """

    least: int
    most: int
    mean: float


@dataclass(frozen=True)
class EventCounts:
    """The events of a signal in one split.

    Attributes:
        events: How many there are.
        seconds: Minimum, quartiles and maximum of the time of a sample's last event, in seconds.
        rate: Mean number of events a second and address, from 0 to the last event of each sample.
        busiest: The same of the address with the most events.
        silent: Share of the addresses without any event.
        empty: Share of the cells of an address and :data:`CELL` seconds that hold no event.
    """

    events: int
    seconds: tuple[float, float, float, float, float]
    rate: float
    busiest: float
    silent: float
    empty: float


@dataclass(frozen=True)
class Labels:
    """The labels of one split.

    Attributes:
        samples: Number of samples.
        counts: Samples with each label, in the order of the labels.
        together: ``[K][K]``, samples with both labels; the diagonal repeats ``counts``.
        cardinality: Samples by their number of labels, from 0 to K.
    """

    samples: int
    counts: tuple[int, ...]
    together: tuple[tuple[int, ...], ...]
    cardinality: tuple[int, ...]


@dataclass(frozen=True)
class Classes:
    """Number of samples of one split, and of each class in order."""

    samples: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Quantity:
    """Mean, population's standard deviation, minimum and maximum of a quantity in one split, in its own unit."""

    mean: float
    deviation: float
    least: float
    most: float


@dataclass(frozen=True)
class Summary:
    """Statistics of a store by split, lengths, values and events by signal first; values of signals that are neither.

    Signals of floats have no values here.
    """

    lengths: Mapping[str, Mapping[str, Lengths]]
    labels: Mapping[str, Labels]
    values: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)
    classes: Mapping[str, Classes] = field(default_factory=dict)
    quantities: Mapping[str, tuple[Quantity, ...]] = field(default_factory=dict)
    events: Mapping[str, Mapping[str, EventCounts]] = field(default_factory=dict)


def summarise(store: Store) -> Summary:
    """Compute the statistics of a store; signals of floats are not read."""
    splits = {name: store.split(name) for name in store.description.splits}
    task, signals = store.description.task, store.description.signals

    counted = {name: _counted(samples) for name, samples in splits.items()}
    k = len(task.outputs)
    return Summary(
        {
            name: {
                split: _lengths(samples.lengths(name), shape.length if shape.sensor is None else None)
                for split, samples in splits.items()
            }
            for name, shape in signals.items()
        },
        {split: _labels(x, k) for split, x in counted.items() if task.name == "multilabel"},
        {
            name: {split: _values(samples, name) for split, samples in splits.items()}
            for name, shape in signals.items()
            if not shape.dtype.startswith("float") and shape.sensor is None
        },
        {split: _classes(x, k) for split, x in counted.items() if task.name == "multiclass"},
        {split: _quantities(x, k) for split, x in counted.items() if task.name == "regression"},
        {
            name: {split: _events(samples, name, shape) for split, samples in splits.items()}
            for name, shape in signals.items()
            if shape.sensor is not None
        },
    )


def _counted(samples: Split) -> Tensor:
    """Return the targets that count, ``[n, *shape]``."""
    if samples.target_valid is not None:
        return samples.target[samples.target_valid]
    return samples.target.flatten(0, 1) if samples.task.per_step else samples.target


def _quartiles(x: Tensor) -> tuple[float, float, float, float, float]:
    least, low, middle, high, most = torch.quantile(x.double(), torch.linspace(0, 1, 5, dtype=torch.float64)).tolist()
    return least, low, middle, high, most


def _lengths(lengths: Tensor, most: int | None) -> Lengths:
    """Return the statistics; without counts by length if there is no largest one."""
    without = int((lengths == 0).sum())
    if most is None:
        return Lengths(_quartiles(lengths), without, ())
    step = 1 if most <= _LENGTHS else -(-(most + 1) // _BINS)
    counts = torch.bincount(lengths // step, minlength=most // step + 1).tolist()
    return Lengths(_quartiles(lengths), without, tuple(counts), step)


def _events(samples: Split, name: str, shape: SignalShape) -> EventCounts:
    tick, ends, filled, cells = shape.tick or 1.0, [], 0, 0
    ticks = Fraction(CELL / tick).limit_denominator(1_000_000)
    by_address = torch.zeros(shape.addresses, dtype=torch.int64)
    for places in torch.split(torch.arange(len(samples)), _READ_EVENTS):
        signal = samples.signal(name, places)
        time, address = signal.values.long().unbind(2)
        by_address += torch.bincount(address[signal.mask], minlength=shape.addresses)
        ends.append(time.amax(1).double() * tick)
        steps = step_of(time.amax(1), ticks) + 1
        cells += int(steps[signal.mask.any(1)].sum()) * shape.addresses
        cell = step_of(time, ticks) * shape.addresses + address
        filled += sum(len(row[there].unique()) for row, there in zip(cell, signal.mask, strict=True))
    end = torch.cat(ends)
    seconds, events = float(end.sum()) or 1.0, int(by_address.sum())
    return EventCounts(
        events,
        _quartiles(end),
        events / shape.addresses / seconds,
        int(by_address.max()) / seconds,
        float((by_address == 0).double().mean()),
        1 - filled / max(cells, 1),
    )


def _values(samples: Split, name: str) -> Values:
    least, most, total, number = [], [], 0.0, 0
    for places in torch.split(torch.arange(len(samples)), _READ):
        signal = samples.batch(places, [name]).signals[name]
        x = signal.values if signal.valid is None else signal.values[signal.valid]
        if x.numel():
            least.append(int(x.min()))
            most.append(int(x.max()))
            total += float(x.sum(dtype=torch.float64))
            number += x.numel()
    return Values(min(least, default=0), max(most, default=0), total / max(number, 1))


def _labels(labels: Tensor, outputs: int) -> Labels:
    present = labels.double()
    together = (present.T @ present).long()
    cardinality = torch.bincount(labels.sum(1).long(), minlength=outputs + 1)
    return Labels(
        len(labels),
        tuple(together.diagonal().tolist()),
        tuple(map(tuple, together.tolist())),
        tuple(cardinality.tolist()),
    )


def _classes(classes: Tensor, outputs: int) -> Classes:
    return Classes(len(classes), tuple(torch.bincount(classes, minlength=outputs).tolist()))


def _quantities(values: Tensor, outputs: int) -> tuple[Quantity, ...]:
    if not len(values):
        return (Quantity(0.0, 0.0, 0.0, 0.0),) * outputs
    columns = values.double().reshape(len(values), outputs).T
    return tuple(Quantity(float(x.mean()), float(x.std(correction=0)), float(x.min()), float(x.max())) for x in columns)
