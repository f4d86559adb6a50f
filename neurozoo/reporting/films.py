"""Frames as a still and a moving picture, in one ``<svg>`` without scripts.

The frames of a film stand side by side in one PNG, which the page's style moves step by step behind a window; it holds
still for readers who have asked their device for less motion, and for those who tick the page's box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from neurozoo.files.text import printable
from neurozoo.reporting.figures import rgb_of
from neurozoo.reporting.page import FILM
from neurozoo.reporting.pixels import png_address, pooled

__all__ = ["FRAMES", "SIDE", "Film", "film_svg", "merged", "opaque", "two_sided"]

FRAMES = 16
"""Most frames of a film."""
SIDE = 128
"""Height and width of a still in pixels, at most; a film has half as many."""
_LEVELS = 8
"""Shades of each of two colours, 0 is none."""
_WIDTH = 440
"""Width of both pictures together, in pixels of the page."""


@dataclass(frozen=True)
class Film:
    """Pixels of a still picture and of a film.

    Attributes:
        still: ``[H, W]`` numbers of colours or, without those, grey; or ``[H, W, 3]`` red, green and blue; uint8.
        frames: ``[F, H, W]`` or ``[F, H, W, 3]``; empty if nothing moves.
        colours: ``[n, 4]`` uint8, the colours by number, with their opacity; None of bytes that are shown as they are.
    """

    still: NDArray[np.uint8]
    frames: NDArray[np.uint8]
    colours: NDArray[np.uint8] | None


def merged(count: int) -> list[tuple[int, int]]:
    """Return which of ``count`` frames become each of the frames of a film, as first and last + 1."""
    edges = np.linspace(0, count, min(count, FRAMES) + 1).astype(int).tolist()
    return list(pairwise(edges))


def two_sided(still: NDArray[np.float64], frames: NDArray[np.float64]) -> Film:
    """Make a film of two planes of numbers from 0 on: where the first is above 0 it is blue, the second amber.

    0 leaves the page's ground, so that both a white and a black one do.

    Args:
        still: ``[2, H, W]``.
        frames: ``[F, 2, H, W]``.
    """
    first, second = np.divmod(np.arange(_LEVELS**2), _LEVELS)
    # Pixels where both are nearly as strong still show which one is stronger.
    share = np.clip(2 * (first / np.maximum(first + second, 1))[:, None] - 0.5, 0, 1)
    rgb = share * np.array(rgb_of(0)) + (1 - share) * np.array(rgb_of(1))
    strongest = np.maximum(first, second) / (_LEVELS - 1)
    alpha = np.where(strongest > 0, 0.3 + 0.7 * strongest, 0.0)
    colours = np.round(np.concatenate([rgb, 255 * alpha[:, None]], axis=1)).astype(np.uint8)
    return Film(_numbered(_smaller(still, SIDE)), _numbered(_smaller(frames, SIDE // 2)), colours)


def opaque(still: NDArray[np.float64], frames: NDArray[np.float64]) -> Film:
    """Make a film of bytes: ``[H, W]`` and ``[F, H, W]`` in grey, or ``[3, H, W]`` and ``[F, 3, H, W]`` in colour."""
    small = _smaller(still, SIDE, mean=True), _smaller(frames, SIDE // 2, mean=True)
    one, several = (each.clip(0, 255).astype(np.uint8) for each in small)
    if still.ndim == 3:
        return Film(np.moveaxis(one, -3, -1), np.moveaxis(several, -3, -1), None)
    # 32 shades, so that the pictures are small files.
    kept = np.uint8(0xF8)
    return Film(one & kept, several & kept, None)


def _smaller(x: NDArray[np.float64], side: int, *, mean: bool = False) -> NDArray[np.float64]:
    """Merge pixels of ``[..., H, W]`` in squares until no side is longer than ``side``: sums, or means."""
    each = ceil(max(x.shape[-2:]) / side)
    for axis in (-2, -1) if each > 1 else ():
        x = pooled(x, np.arange(0, x.shape[axis], each), axis, mean=mean)
    return x


def _numbered(planes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the number of each pixel's colour, of planes ``[..., 2, H, W]``."""
    planes = np.nan_to_num(planes)
    some = planes[planes > 0]
    # A few hot pixels must not leave the rest in the dark.
    top = float(np.percentile(some, 98)) if some.size else 1.0
    levels = np.ceil((_LEVELS - 1) * np.sqrt(np.clip(planes / top, 0, 1))).astype(np.uint8)
    numbers: NDArray[np.uint8] = levels[..., 0, :, :] * np.uint8(_LEVELS) + levels[..., 1, :, :]
    return numbers


def film_svg(film: Film, *, room: int, label: str) -> str:
    """Draw the still and, right of it, the film, as one ``<svg>`` of at most ``room`` bytes; empty if it has none.

    A film too large shows every second frame, then every fourth, then only the still is left.

    Args:
        film: What to draw.
        room: In bytes.
        label: The text alternative.
    """
    frames = film.frames
    while True:
        drawn = _drawn(replace(film, frames=frames), label)
        if len(drawn) <= room:
            return drawn
        if not len(frames):
            return ""
        frames = frames[::2] if len(frames) > 4 else frames[:0]


def _drawn(film: Film, label: str) -> str:
    height, width = film.still.shape[:2]
    wide = round(_WIDTH * 0.48)
    tall = min(max(wide // 8, round(wide * height / width)), 2 * wide)  # of a line of pixels too
    box = f'viewBox="0 0 {width} {height}" width="{wide}" height="{tall}" preserveAspectRatio="none"'
    parts = [
        f'<svg {box}><image width="{width}" height="{height}" href="{png_address(film.still, film.colours)}"/></svg>'
    ]
    number = len(film.frames)
    if number:
        high, across = film.frames.shape[1:3]
        strip = np.concatenate(list(film.frames), axis=1)
        box = f'viewBox="0 0 {across} {high}" width="{wide}" height="{tall}" preserveAspectRatio="none"'
        image = f'width="{across * number}" height="{high}" href="{png_address(strip, film.colours)}"'
        lasting = f"--frames: {number}; --lasting: {max(1.2, 0.16 * number):.2f}s"
        parts.append(f'<svg x="{_WIDTH - wide}" {box}><image class="moving" style="{lasting}" {image}/></svg>')
    for x in (0, _WIDTH - wide)[: len(parts)]:
        inside = f'x="{x + 0.5}" y="0.5" width="{wide - 1}" height="{tall - 1}"'
        parts.append(f'<rect {inside} fill="none" stroke="currentColor" stroke-opacity="0.4"/>')
    size = f'width="{_WIDTH}" height="{tall}" viewBox="0 0 {_WIDTH} {tall}"'
    name = escape(printable(label), quote=True)
    return f'{FILM} role="img" aria-label="{name}" {size}>{"".join(parts)}</svg>'
