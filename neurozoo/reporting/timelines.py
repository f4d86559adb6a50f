"""Pictures along time: rasters, spectrograms, curves and bands of classes below one another, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.reporting.figures import INK, Line, as_svg, draw_lines, figure_class, literal, name_axes, rgb_of
from neurozoo.reporting.pixels import evenly, pooled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLUMNS", "ROWS", "Band", "Curves", "Grid", "Strip", "timeline"]

COLUMNS = 300
"""Most columns of a grid; a phone shows no more, and more of them make a page large."""
ROWS = 96
"""Most rows of a grid; a strip is about as many pixels high."""
_LEVELS = 15
"""Shades of a grid; few, so that the picture is a small file."""
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 4.6, 0.74, 0.14, 0.08, 0.42, 0.09
"""In inches; as wide as a phone can show."""
_NAMED = 0.09
"""Share of the width that a part of a band has to have to show its name."""


@dataclass(frozen=True)
class Grid:
    """A picture of channels over time.

    Attributes:
        values: ``[N, S]``, channel 0 at the bottom: counts of spikes or events, or real numbers.
        name: What the channels are of.
        counts: Whether values are counts, 0 of which leaves the page's ground; else they have a scale of colours.
        ends: Where it begins and ends on the axis.
        channels: How many channels the rows are of.
    """

    values: NDArray[Any]
    name: str
    counts: bool
    ends: tuple[float, float]
    channels: int


@dataclass(frozen=True)
class Curves:
    """Lines over time.

    Attributes:
        lines: From back to front, x in units of the axis.
        name: Name and unit of y.
        fractions: Whether y is between 0 and 1.
    """

    lines: Sequence[Line]
    name: str
    fractions: bool = False


@dataclass(frozen=True)
class Band:
    """The class of each step, as a coloured band with names.

    Attributes:
        classes: ``[S]`` numbers of classes; -1 for none.
        names: Of the classes.
        name: Whose classes these are.
        ends: Where it begins and ends on the axis.
    """

    classes: NDArray[np.int64]
    names: Sequence[str]
    name: str
    ends: tuple[float, float]


Strip = Grid | Curves | Band
_HEIGHTS = {Grid: 1.15, Curves: 0.85, Band: 0.24}


def timeline(
    strips: Sequence[Strip],
    *,
    span: tuple[float, float],
    along: str,
    label: str,
    whole: bool = False,
    coarse: int = 1,
) -> str:
    """Draw strips from top to bottom over one axis, as ``<svg>``.

    Args:
        strips: At least one.
        span: Where the axis begins and ends.
        along: Its name and unit.
        label: The text alternative.
        whole: Whether the axis has whole ticks alone.
        coarse: By how much fewer rows and columns grids have, for a smaller file.
    """
    heights = [_HEIGHTS[type(strip)] for strip in strips]
    height = sum(heights) + _GAP * (len(strips) - 1) + _TOP + _BOTTOM
    figure = figure_class()(figsize=(_WIDTH, height))
    from matplotlib.ticker import MaxNLocator

    panels, top = [], height - _TOP
    for strip, tall in zip(strips, heights, strict=True):
        place = (_LEFT / _WIDTH, (top - tall) / height, 1 - (_LEFT + _RIGHT) / _WIDTH, tall / height)
        axes = figure.add_axes(place)
        top -= tall + _GAP
        panels.append(axes)
        if isinstance(strip, Grid):
            _draw_grid(axes, strip, coarse)
        elif isinstance(strip, Band):
            _draw_band(axes, strip, span)
        else:
            draw_lines(axes, strip.lines)
            if strip.fractions:
                axes.set_ylim(-0.04, 1.04)
        axes.set_xlim(*span)
        name_axes(axes, "", "" if isinstance(strip, Band) else literal(_short(strip.name)))
        axes.yaxis.set_label_coords(-0.155, 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
        if not isinstance(strip, Band):
            axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=isinstance(strip, Grid)))
        if axes is not panels[0] or len(strips) > 1:
            axes.tick_params(labelbottom=False, bottom=False)
    panels[-1].tick_params(labelbottom=True, bottom=True)
    panels[-1].set_xlabel(literal(along), fontsize=8)
    return as_svg(figure, panels, label, legend=False)


def _fewer(values: NDArray[Any], coarse: int, *, counts: bool) -> NDArray[np.float64]:
    """Merge neighbours of ``[N, S]`` until it has at most 96 rows and 300 columns, or ``coarse`` times fewer.

    Counts are added up, real numbers averaged.
    """
    x = values.astype(np.float64)
    for axis, most in enumerate((ROWS // coarse, COLUMNS // coarse)):
        size = x.shape[axis]
        if size > most:
            x = pooled(x, np.linspace(0, size, most + 1).astype(int)[:-1], axis, mean=not counts)
    return x


def _draw_grid(axes: Axes, strip: Grid, coarse: int) -> None:
    from matplotlib import colormaps

    x = np.nan_to_num(_fewer(strip.values, coarse, counts=strip.counts))
    pixels = np.zeros((*x.shape, 4), np.uint8)
    if strip.counts:
        levels = _levels(x, 0.0, x.max(initial=0.0))
        # One spike among many has to be seen, so that the lightest shade is no light one.
        shades = np.where(levels > 0, 0.35 + 0.65 * np.sqrt(levels / _LEVELS), 0.0)
        pixels[..., :3], pixels[..., 3] = rgb_of(0), np.round(255 * shades)
    else:
        low, high = np.percentile(x, [1, 99]) if x.size else (0.0, 0.0)
        pixels = np.round(255 * colormaps["viridis"](_levels(x, low, high) / _LEVELS)).astype(np.uint8)
    _draw_pixels(axes, pixels, (*strip.ends, 0, strip.channels))


def _draw_pixels(axes: Axes, pixels: NDArray[np.uint8], extent: tuple[float, float, float, float]) -> None:
    """Draw ``[N, S, 4]``, row 0 at the bottom, a pixel a value, which the browser scales; nothing of nothing."""
    axes.set_ylim(extent[2], extent[3])
    if pixels.size and extent[1] > extent[0]:
        axes.imshow(pixels, aspect="auto", interpolation="none", extent=extent, origin="lower")


def _levels(x: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Whole numbers from 0 to the number of shades; more than ``low`` is never the lowest."""
    return np.ceil(_LEVELS * np.clip((x - low) / max(high - low, 1e-30), 0, 1))


def _draw_band(axes: Axes, strip: Band, span: tuple[float, float]) -> None:
    shown = strip.classes[evenly(len(strip.classes), 2 * COLUMNS)]
    colours = np.array([[*rgb_of(k), 150] for k in range(max(len(strip.names), 1))], np.uint8)
    pixels = np.where((shown >= 0)[:, None], colours[np.maximum(shown, 0)], 0).astype(np.uint8)
    begin, end = strip.ends
    _draw_pixels(axes, pixels[None], (begin, end, 0, 1))
    axes.set_yticks([0.5], [literal(_short(strip.name))])
    axes.tick_params(axis="y", left=False)
    cuts = [0, *(np.flatnonzero(np.diff(shown)) + 1).tolist(), len(shown)]
    unit = (end - begin) / max(len(shown), 1)
    for start, stop in pairwise(cuts):
        wide = (stop - start) * unit / (span[1] - span[0])
        if stop > start and shown[start] >= 0 and wide > _NAMED:
            name = _short(strip.names[shown[start]], max(3, int(55 * wide)))
            middle = begin + (start + stop) / 2 * unit
            axes.text(middle, 0.47, literal(name), ha="center", va="center", fontsize=7, color=INK)


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
