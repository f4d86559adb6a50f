"""Lines over numbers, with bands and marks, in one panel or in two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from neurozoo.reporting.figures.drawing import as_svg, colour_of, new_figure, plain

__all__ = ["Line", "Panel", "lines"]

WIDTH, HEIGHT = 4.6, 2.4
"""In inches: as wide as can still be read on a phone."""


@dataclass(frozen=True)
class Line:
    """A line; None among its values is a gap.

    Attributes:
        x: Where its points are.
        y: How high.
        colour: Number of its colour; None for the ink.
        style: How it is drawn; ``marked`` has a dot at each point, ``stepped`` holds a value from the point before.
        band: The lower and the upper edge of an area around it.
    """

    x: Sequence[float]
    y: Sequence[float | None]
    colour: int | None = 0
    style: Literal["solid", "dashed", "dotted", "marked", "stepped"] = "solid"
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None


@dataclass(frozen=True)
class Panel:
    """Axes with lines.

    Attributes:
        lines: What is drawn.
        along: What x is, with its unit.
        unit: What y is, with its unit.
        fractions: Whether y is between 0 and 1, or x and y both are.
        counted: Whether x is a count, with whole ticks alone.
    """

    lines: Sequence[Line]
    along: str
    unit: str
    fractions: Literal["none", "y", "both"] = "none"
    counted: bool = False


def lines(panels: Sequence[Panel], *, label: str) -> str:
    """Panels side by side, as ``<svg>``; what the colours are is for the page to say.

    Args:
        panels: One or two.
        label: What is seen, for who cannot see it.
    """
    figure, drawn = new_figure(WIDTH, HEIGHT, len(panels), fitted=False)
    from matplotlib.ticker import MaxNLocator

    # By hand, as fitting takes longer than drawing: words of 8 points, numbers of up to six digits.
    figure.subplots_adjust(left=0.16, right=0.985, top=0.93, bottom=0.2, wspace=0.42)
    for axes, panel in zip(drawn, panels, strict=True):
        for line in panel.lines:
            colour, style = colour_of(line.colour), line.style
            y = [float("nan") if value is None else value for value in line.y]
            axes.plot(
                line.x,
                y,
                color=colour,
                linewidth=1.0 if style == "dotted" else 1.4,
                linestyle={"dashed": "--", "dotted": ":"}.get(style, "-"),
                marker="o" if style == "marked" or len(line.x) == 1 else "",
                markersize=3,
                drawstyle="steps-pre" if style == "stepped" else "default",
            )
            if line.band is not None:
                low, high = ([float("nan") if value is None else value for value in edge] for edge in line.band)
                axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set_xlabel(plain(panel.along), fontsize=8)
        axes.set_ylabel(plain(panel.unit), fontsize=8)
        axes.tick_params(labelsize=8)
        if panel.fractions != "none":
            axes.set_ylim(-0.02, 1.02)
        if panel.fractions == "both":
            axes.set_xlim(-0.02, 1.02)
        if panel.counted:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return as_svg(figure, drawn, label, legend=False)
