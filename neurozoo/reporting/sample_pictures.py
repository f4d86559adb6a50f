"""Pictures of a sample: films of its frames and events, and everything else along time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.reporting.figures import COLOURS, Line
from neurozoo.reporting.films import FRAMES, SIDE, Film, film_svg, merged, opaque, two_sided
from neurozoo.reporting.page import Picture
from neurozoo.reporting.pixels import evenly
from neurozoo.reporting.samples import (
    NAMED,
    Sample,
    SampleEvents,
    Steps,
    kind_of,
    sample_facts,
    signal_words,
    step_words,
)
from neurozoo.reporting.timelines import COLUMNS, Band, Curves, Grid, Strip, timeline

__all__ = ["class_key", "sample_picture"]

_CURVES = 8
"""Up to so many real numbers of a position are drawn as lines, more as a picture with a colour each."""
_PICTURE = 32
"""Bytes of which none is as large are counts, and no brightness."""


def sample_picture(sample: Sample, *, room: int, colour: int = 0) -> tuple[Picture, int]:
    """Draw a sample: films of its frames, and everything else along time.

    Args:
        sample: What to draw.
        room: Bytes that the drawings may have together; larger ones become coarser or shorter, and are left out last.
        colour: Of what a model predicted.

    Returns:
        The picture, without drawings if nothing of the sample can be drawn, and how many drawings had no room.
    """
    facts = sample_facts(sample)
    films: list[tuple[Film, str]] = []
    captions: list[str] = []
    axes: dict[tuple[str, float], list[Strip]] = {}  # by unit and end; seconds are one axis for all
    end = _end_in_seconds(sample)
    for name, (values, shape) in sample.signals.items():
        words = f"{name}: {signal_words(facts['signals'][name])}"
        found = _film(values, shape)
        if found is not None:
            film, reading, moving = found
            label = f"{sample.title}; {words}{moving}; {reading}"
            films.append((film, label))
            words += f"{moving}; {reading}"
        elif (strip := _strip(name, values, shape)) is not None:
            axes.setdefault(("s", end) if shape.tick else _axis(values, shape), []).append(strip)
        captions.append(words)
    if sample.steps is not None:
        captions.append(step_words(facts["steps"]))
        unit, long = _axis_of_steps(sample, len(sample.steps.valid))
        strips = _step_strips(sample.steps, long / max(len(sample.steps.valid), 1), colour)
        axes.setdefault((unit, end if unit == "s" else long), []).extend(strips)
    timelines = []
    for number, ((unit, end), strips) in enumerate(axes.items()):
        label = f"{sample.title}; along {'time' if unit == 's' else 'the positions'}: {'; '.join(captions)}"
        label += f" (picture {number + 1})" if number else ""
        own = room // (len(axes) + (2 if films else 0))
        timelines.append(_timeline(strips, unit, end, label, own))
    left = room - sum(map(len, timelines))
    moving_pictures = [film_svg(film, room=left // len(films), label=label) for film, label in films]
    drawn = [*moving_pictures, *timelines]
    caption = "".join(f"{words}. " for words in captions).rstrip()
    return Picture(sample.title, "\n".join(filter(None, drawn)), caption), drawn.count("")


def _timeline(strips: Sequence[Strip], unit: str, end: float, label: str, room: int) -> str:
    """Draw strips as finely as there is room for; empty if there is none."""
    along = "position" if unit == "" else "time, seconds"
    for coarse in (1, 2, 4):
        svg = timeline(strips, span=(0.0, end or 1.0), along=along, label=label, whole=unit == "", coarse=coarse)
        if len(svg) <= room:
            return svg
    return ""


def class_key(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """The colours of classes per step, and their names; empty where two classes share a colour."""
    found = [each.steps for each in samples if each.steps is not None and each.steps.target.ndim == 1]
    if not found or len(found[0].outputs) > len(COLOURS):
        return []
    return list(zip(COLOURS, found[0].outputs, strict=False))


def _axis(values: NDArray[Any], shape: SignalShape) -> tuple[str, float]:
    """The unit of a signal's axis, seconds or none for positions, and where it ends."""
    if shape.sensor is not None:
        events = SampleEvents.of(values, shape)
        return ("s" if shape.tick else "", events.end * events.scale)
    return ("s" if shape.tick else "", len(values) * (shape.tick or 1.0))


def _end_in_seconds(sample: Sample) -> float:
    return max((_axis(*signal)[1] for signal in sample.signals.values() if signal[1].tick), default=0.0)


def _axis_of_steps(sample: Sample, steps: int) -> tuple[str, float]:
    """The axis of the first signal that has as many positions as there are steps."""
    for values, shape in sample.signals.values():
        if shape.sensor is None and len(values) == steps:
            return _axis(values, shape)
    return "", float(steps)


def _strip(name: str, values: NDArray[Any], shape: SignalShape) -> Strip | None:
    kind, ends = kind_of(values, shape), (0.0, _axis(values, shape)[1])
    if kind == "events":
        events = SampleEvents.of(values, shape)
        return Grid(events.raster(), f"{name}, channel", True, ends, events.size)
    if kind not in ("spikes", "values") or not values.size:
        return None
    flat = values.reshape(len(values), -1)
    channels = flat.shape[1]
    if kind == "spikes" or channels > _CURVES:
        return Grid(flat.T, f"{name}, channel", kind == "spikes", ends, channels)
    return Curves([_curve(flat[:, k], ends[1], k) for k in range(channels)], name)


