"""Values by row and column: heat maps and spike rasters."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from neurozoo.reporting.figures.drawing import INK, as_svg, colour_of, new_figure, plain

__all__ = ["heat_map", "raster"]


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

    Args:
        names: Of the rows.
        fractions: By row and column.
        label: What is seen, for who cannot see it.
        columns: Their names, where they are not those of the rows.
        width: In inches; by default as the names need it.
        colour: Number of the colour that 1 has.
    """
    along = names if columns is None else columns
    size = 1.6 + 0.55 * min(len(along), 24)
    across = size + 1 if width is None else width
    height = 1.6 + 0.55 * min(len(names), 24) if width is None else 1.1 + (width - 1.6) / 14 * max(len(names), 4)
    figure, (axes,) = new_figure(across, height)
    red, green, blue = (int(colour_of(colour)[i : i + 2], 16) / 255 for i in (1, 3, 5))
    # Never quite opaque, so that the numbers can be read in the page's ink, be it black or white.
    opaque = [[(red, green, blue, 0.75 * sqrt(max(value, 0.0))) for value in row] for row in fractions]
    axes.imshow(opaque, aspect="auto", interpolation="none")
    text = 8 if width is None or len(along) <= 8 else 6.5
    axes.tick_params(labelsize=10 if width is None else 8 if len(names) <= 12 else 7)
    axes.set_xticks(range(len(along)), list(map(plain, along)), rotation=45, ha="right")
    axes.set_yticks(range(len(names)), list(map(plain, names)))
    if len(along) <= 12:
        for i, row in enumerate(fractions):
            for j, value in enumerate(row):
                axes.text(j, i, f"{value:.0%}", ha="center", va="center", color=INK, fontsize=text)
    return as_svg(figure, [axes], label)


def raster(spikes: NDArray[np.bool_], *, positions: float, along: str, unit: str, label: str, colour: int = 0) -> str:
    """A spike train a row, as ``<svg>``.

    Args:
        spikes: ``[N, S]``, whether a neuron fired in a step.
        positions: What the S steps are in units of the axis.
        along: What the axis is.
        unit: What the rows are.
        label: What is seen, for who cannot see it.
        colour: Number of the spikes' colour.
    """
    figure, (axes,) = new_figure(4.6, 1.9, fitted=False)
    figure.subplots_adjust(left=0.13, right=0.98, top=0.96, bottom=0.27)
    pixels = np.zeros((*spikes.shape, 4), np.uint8)
    pixels[spikes] = [*(int(colour_of(colour)[i : i + 2], 16) for i in (1, 3, 5)), 255]
    # As it is, one pixel a step: the reader's program makes it larger.
    axes.imshow(pixels, aspect="auto", interpolation="none", extent=(0, positions, len(spikes), 0))
    axes.tick_params(labelsize=8)
    axes.set_xlabel(along, fontsize=8)
    axes.set_ylabel(unit, fontsize=8)
    return as_svg(figure, [axes], label)
