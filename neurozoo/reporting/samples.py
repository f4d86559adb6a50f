"""A sample as a person can look at it, in numbers and in words; :mod:`sample_pictures` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.signals import Batch, SignalShape
from neurozoo.reporting.timelines import COLUMNS, ROWS

__all__ = [
    "NAMED", "Sample", "SampleEvents", "Steps", "answer_words", "kind_of", "sample_facts", "signal_words", "signals_of",
    "step_words", "steps_of",
]  # fmt: skip

NAMED = 6
"""So many outputs of a step are named and have lines: as many as there are colours."""
_BUSIEST = 3


@dataclass(frozen=True)
class Steps:
    """Targets at each step, and what a model answered.

    Attributes:
        target: ``[S]`` classes, or ``[S, K]`` labels or quantities.
        valid: ``[S]``, which steps count; the others are left empty.
        outputs: Names of the K classes, labels or quantities.
        predicted: ``[S, K]`` probabilities or quantities; None without a model.
        answer: ``[S]`` classes that the model decided for; None without a model or without classes.
    """

    target: NDArray[Any]
    valid: NDArray[np.bool_]
    outputs: Sequence[str]
    predicted: NDArray[np.float64] | None = None
    answer: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Sample:
    """One sample of a data set.

    Attributes:
        name: Its id.
        title: What stands above its picture.
        signals: By name, ``[L, *shape]`` up to the last valid position, and the signal's shape.
        steps: Targets per step, if the task has them.
    """

    name: str
    title: str
    signals: Mapping[str, tuple[NDArray[Any], SignalShape]]
    steps: Steps | None = None


def signals_of(batch: Batch, shapes: Mapping[str, SignalShape]) -> dict[str, tuple[NDArray[Any], SignalShape]]:
    """The signals of a batch of one sample, each up to its last valid position."""
    found = {}
    for name, shape in shapes.items():
        signal = batch.signals[name]
        there = signal.mask[0].nonzero()
        end = int(there[-1]) + 1 if len(there) else 0
        found[name] = signal.values[0, :end].cpu().numpy(), shape
    return found


def steps_of(batch: Batch, outputs: Sequence[str]) -> Steps:
    """The targets per step of a batch of one sample, up to the last step that counts."""
    assert batch.target is not None
    target = batch.target[0].cpu().numpy()
    valid = np.ones(len(target), bool) if batch.target_valid is None else batch.target_valid[0].cpu().numpy()
    end = int(np.flatnonzero(valid)[-1]) + 1 if valid.any() else 0
    return Steps(target[:end], valid[:end], outputs)


def answer_words(target: NDArray[Any], outputs: Sequence[str]) -> str:
    """The target of a sample in words: its class, its labels, or its quantities."""
    if target.ndim == 0:
        return outputs[int(target)] if 0 <= int(target) < len(outputs) else "none"
    if set(np.unique(target).tolist()) <= {0, 1}:
        return ", ".join(outputs[k] for k in np.flatnonzero(target)[:NAMED]) or "no label"
    return ", ".join(f"{outputs[k]} {target[k]:.3g}" for k in range(min(len(outputs), NAMED)))


@dataclass(frozen=True)
class SampleEvents:
    """Events of a sensor; those outside of it are left out.

    Attributes:
        times: ``[E]``, in ticks.
        addresses: ``[E]``, flat.
        sensor: Its axes.
        scale: Seconds of a tick; 1 if unknown.
        polarities: Of a camera, 1 or 2; 0 of channels.
    """

    times: NDArray[np.int64]
    addresses: NDArray[np.int64]
    sensor: tuple[int, ...]
    scale: float
    polarities: int

    @classmethod
    def of(cls, values: NDArray[Any], shape: SignalShape) -> SampleEvents:
        """Read rows ``[E, 2]`` of a signal."""
        sensor = shape.sensor or ()
        times, addresses = values[:, 0].astype(np.int64), values[:, 1].astype(np.int64)
        there = (addresses >= 0) & (addresses < prod(sensor)) & (times >= 0)
        camera = len(sensor) == 2 or (len(sensor) == 3 and sensor[0] in (1, 2))
        polarities = (sensor[0] if len(sensor) == 3 else 1) if camera else 0
        return cls(times[there], addresses[there], sensor, shape.tick or 1.0, polarities)

    @property
    def size(self) -> int:
        """Number of addresses."""
        return prod(self.sensor)

    @property
    def end(self) -> int:
        """The first tick after the last event."""
        return int(self.times.max()) + 1 if len(self.times) else 0

    def raster(self) -> NDArray[np.float64]:
        """Counts ``[rows, columns]`` by channel and time; neighbours are merged where there are many."""
        rows, columns = min(ROWS, self.size), max(1, min(COLUMNS, self.end))
        row = self.addresses * rows // self.size
        return self._counts(row * columns + self.times * columns // max(self.end, 1), rows, columns)

    def planes(self, side: int, frames: int) -> NDArray[np.float64]:
        """Counts ``[frames, 2, H, W]``: brighter, darker; pixels merged until no side is longer than ``side``."""
        height, width = self.sensor[-2:]
        each = ceil(max(height, width) / side)
        high, wide = ceil(height / each), ceil(width / each)
        polarity, place = np.divmod(self.addresses, height * width)
        y, x = np.divmod(place, width)
        # Of a sensor without polarities all events are in the first plane.
        plane = 1 - polarity if self.polarities == 2 else polarity
        frame = self.times * frames // max(self.end, 1)
        flat = ((frame * 2 + plane) * high + y // each) * wide + x // each
        return self._counts(flat, frames, 2, high, wide)

    @staticmethod
    def _counts(flat: NDArray[np.int64], *shape: int) -> NDArray[np.float64]:
        return np.bincount(flat, minlength=prod(shape)).reshape(shape).astype(np.float64)


def sample_facts(sample: Sample) -> dict[str, Any]:
    """Numbers of each signal and of the steps, for programs and for words."""
    facts: dict[str, Any] = {name: _facts(*signal) for name, signal in sample.signals.items()}
    return {"signals": facts, **({} if sample.steps is None else {"steps": _step_facts(sample.steps)})}


def kind_of(values: NDArray[Any], shape: SignalShape) -> str:
    """How a signal is drawn: ``events``, ``frames``, ``spikes``, ``values``; ``tokens`` and ``single`` are not."""
    if shape.sensor is not None:
        return "events"
    if shape.shape == () and shape.dtype == "int64":
        return "tokens"
    if len(shape.shape) in (2, 3):
        return "frames"
    if len(values) < 2:
        return "single"
    return "spikes" if shape.dtype == "bool" else "values"


def _facts(values: NDArray[Any], shape: SignalShape) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    kind = kind_of(values, shape)
    if kind == "events":
        events = SampleEvents.of(values, shape)
        facts = {"events": len(events.times), "seconds": events.end * events.scale if shape.tick else None}
        if events.polarities == 2:
            facts["brighter"] = float((events.addresses >= events.size // 2).mean()) if len(events.times) else None
        active, counts = np.unique(events.addresses, return_counts=True)
        facts["active"], facts["of"] = len(active), events.size
        if not events.polarities:
            facts["busiest"] = [int(active[n]) for n in _busiest(counts)]
    else:
        facts["positions"] = len(values)
        if shape.tick:
            facts["seconds"] = len(values) * shape.tick
        if kind == "spikes":
            counts = values.reshape(len(values), -1).sum(0)
            facts |= {"rate": float(counts.sum() / values.size), "busiest": _busiest(counts), "of": len(counts)}
        elif kind != "tokens" and values.size:
            facts |= {
                "least": float(values.min()),
                "mean": float(values.mean(dtype=float)),
                "most": float(values.max()),
            }
    return {"kind": kind, **facts}


def _busiest(counts: NDArray[Any]) -> list[int]:
    order = np.argsort(-counts, kind="stable")[:_BUSIEST]
    return [int(n) for n in order if counts[n] > 0]


def _step_facts(steps: Steps) -> dict[str, Any]:
    facts: dict[str, Any] = {"steps": len(steps.valid), "counted": int(steps.valid.sum())}
    for name, values in (("target", steps.target), ("answer", steps.answer)):
        if values is not None:
            facts[name] = [value if here else None for value, here in zip(values.tolist(), steps.valid, strict=True)]
    if steps.predicted is not None:
        facts["predicted"] = np.round(steps.predicted, 4).tolist()
    if steps.target.ndim == 1:
        true = steps.target[steps.valid]
        counts = np.bincount(true, minlength=len(steps.outputs))
        facts["classes"] = _by_name(counts, steps.outputs)
        if steps.answer is not None:
            right = steps.answer[steps.valid] == true
            facts["right"] = int(right.sum())
            wrong = np.bincount(true[~right], minlength=len(steps.outputs))
            facts["wrong"] = _by_name(wrong, steps.outputs)
    return facts


def _by_name(counts: NDArray[Any], outputs: Sequence[str]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(outputs, counts, strict=True) if count}


def signal_words(facts: Mapping[str, Any]) -> str:
    """The numbers of a signal as a sentence's part."""
    seconds = facts.get("seconds")
    lasting = "" if seconds is None else f" in {seconds:.3g} s"
    if facts["kind"] == "events":
        if not facts["events"]:
            return "no events"
        parts = [f"{facts['events']:,} events{lasting}"]
        if facts.get("brighter") is not None:
            parts.append(f"{facts['brighter']:.0%} brighter")
        else:
            parts.append(f"{facts['active']:,} of {facts['of']:,} channels active{_most(facts)}")
        return ", ".join(parts)
    positions = f"{facts['positions']:,} position{'s' if facts['positions'] != 1 else ''}{lasting}"
    if facts["kind"] == "spikes":
        return f"{positions} of {facts['of']:,} spike trains, rate {facts['rate']:.1%}{_most(facts)}"
    if "least" in facts:
        least, mean, most = (_number(facts[name]) for name in ("least", "mean", "most"))
        return f"{positions}, values from {least} to {most}, mean {mean}"
    return positions


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _most(facts: Mapping[str, Any]) -> str:
    return f", most in {', '.join(map(str, facts['busiest']))}" if facts["busiest"] else ""


def step_words(facts: Mapping[str, Any]) -> str:
    counted = facts["counted"]
    parts = [f"{counted:,} of {facts['steps']:,} steps count"]
    if classes := facts.get("classes"):
        parts.append(", ".join(f"{name} {n / counted:.0%}" for name, n in list(classes.items())[:NAMED]))
    if "right" in facts and counted:
        parts.append(f"the model is right in {facts['right'] / counted:.0%}")
    return "; ".join(parts)
