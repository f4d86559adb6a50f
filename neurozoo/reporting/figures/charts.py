"""Bars, and lines over whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neurozoo.reporting.figures.drawing import as_svg, colour_of, new_figure, plain

__all__ = ["bars", "steps"]


def bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    unit: str,
    label: str,
    percent: bool = False,
    width: float = 7.5,
    legend: bool = True,
) -> str:
    """Lying bars, a group for each name and a colour for each series, as ``<svg>``.

    Args:
        names: What the groups are, from top to bottom.
        series: A value for each name, by what the series is.
        unit: What the values are; the axis says it.
        label: What is seen, for who cannot see it.
        percent: Whether the values are fractions, to be shown as percentages.
        width: In inches.
        legend: Whether the drawing itself says what the colours are.
    """
    figure, (axes,) = new_figure(width, 1.2 + len(names) * max(0.32, 0.16 * len(series)))
    thickness = 0.8 / len(series)
    for place, (name, values) in enumerate(series.items()):
        at = [group + (place - (len(series) - 1) / 2) * thickness for group in range(len(names))]
        axes.barh(at, list(values), thickness * 0.9, label=plain(name), color=colour_of(place))
    axes.set_yticks(range(len(names)), list(map(plain, names)))
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    if percent:
        axes.xaxis.set_major_formatter("{x:.0%}")
    return as_svg(figure, [axes], label, legend=legend)


def steps(series: Mapping[str, Sequence[float]], *, along: str, unit: str, label: str) -> str:
    """Lines over whole numbers from 0, as ``<svg>``; see :func:`bars`."""
    figure, (axes,) = new_figure(7.5, 2.6)
    for place, (name, values) in enumerate(series.items()):
        edges = [length - 0.5 for length in range(len(values) + 1)]
        axes.stairs(values, edges, label=name, color=colour_of(place), linewidth=1.5)
    axes.set_xlabel(along)
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter("{x:.0%}")
    return as_svg(figure, [axes], label)
