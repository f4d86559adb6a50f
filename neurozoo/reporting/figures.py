"""Drawings as ``<svg>``, by matplotlib, which is the extra ``plots``.

They are small, use the page's own text colour, and are the same bytes each time.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from math import nan, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from neurozoo.errors import UserError, install_extra
from neurozoo.files.text import printable
from neurozoo.reporting.pixels import indexed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "INK", "Line", "Panel", "as_svg", "bars", "draw_lines", "figure_class", "heat_map", "lines", "literal",
    "log_lines", "name_axes", "raster", "rgb_of", "steps",
]  # fmt: skip

COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#6b7280")
"""Mid-tones, which stand out from white and from black."""

INK = "#010203"
"""Replaced by the page's own text colour."""


def _colour_of(place: int | None) -> str:
    """The colour of a series by its number from 0; of None the ink."""
    return INK if place is None else COLOURS[place % len(COLOURS)]


def rgb_of(place: int) -> tuple[int, ...]:
    """The red, green and blue of a series, from 0 to 255."""
    return tuple(bytes.fromhex(_colour_of(place)[1:]))


def literal(text: str) -> str:
    """Text as it is: no mathematics between dollars, no control characters, which SVG cannot hold."""
    return printable(text).replace("\n", " ").replace("$", r"\$")


def figure_class() -> type[Figure]:
    """Import matplotlib whatever ``MPLBACKEND`` says: SVG needs no backend, and a notebook's may not be installed."""
    # Unset during the import: matplotlib refuses an unusable backend half-way and cannot be imported again after that.
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "pictures need matplotlib, which is not installed; install it with: " + install_extra("plots")
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):  # for code that draws with pyplot in this process
            matplotlib.rcParams["backend"] = backend
    return Figure


def _new_figure(width: float, height: float, panels: int = 1, *, fitted: bool = True) -> tuple[Figure, Sequence[Axes]]:
    """A drawing in inches; matplotlib computes its margins if ``fitted``, which takes longer than drawing."""
    figure = figure_class()(figsize=(width, height), layout="constrained" if fitted else None)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def as_svg(figure: Figure, panels: Sequence[Axes], label: str, *, legend: bool = True) -> str:
    """Serialise a drawing; its text alternative is unique within a page, as the ids of its parts derive from it."""
    import matplotlib

    label = printable(label)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        for spine in axes.spines.values():
            spine.set_color(INK)
        axes.tick_params(colors=INK)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            text.set_color(INK)
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_offset_text().set_color(INK)
    handles, _ = panels[0].get_legend_handles_labels()
    if legend and len(handles) > 1:
        figure.legend(loc="outside upper right", ncols=len(handles), frameon=False, labelcolor=INK)
    file = io.StringIO()
    with matplotlib.rc_context(
        {
            "svg.hashsalt": label,
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "image.composite_image": False,
            "path.simplify_threshold": 0.3,
        }
    ):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = re.sub(r"data:image/png;base64,[^\"]+", lambda found: indexed(re.sub(r"\s", "", found[0])), file.getvalue())
    drawn = _slim(drawn.replace(INK, "currentColor"))
    # Several drawings of a page must not share the names of their parts.
    prefix = "d" + hashlib.sha256(label.encode()).hexdigest()[:8]
    drawn = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", drawn)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1).strip()


