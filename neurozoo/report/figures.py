"""Drawings for :mod:`neurozoo.report.page`, by matplotlib, which is the extra ``plots``."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from neurozoo.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bars", "heat_map", "steps"]

COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#6b7280")
"""Mid-tones, which stand out from white and from black."""

_INK = "#010203"
"""What is drawn in this colour takes on the page's own colour of text."""


def bars(
    names: Sequence[str], series: Mapping[str, Sequence[float]], *, unit: str, label: str, percent: bool = False
) -> str:
    """Lying bars, a group for each name and a colour for each series, as ``<svg>``.

    Args:
        names: What the groups are, from top to bottom.
        series: A value for each name, by what the series is.
        unit: What the values are; the axis says it.
        label: What is seen, for who cannot see it.
        percent: Whether the values are fractions, to be shown as percentages.
    """
    figure, axes = _figure(7.5, 1.2 + len(names) * max(0.32, 0.16 * len(series)))
    thickness = 0.8 / len(series)
    for place, (name, values) in enumerate(series.items()):
        at = [group + (place - (len(series) - 1) / 2) * thickness for group in range(len(names))]
        axes.barh(at, list(values), thickness * 0.9, label=name, color=COLOURS[place % len(COLOURS)])
    axes.set_yticks(range(len(names)), list(names))
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    if percent:
        axes.xaxis.set_major_formatter("{x:.0%}")
    return _svg(figure, axes, label)


def steps(series: Mapping[str, Sequence[float]], *, along: str, unit: str, label: str) -> str:
    """Lines over whole numbers from 0, as ``<svg>``; see :func:`bars`."""
    figure, axes = _figure(7.5, 2.6)
    for place, (name, values) in enumerate(series.items()):
        edges = [length - 0.5 for length in range(len(values) + 1)]
        axes.stairs(values, edges, label=name, color=COLOURS[place % len(COLOURS)], linewidth=1.5)
    axes.set_xlabel(along)
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter("{x:.0%}")
    return _svg(figure, axes, label)


def heat_map(names: Sequence[str], fractions: Sequence[Sequence[float]], *, label: str) -> str:
    """A square of fractions from 0 to 1 by row and column, as ``<svg>``; up to 12 names have them as numbers too."""
    from math import sqrt

    size = 1.6 + 0.55 * min(len(names), 24)
    figure, axes = _figure(size + 1, size)
    opaque = [[(0.23, 0.51, 0.96, sqrt(value)) for value in row] for row in fractions]
    axes.imshow(opaque, aspect="auto")
    axes.set_xticks(range(len(names)), list(names), rotation=45, ha="right")
    axes.set_yticks(range(len(names)), list(names))
    if len(names) <= 12:
        for i, row in enumerate(fractions):
            for j, value in enumerate(row):
                axes.text(j, i, f"{value:.0%}", ha="center", va="center", color=_INK, fontsize=8)
    return _svg(figure, axes, label)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A drawing of so many inches; no window and no global state is used.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "pictures need matplotlib, which is not installed; `pip install 'neurozoo[plots]'`, or leave out --html"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, axes: Axes, label: str) -> str:
    """The drawing without a background and without what makes it another each time."""
    import matplotlib

    axes.spines[["top", "right"]].set_visible(False)
    handles, _ = axes.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(loc="outside upper right", ncols=len(handles), frameon=False, labelcolor=_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    axes.tick_params(colors=_INK)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(_INK)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": label, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = file.getvalue().replace(_INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    # Several drawings of a page must not share the names of their parts.
    prefix = re.sub(r"[^a-z0-9]+", "-", label.lower())
    drawn = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", drawn)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1).strip()
