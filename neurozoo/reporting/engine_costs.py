"""What engines cost next to others: tables, a figure, and the part of a page that the command writes."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from neurozoo.bench.engine_sweep import AT, CrossingRate, EqualScore, FrameCost, Sweep, crossings
from neurozoo.bench.engines import GATED_ONNX, LEAST, EngineCost
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import UserError
from neurozoo.reporting.figures import Line, Panel, log_lines
from neurozoo.reporting.tables import Table, markdown

__all__ = ["crossing_sentences", "engines_table", "sweep_figure", "sweep_page", "sweep_tables", "with_part"]

BEGIN, END = "<!-- bench events: begin -->\n", "<!-- bench events: end -->\n"
"""Marks of the part that the command writes."""
GREY = "#7f7f7f"
"""Can be read on white and on black: a picture in a page of Markdown does not know the page's colour."""
GOAL_LIBRARY, GOAL_GATED, GOAL_FRAMES = 50, 25, 5
"""Times as long that others are wanted to take: with one sample at the width and rate of ``AT``; densely on frames."""
DENSE = "torch"
"""The backend whose convolution and neurons are torch's operations."""


def engines_table(costs: Sequence[EngineCost], title: str = "") -> Table:
    """Times of a step on engines and others, a row a size."""
    first = costs[0]
    names = list(first.microseconds)
    rows = [
        [
            f"{cost.neurons:,}", f"{100 * cost.rate:g} %", str(cost.batch),
            *_times(cost.microseconds, cost.ratios, names), f"{cost.row_bytes / 1000:,.0f}",
            _rate(cost.bytes_a_second), _rate(cost.copy_bytes),
        ]
        for cost in costs
    ]  # fmt: skip
    return Table(
        title or f"Microseconds of a step of recurrent LIF neurons on {first.inputs} spike trains",
        ["neurons", "rate", "batch", *names, "kB of rows", "GB/s of rows", "GB/s of a copy"],
        rows,
        [
            f"{first.threads} {'thread' if first.threads == 1 else 'threads'}; medians of runs that took turns, each "
            f"repeated for {1000 * LEAST:g} ms; in brackets, times as long as the fastest engine",
            "rate: spikes a step, of inputs and neurons; kB of rows: weights that the spikes of a step read",
            "GB/s of rows: these in the time of a step; of a copy: what a copy of all weights reads; it writes as much",
        ],
    )


def _times(times: dict[str, float], ratios: dict[str, float], names: Sequence[str]) -> list[str]:
    return [_time(times[name]) + (f" ({_ratio(ratios[name])}x)" if name in ratios else "") for name in names]


def _time(time: float) -> str:
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _rate(bytes_a_second: float | None) -> str:
    return "-" if not bytes_a_second else f"{bytes_a_second / 1e9:.3g}"


def sweep_tables(sweep: Sweep) -> list[Table]:
    """All measurements."""
    small, large = (sweep.along_rates(batch)[0].batch for batch in _batches(sweep))
    lines = {
        "A step against the firing rate, one sample, in microseconds": sweep.along_rates(small),
        f"A step against the firing rate, {large} samples at a time, in microseconds": sweep.along_rates(large),
        "A step against the width, one sample, in microseconds": sweep.along_widths(),
        "A step against the batch, in microseconds": sweep.along_batches(),
    }
    tables = [engines_table(costs, title) for title, costs in lines.items()]
    for place, costs in enumerate(lines.values()):
        ahead = _ahead({f"{c.neurons:,} neurons, {100 * c.rate:g} %, {c.batch} at a time": c.ratios for c in costs})
        tables[place] = replace(tables[place], notes=[*(() if place else tables[place].notes), *ahead])
    middle = next((c for c in sweep.along_rates(small) if c.rate == AT.rate), None)
    if middle is not None and middle.ratios:
        tables[0] = replace(tables[0], notes=[*tables[0].notes, _goals(middle)])
    found = [each for batch in (small, large) for each in crossings(sweep.along_rates(batch))]
    return [
        *tables, Table("Where they cross", notes=crossing_sentences(found)), _frames_table(sweep.frames),
        _equal_table(sweep.equal),
    ]  # fmt: skip


def _goals(cost: EngineCost) -> str:
    """The ratios at the size that has goals, in words."""
    parts = []
    if cost.libraries:
        fastest = min(cost.libraries, key=lambda name: cost.ratios[name])
        parts.append((f"{fastest}, the fastest spiking library,", cost.ratios[fastest], GOAL_LIBRARY))
    if GATED_ONNX in cost.ratios:
        parts.append((GATED_ONNX, cost.ratios[GATED_ONNX], GOAL_GATED))
    words = [
        f"{name} takes {_ratio(ratio)} times as long as the engine; the goal of {goal} is "
        + ("reached" if ratio >= goal else "missed")
        for name, ratio, goal in parts
    ]
    return f"At {cost.neurons} neurons and {100 * cost.rate:g} %, " + ", and ".join(words)


def _batches(sweep: Sweep) -> tuple[int, int]:
    several = [each.batch for each in sweep.costs]
    return min(several), max(several)


def crossing_sentences(found: Sequence[CrossingRate]) -> list[str]:
    """Where others become as fast as the engine, in words: a sentence for those that are the same."""
    together: dict[tuple[int, str], list[str]] = {}
    for each in found:
        together.setdefault((each.batch, _crossing(each)), []).append(each.name)
    return [
        f"{'One sample' if batch == 1 else f'{batch} samples'} at a time, the engine is "
        + words.format(names=_and(names))
        for (batch, words), names in together.items()
    ]