def _slim(svg: str) -> str:
    """Drop what a page does not need: three quarters of matplotlib's output."""

    def path(found: re.Match[str]) -> str:
        rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), found[0])
        return re.sub(r"\s*([A-Zz])\s*", r"\1", rounded.strip())

    bare: list[bool] = []  # for each group that is open, whether it has no attributes

    def group(tag: re.Match[str]) -> str:
        if tag[0] != "</g>":
            bare.append(tag[0] == "<g>")
        return "" if (bare.pop() if tag[0] == "</g>" else bare[-1]) else tag[0]

    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    # Font lists, as the page has its own font; rotations by 0.
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    # The empty background; the style that ticks inherit anyway.
    svg = re.sub(r'<path d="[^"]*" style="fill: none"/>', "", svg)
    svg = svg.replace(' style="fill: currentColor; stroke: currentColor; stroke-width: 0.8"', "")
    # Points of paths to a tenth of a point, less than a pixel.
    svg = re.sub(r'(?<= d=")[^"]*', path, svg)
    # Only within tags: the text between them may be numbers.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{4,}", lambda n: f"{float(n[0]):.3f}", tag[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"<g(?: [^>]*)?>|</g>", group, svg))


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
    """Horizontal bars, a group for each name from top to bottom and a colour for each series, as ``<svg>``.

    The label is the text alternative. Fractions are shown as percentages with ``percent``; the width is in inches.
    """
    figure, (axes,) = _new_figure(width, 1.2 + len(names) * max(0.32, 0.16 * len(series)))
    thickness = 0.8 / len(series)
    for place, (name, values) in enumerate(series.items()):
        at = [group + (place - (len(series) - 1) / 2) * thickness for group in range(len(names))]
        axes.barh(at, list(values), thickness * 0.9, label=literal(name), color=_colour_of(place))
    axes.set_yticks(range(len(names)), list(map(literal, names)))
    axes.invert_yaxis()
    axes.set_xlabel(literal(unit))
    if percent:
        axes.xaxis.set_major_formatter("{x:.0%}")
    return as_svg(figure, [axes], label, legend=legend)


def steps(series: Mapping[str, Sequence[float]], *, along: str, unit: str, label: str, wide: int = 1) -> str:
    """Lines over whole numbers from 0, ``wide`` numbers a value, as ``<svg>``; see :func:`bars`."""
    figure, (axes,) = _new_figure(7.5, 2.6)
    for place, (name, values) in enumerate(series.items()):
        edges = [length * wide - 0.5 for length in range(len(values) + 1)]
        axes.stairs(values, edges, label=literal(name), color=_colour_of(place), linewidth=1.5)
    axes.set_xlabel(along)
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter("{x:.0%}")
    return as_svg(figure, [axes], label)


@dataclass(frozen=True)
class Line:
    """A line; None among its values is a gap.

    Attributes:
        x: Of its points.
        y: Of its points.
        colour: Number of its colour; None for the text colour.
        style: ``marked`` has a dot at each point, ``points`` are dots alone, ``spikes`` larger ones, ``stepped`` holds
            a value from the point before.
        band: The lower and the upper edge of an area around it.
    """

    x: Sequence[float]
    y: Sequence[float | None]
    colour: int | None = 0
    style: Literal["solid", "dashed", "dotted", "marked", "points", "spikes", "stepped"] = "solid"
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None


@dataclass(frozen=True)
class Panel:
    """Axes with lines.

    Attributes:
        lines: From back to front.
        along: Name and unit of x.
        unit: Name and unit of y.
        fractions: Whether y is between 0 and 1, or x and y both are.
        counted: Whether x is a count, with whole ticks alone.
    """

    lines: Sequence[Line]
    along: str
    unit: str
    fractions: Literal["none", "y", "both"] = "none"
    counted: bool = False


def lines(panels: Sequence[Panel], *, label: str) -> str:
    """One or two panels side by side, as ``<svg>``; the page names the colours. ``label`` is the text alternative."""
    figure, drawn = _new_figure(4.6, 2.4, len(panels), fitted=False)  # as wide as a phone can show
    from matplotlib.ticker import MaxNLocator

    # Room for words of 8 points and numbers of up to six digits.
    figure.subplots_adjust(left=0.16, right=0.985, top=0.93, bottom=0.2, wspace=0.42)
    for axes, panel in zip(drawn, panels, strict=True):
        draw_lines(axes, panel.lines)
        name_axes(axes, literal(panel.along), literal(panel.unit))
        if panel.fractions != "none":
            axes.set_ylim(-0.02, 1.02)
        if panel.fractions == "both":
            axes.set_xlim(-0.02, 1.02)
        if panel.counted:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return as_svg(figure, drawn, label, legend=False)


