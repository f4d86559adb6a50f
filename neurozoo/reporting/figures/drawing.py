"""An empty drawing, and one as ``<svg>`` that fits any page: small, in the page's ink, the same each time."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from neurozoo.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "as_svg", "colour_of", "new_figure", "plain"]

COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#6b7280")
"""Mid-tones, which stand out from white and from black."""

INK = "#010203"
"""What is drawn in this colour takes on the page's own colour of text."""


def colour_of(place: int | None) -> str:
    """The colour of a series by its number from 0; of None the ink."""
    return INK if place is None else COLOURS[place % len(COLOURS)]


def plain(words: str) -> str:
    """Words of others, in which matplotlib would take what is between dollars for mathematics."""
    return words.replace("$", r"\$")


def new_figure(width: float, height: float, panels: int = 1, *, fitted: bool = True) -> tuple[Figure, Sequence[Axes]]:
    """A drawing of so many inches, with panels side by side; no window and no global state is used.

    Args:
        width: In inches.
        height: In inches.
        panels: How many.
        fitted: Whether the margins are made to fit what stands in them, which takes time.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "pictures need matplotlib, which is not installed; install it with: pip install 'neurozoo[plots]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained" if fitted else None)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def as_svg(figure: Figure, panels: Sequence[Axes], label: str, *, legend: bool = True) -> str:
    """The drawing without a background and without what makes it another each time.

    Args:
        figure: What is drawn.
        panels: Its axes.
        label: What is seen, for who cannot see it; no two of a page may have the same.
        legend: Whether several series that have names are told apart above the drawing.
    """
    import matplotlib

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
    drawn = _slim(file.getvalue().replace(INK, "currentColor"))
    # Several drawings of a page must not share the names of their parts.
    prefix = "d" + hashlib.sha256(label.encode()).hexdigest()[:8]
    drawn = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", drawn)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1).strip()


def _slim(svg: str) -> str:
    """Without what a page does not need, which is three quarters of what matplotlib writes."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    # With every word a list of all fonts; the page has its own. And words that stand upright anyway.
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    # The empty ground; and what a tick says of itself once more.
    svg = re.sub(r'<path d="[^"]*" style="fill: none"/>', "", svg)
    svg = svg.replace(' style="fill: currentColor; stroke: currentColor; stroke-width: 0.8"', "")
    svg = re.sub(r'(?<= d=")[^"]*', _path, svg)
    # In tags alone: between them stand words, which may be numbers.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{4,}", _thousandth, tag[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", _without_bare_groups(svg))


def _without_bare_groups(svg: str) -> str:
    """Without the groups that say nothing of what is in them."""
    said: list[bool] = []  # of each group that is open here

    def keep(tag: re.Match[str]) -> str:
        if tag[0] == "</g>":
            return tag[0] if said.pop() else ""
        said.append(tag[0] != "<g>")
        return tag[0] if said[-1] else ""

    return re.sub(r"<g(?: [^>]*)?>|</g>", keep, svg)


def _thousandth(number: re.Match[str]) -> str:
    return f"{float(number[0]):.3f}"


def _path(found: re.Match[str]) -> str:
    """A path's points to a tenth of a point, which is less than a pixel."""
    rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), found[0])
    return re.sub(r"\s*([A-Zz])\s*", r"\1", rounded.strip())