def _crossing(found: CrossingRate) -> str:
    if math.isinf(found.rate):
        return f"ahead of {{names}} up to {100 * found.most:g} %, the highest rate measured"
    if found.rate == 0:
        return f"behind {{names}} from {100 * found.least:g} % on, the lowest rate measured"
    return f"ahead of {{names}} below {100 * found.rate:.2g} %, and behind above"


def _and(names: Sequence[str]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1))


def _frames_table(frames: Sequence[FrameCost]) -> Table:
    first = frames[0]
    names = list(first.milliseconds)
    rows = [
        [f"{each.channels} to {each.outputs}", each.layout, *_times(each.milliseconds, each.ratios, names)]
        for each in frames
    ]
    notes = [
        "in memory: whether the pixels of a channel are next to each other, or the channels of a pixel",
        "backends run torch's dense convolution, and their own neurons",
    ]
    dense = [each.ratios[DENSE] for each in frames if DENSE in each.ratios]
    if dense:
        between = " to ".join(dict.fromkeys((_ratio(min(dense)), _ratio(max(dense)))))
        reached = "reached" if min(dense) >= GOAL_FRAMES else "missed"
        notes.append(f"{DENSE} takes {between} times as long as the engine; the goal of {GOAL_FRAMES} is {reached}")
    return Table(
        f"A frame of {first.side} x {first.side} of which {100 * first.active:g} % are not 0, in milliseconds: a 3 x 3 "
        "convolution and LIF neurons",
        ["channels", "in memory", *names],
        rows,
        [*notes, *_ahead({f"{each.channels} to {each.outputs}, {each.layout}": each.ratios for each in frames})],
    )


def _equal_table(equal: Sequence[EqualScore]) -> Table:
    names = list(equal[0].microseconds)
    rows = [
        [
            each.model, str(each.hidden), str(each.steps), f"{100 * each.rate:.2g} %", f"{100 * each.fired:.2g} %",
            *_times(each.microseconds, each.ratios, names),
        ]
        for each in equal
    ]  # fmt: skip
    return Table(
        "A sample in microseconds: trained models and gated nets of the same score",
        ["model", "gated units", "steps", "inputs", "neurons fire", *names],
        rows,
        [
            "the gated nets have the width of those that reach the same score, within the intervals of five seeds "
            "(docs/time.md)",
            f"one random sample with as many events as the data has. {SYNTHETIC_NOTICE}",
            *_ahead({each.model: each.ratios for each in equal}),
        ],
    )


def _ahead(ratios: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Where others are ahead of the engine: a sentence for each."""
    names = dict.fromkeys(name for each in ratios.values() for name in each)
    places = {name: [place for place, each in ratios.items() if each.get(name, math.inf) < 1] for name in names}
    return [f"{name} is ahead of the engine: {_and(where)}" for name, where in places.items() if where]


def sweep_figure(sweep: Sweep) -> str:
    """Times of a step against rate, width and batch, as ``<svg>`` for a file.

    Raises:
        UserError: matplotlib is not installed.
    """
    names = list(sweep.costs[0].microseconds)
    drawn: tuple[tuple[str, list[EngineCost], Callable[[EngineCost], float]], ...] = (
        ("spikes of a neuron in a step, %", sweep.along_rates(_batches(sweep)[0]), lambda c: 100 * c.rate),
        ("neurons", sweep.along_widths(), lambda c: c.neurons),
        ("samples at a time", sweep.along_batches(), lambda c: c.batch),
    )
    panels = [
        Panel(
            [
                Line(
                    [x(c) for c in costs], [c.microseconds[name] for c in costs], colour=place,
                    style="marked" if place < _COLOURS else "dashed",
                )
                for place, name in enumerate(names)
            ],
            along, "microseconds of a step",
        )
        for along, costs, x in drawn
    ]  # fmt: skip
    svg = log_lines(panels, names, label="time of a step on engines and others, against rate, width and batch")
    return svg.replace("currentColor", GREY) + "\n"


_COLOURS = 6


def sweep_page(sweep: Sweep, command: str, picture: str) -> str:
    """Return the part of the page that the command writes.

    Args:
        sweep: The measurements.
        command: Which wrote it.
        picture: The figure's file, relative to the page.
    """
    return (
        f"Written by `{command}` on {platform.system()} {platform.machine()}, {sweep.costs[0].threads} thread, medians "
        f"of {sweep.rounds}. Times are processor times, so that what else runs on the machine counts less.\n\n"
        f"![Time of a step against rate, width and batch]({picture})\n\n"
        + re.sub("^## ", "### ", markdown(sweep_tables(sweep)), flags=re.MULTILINE)
    )


def with_part(page: str | None, part: str, name: str) -> str:
    """Return a page with its part between the marks replaced; the part alone if there is no page.

    Raises:
        UserError: The page has not the two marks.
    """
    if page is None:
        return f"{BEGIN}{part}{END}"
    head, begun, rest = page.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise UserError(f"{name} has no lines {BEGIN.strip()} and {END.strip()}; add them, or give a new file")
    return f"{head}{BEGIN}\n{part}\n{END}{tail}"
