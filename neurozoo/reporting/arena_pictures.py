"""An arena's pictures: the ranking with its intervals, and scores against costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from neurozoo.reporting.figures import COLOURS, INK, as_svg, bars, figure_class, literal, name_axes
from neurozoo.reporting.page import Gallery, Picture
from neurozoo.studies.arena.choosing import ONE
from neurozoo.studies.arena.result import ArenaResult, RowResult, estimate

__all__ = ["cost_picture", "ranking_picture", "robustness_picture"]

_FAMILIES = ("spiking", "without spikes", "floor")
_COSTS = {"operations": "operations a sample", "milliseconds": "milliseconds a sample alone"}


def ranking_picture(result: ArenaResult) -> Gallery:
    """Draw each row's score with both intervals, the best at the top."""
    title, rows = result.titles[result.ranking], result.rows
    figure = figure_class()(figsize=(9.0, 1.0 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        colour = _colour(row)
        found, groups = estimate(row.test[ONE].get(result.ranking, ())), row.resampled[result.ranking]
        axes.plot([groups.low, groups.high], [place, place], color=colour, linewidth=1.0, alpha=0.6)
        if math.isfinite(found.half_width):
            ends = [found.mean - found.half_width, found.mean + found.half_width]
            axes.plot(ends, [place, place], color=colour, linewidth=4.0, alpha=0.5)
        axes.plot([found.mean], [place], color=colour, marker="o", markersize=5)
    axes.set_yticks(range(len(rows)), [literal(row.name) for row in rows])
    axes.invert_yaxis()
    name_axes(axes, literal(f"{title} on test"), "")
    svg = as_svg(figure, [axes], f"{title} of each row on test, with intervals", legend=False)
    caption = "Dots: means over seeds. Thick lines: their 95 % intervals; thin ones: over resampled groups of test."
    return Gallery("The ranking", [Picture("", svg)], caption, _key(rows))


def cost_picture(result: ArenaResult, fronts: Mapping[str, Sequence[str]]) -> list[Gallery]:
    """Draw scores against operations and against milliseconds, with the front; nothing if nothing was counted."""
    pictures = []
    for cost, along in _COSTS.items():
        rows = [row for row in result.trained if math.isfinite(_cost(row, cost)) and _cost(row, cost) > 0]
        if rows:
            pictures.append(Picture(along, _scatter(result, rows, cost, along, fronts[cost])))
    if not pictures:
        return []
    caption = "Each dot is a row, the mean over seeds. The line joins the rows that no other beats in both."
    return [Gallery("What an answer costs at which score", pictures, caption, _key(result.trained))]


def robustness_picture(result: ArenaResult) -> list[Gallery]:
    """Draw scores on corrupted samples, of the best row with controls and of those; of the best row if none has any."""
    bases = [row for row in result.trained if any(each.control_of == row.name for each in result.trained)]
    base = (bases or result.trained)[0]
    if not base.corrupted:
        return []
    rows = [base, *(each for each in result.trained if each.control_of == base.name)][: len(COLOURS)]
    title, metric = result.titles[result.ranking], result.ranking
    series = {
        row.name: [row.mean(metric), *(estimate(by.get(metric, ())).mean for by in row.corrupted.values())]
        for row in rows
    }
    svg = bars(
        ["clean", *base.corrupted],
        series,
        unit=f"{title} on test",
        label=f"{title} on corrupted test samples",
        legend=False,
    )
    key = [(COLOURS[place], name) for place, name in enumerate(series)]
    return [Gallery("Robustness", [Picture("", svg)], "Means over seeds; all rows see the same corruptions.", key)]


def _scatter(result: ArenaResult, rows: Sequence[RowResult], cost: str, along: str, front: Sequence[str]) -> str:
    title = result.titles[result.ranking]
    figure = figure_class()(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    points = sorted((_cost(row, cost), row.mean(result.ranking)) for row in rows if row.name in front)
    axes.plot(*zip(*points, strict=True), color=INK, linewidth=0.8, linestyle="--")
    for row in rows:
        x, found = _cost(row, cost), estimate(row.test[ONE][result.ranking])
        if math.isfinite(found.half_width):
            ends = [found.mean - found.half_width, found.mean + found.half_width]
            axes.plot([x, x], ends, color=_colour(row), linewidth=1.0, alpha=0.6)
        axes.plot([x], [found.mean], color=_colour(row), marker="o", markersize=5)
        axes.annotate(
            literal(row.name), (x, found.mean), xytext=(4, 3), textcoords="offset points", fontsize=7, color=INK
        )
    axes.set_xscale("log")
    name_axes(axes, literal(along), literal(f"{title} on test"))
    return as_svg(figure, [axes], f"{title} against {along}", legend=False)


def _cost(row: RowResult, cost: str) -> float:
    return row.operations if cost == "operations" else row.milliseconds


def _colour(row: RowResult) -> str:
    return COLOURS[_FAMILIES.index(row.family)] if row.family != "floor" else COLOURS[5]


def _key(rows: Sequence[RowResult]) -> list[tuple[str, str]]:
    colours = {row.family: _colour(row) for row in rows}
    return [(colours[family], family) for family in _FAMILIES if family in colours]