def log_lines(panels: Sequence[Panel], names: Sequence[str], *, label: str) -> str:
    """Panels side by side with both axes logarithmic, as ``<svg>``, and ticks at the points of the first line.

    ``names`` are those of the lines, for the legend: the n-th line of each panel is the same. ``label`` is the text
    alternative.
    """
    figure, drawn = _new_figure(10.0, 3.9, len(panels))
    for axes, panel in zip(drawn, panels, strict=True):
        draw_lines(axes, panel.lines)
        axes.set_xscale("log")
        axes.set_yscale("log")
        points = panel.lines[0].x
        axes.set_xticks(points, [f"{x:g}" for x in points])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        name_axes(axes, literal(panel.along), literal(panel.unit))
    figure.legend(
        drawn[0].get_lines(), list(map(literal, names)), loc="outside lower center", ncols=4, frameon=False,
        labelcolor=INK, fontsize=8,
    )  # fmt: skip
    return as_svg(figure, drawn, label, legend=False)


def draw_lines(axes: Axes, drawn: Sequence[Line]) -> None:
    """Draw lines with their bands, from back to front."""
    for line in drawn:
        colour, style = _colour_of(line.colour), line.style
        axes.plot(
            line.x,
            _with_gaps(line.y),
            color=colour,
            linewidth=1.0 if style == "dotted" else 1.4,
            linestyle={"dashed": "--", "dotted": ":", "points": "", "spikes": ""}.get(style, "-"),
            marker="o" if style in ("marked", "points", "spikes") or len(line.x) == 1 else "",
            markersize={"points": 2, "spikes": 4}.get(style, 3),
            drawstyle="steps-pre" if style == "stepped" else "default",
        )
        if line.band is not None:
            low, high = map(_with_gaps, line.band)
            axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    return [nan if value is None else value for value in values]


def name_axes(axes: Axes, along: str, unit: str) -> None:
    """Name both axes, in the small print of drawings as wide as a phone."""
    axes.set_xlabel(along, fontsize=8)
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(labelsize=8)


def heat_map(
    names: Sequence[str],
    fractions: Sequence[Sequence[float]],
    *,
    label: str,
    columns: Sequence[str] | None = None,
    width: float | None = None,
    colour: int = 0,
) -> str:
    """Fractions from 0 to 1 by row and column, as ``<svg>``; up to 12 columns have them as numbers too.

    The columns are named as the rows by default. The width is in inches, by default by the number of names; the colour
    is that of 1.
    """
    along = names if columns is None else columns
    size = 1.6 + 0.55 * min(len(along), 24)
    across = size + 1 if width is None else width
    height = 1.6 + 0.55 * min(len(names), 24) if width is None else 1.1 + (width - 1.6) / 14 * max(len(names), 4)
    figure, (axes,) = _new_figure(across, height)
    rgb = [part / 255 for part in rgb_of(colour)]
    # Never opaque, so that the numbers can be read in the page's text colour, black or white.
    shades = [[(*rgb, 0.75 * sqrt(max(value, 0.0))) for value in row] for row in fractions]
    axes.imshow(shades, aspect="auto", interpolation="none")
    text = 8 if width is None or len(along) <= 8 else 6.5
    axes.tick_params(labelsize=10 if width is None else 8 if len(names) <= 12 else 7)
    axes.set_xticks(range(len(along)), list(map(literal, along)), rotation=45, ha="right")
    axes.set_yticks(range(len(names)), list(map(literal, names)))
    if len(along) <= 12:
        for i, row in enumerate(fractions):
            for j, value in enumerate(row):
                axes.text(j, i, f"{value:.0%}", ha="center", va="center", color=INK, fontsize=text)
    return as_svg(figure, [axes], label)


def raster(spikes: NDArray[np.bool_], *, positions: float, along: str, unit: str, label: str, colour: int = 0) -> str:
    """A spike train a row, ``[N, S]``, as ``<svg>``; the S steps are so many ``positions`` of the axis long."""
    figure, (axes,) = _new_figure(4.6, 1.9, fitted=False)
    figure.subplots_adjust(left=0.13, right=0.98, top=0.96, bottom=0.27)
    pixels = np.zeros((*spikes.shape, 4), np.uint8)
    pixels[spikes] = [*rgb_of(colour), 255]
    # One pixel a step: the browser scales it.
    axes.imshow(pixels, aspect="auto", interpolation="none", extent=(0, positions, len(spikes), 0))
    name_axes(axes, along, unit)
    return as_svg(figure, [axes], label)