def _curve(y: NDArray[Any], end: float, colour: int) -> Line:
    """A line; of more points than a phone shows the least and the most of each pixel, one after the other."""
    if len(y) <= 2 * COLUMNS:
        x = (np.arange(len(y)) + 0.5) * (end / len(y))
        return Line(x.tolist(), y.astype(float).tolist(), colour)
    starts = np.linspace(0, len(y), COLUMNS + 1).astype(int)[:-1]
    both = np.stack([np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)], axis=1).astype(float)
    x = np.repeat((np.arange(COLUMNS) + 0.5) * (end / COLUMNS), 2)
    return Line(x.tolist(), both.flatten().tolist(), colour)


def _step_strips(steps: Steps, scale: float, colour: int) -> list[Strip]:
    """Bands of classes, and lines of probabilities; or lines of quantities with their targets dashed."""
    ends = (0.0, len(steps.valid) * scale)
    x = (np.arange(len(steps.valid)) + 0.5) * scale
    thin = evenly(len(x), 2 * COLUMNS)

    def line(values: NDArray[Any], place: int | None, style: Any = "solid") -> Line:
        kept = [float(values[n]) if steps.valid[n] and np.isfinite(values[n]) else None for n in thin]
        return Line(x[thin].tolist(), kept, place, style)

    if steps.target.ndim > 1:
        strips: list[Strip] = []
        for k, name in enumerate(steps.outputs[:NAMED]):
            drawn = [line(steps.target[:, k], None, "dashed")]
            drawn += [] if steps.predicted is None else [line(steps.predicted[:, k], colour)]
            strips.append(Curves(drawn, name))
        return strips
    strips = [Band(np.where(steps.valid, steps.target, -1), steps.outputs, "true", ends)]
    if steps.answer is not None:
        strips.append(Band(np.where(steps.valid, steps.answer, -1), steps.outputs, "answer", ends))
    if steps.predicted is not None and steps.valid.any():
        most = np.argsort(-steps.predicted[steps.valid].max(0), kind="stable")[:NAMED]
        strips.append(Curves([line(steps.predicted[:, k], int(k)) for k in sorted(most)], "probability", True))
    return strips


def _film(values: NDArray[Any], shape: SignalShape) -> tuple[Film, str, str] | None:
    """A film of events of a camera or of frames, how to read it, and where things move, in words; else None."""
    kind = kind_of(values, shape)
    if kind == "events":
        events = SampleEvents.of(values, shape)
        if not events.polarities or not len(events.times):
            return None
        number = min(FRAMES, events.end)
        moving = events.planes(SIDE // 2, number)
        long = f"{events.end * events.scale / number:.2g} s" if shape.tick else f"{events.end / number:.3g} ticks"
        signs = "blue brighter, amber darker" if events.polarities == 2 else "blue where there are any"
        still, scale = events.planes(SIDE, 1)[0], max(events.sensor[-2:]) / max(moving.shape[-2:])
        reading = f"left all events, {signs}; right a film of {number} frames of {long}"
        return two_sided(still, moving), reading, _movement(moving.sum(1), scale)
    if kind != "frames" or not values.size:
        return None
    frames = values.reshape(len(values), -1, *values.shape[-2:])
    channels, bounds = frames.shape[1], merged(len(frames))
    parts = np.stack([frames[start:stop].mean(0, dtype=float) for start, stop in bounds])
    whole = np.average(parts, axis=0, weights=[stop - start for start, stop in bounds])
    moving = parts if len(frames) > 1 else parts[:0]
    if shape.dtype == "uint8" and channels in (1, 3) and frames.max() >= _PICTURE:
        film = opaque(whole[0] if channels == 1 else whole, moving[:, 0] if channels == 1 else moving)
        signs = ""
    elif channels == 2 and parts.min() >= 0:
        # The colours of events, of which polarity 1 is brighter.
        film, signs = two_sided(whole[::-1], moving[:, ::-1]), ", blue channel 1, amber channel 0"
    else:
        film = two_sided(_signed(whole.mean(0)), np.moveaxis(_signed(moving.mean(1)), 0, 1))
        of = f" of the mean of {channels} channels" if channels > 1 else ""
        signs = f"{of}, blue above 0" + (", amber below" if parts.min() < 0 else "")
    if not len(moving):
        return film, f"a picture{signs}" if signs else "a picture", ""
    reading = f"left the mean of all frames{signs}; right a film of {len(bounds)} frames"
    if shape.tick:
        reading += f" of {shape.tick * len(frames) / len(bounds):.2g} s"
    if len(bounds) < len(frames):
        reading += f", each the mean of about {len(frames) / len(bounds):.0f}"
    return film, reading, _movement(np.abs(moving).sum(1))


def _signed(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.maximum(x, 0), np.maximum(-x, 0)])


def _movement(frames: NDArray[np.float64], scale: float = 1.0) -> str:
    """Where the middle of what is seen is at the beginning and at the end, for those who cannot see it."""
    third = max(1, len(frames) // 3)
    ends = [_middle(frames[:third].sum(0)), _middle(frames[-third:].sum(0))]
    if None in ends or len(frames) < 2:
        return ""
    first, last = (f"x {each[1] * scale:.1f}, y {each[0] * scale:.1f}" for each in ends if each is not None)
    return f"; the middle goes from {first} to {last}"


def _middle(picture: NDArray[np.float64]) -> tuple[float, float] | None:
    total = picture.sum()
    if not np.isfinite(total) or total <= 0:
        return None
    y, x = picture.sum(1), picture.sum(0)
    return float((y * np.arange(len(y))).sum() / total), float((x * np.arange(len(x))).sum() / total)
