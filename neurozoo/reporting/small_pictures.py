"""Small drawings for Markdown pages, as SVG files of a few kB: no scripts, and the same bytes with any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from neurozoo.files.text import printable
from neurozoo.reporting.figures import COLOURS
from neurozoo.reporting.tables import short_count

__all__ = ["DrawnPart", "confusion_picture", "network_picture", "rates_picture"]

_BLUE, _ORANGE, _GREEN, *_ = COLOURS
_GREY = "#808080"
"""The page's own text colour cannot be used: these pictures are files, which inherit none."""
_SIDE, _MARGIN, _LINE = 200, 90, 16
_SHADES = 8
_BARS = 12
_PARTS = 16


@dataclass(frozen=True)
class DrawnPart:
    """A part of a network, for its drawing.

    Attributes:
        name: Its dotted name.
        additions: Accumulations that spikes cause, a sample.
        multiplications: Multiplications with accumulation, a sample.
        neurons: Whether it is a layer of neurons.
        rate: Spikes a step of its neurons, from 0 to 1; None if it has none, or they do not fire.
    """

    name: str
    additions: float
    multiplications: float
    neurons: bool = False
    rate: float | None = None


def confusion_picture(outputs: Sequence[str], counts: Sequence[Sequence[int]], label: str) -> str:
    """Draw how often a class (row) is taken for which class (column, in the same order), as shares of the row.

    Args:
        outputs: Names of the K classes.
        counts: ``[K, K]`` by target and prediction.
        label: The text alternative.
    """
    k = len(outputs)
    cell = _SIDE / k
    shades: dict[tuple[str, int], list[str]] = {}
    for row, line in enumerate(counts):
        present = max(sum(line), 1)
        for column, count in enumerate(line):
            shade = round(_SHADES * (count / present) ** 0.5)  # small shares are the errors, and would not be seen
            if shade:
                place = f"M{_MARGIN + column * cell:.4g} {2 + row * cell:.4g}h{cell:.4g}v{cell:.4g}h-{cell:.4g}z"
                shades.setdefault((_BLUE if row == column else _ORANGE, shade), []).append(place)
    drawn = [
        f'<path fill="{colour}" fill-opacity="{shade / _SHADES:g}" d="{"".join(places)}"/>'
        for (colour, shade), places in sorted(shades.items())
    ]
    frame = f'<path fill="none" stroke="{_GREY}" d="M{_MARGIN} 2h{_SIDE}v{_SIDE}h-{_SIDE}z"/>'
    size = min(11.0, cell)
    names = [
        _text(_MARGIN - 4, 2 + (row + 0.5) * cell + size / 3, _cut(name, 14), "end", size)
        for row, name in enumerate(outputs)
        if cell >= 5
    ]
    return _svg(_MARGIN + _SIDE + 4, _SIDE + 6, label, [*drawn, frame, *names])


def rates_picture(rates: Mapping[str, float | None], label: str) -> str:
    """Draw the firing rate of each layer, in percent of the steps; silent ones have no bar. The first 12 are shown.

    Args:
        rates: Spikes a step by layer, from 0 to 1; None where it was not measured.
        label: The text alternative.
    """
    shown = list(rates.items())[:_BARS]
    largest = max([rate for _, rate in shown if rate is not None], default=0.0) or 1.0
    width, drawn = _MARGIN + _SIDE + 4, []
    for place, (name, rate) in enumerate(shown):
        top = 2 + 2 * _LINE * place
        share = "-" if rate is None else f"{rate:.1%}"
        drawn.append(_text(2, top + 11, _cut(name, 36), "start", 11))
        drawn.append(_text(width - 2, top + 11, share, "end", 11))
        length = (width - 4) * (rate or 0.0) / largest
        drawn.append(f'<path fill="{_BLUE}" d="M2 {top + _LINE}h{length:.4g}v8h-{length:.4g}z"/>')
    return _svg(width, 2 * _LINE * max(len(shown), 1) + 4, label, drawn)


def network_picture(inputs: Sequence[str], parts: Sequence[DrawnPart], outputs: str, label: str) -> str:
    """Draw a network from above: its inputs, its parts in their order, its outputs. The first 16 parts are shown.

    Synapses have bars of their operations, in units of the largest; neurons a bar of their rate, a full one for a spike
    at each step.

    Args:
        inputs: Each signal in words.
        parts: In the order of their definition.
        outputs: What the network answers, in words.
        label: The text alternative.
    """
    rows = parts if len(parts) <= _PARTS else parts[: _PARTS - 1]
    largest = max([each.additions + each.multiplications for each in parts], default=0.0) or 1.0
    width, row, bar = _MARGIN + _SIDE + 4, 26, 96
    left = width - bar - 46
    drawn, top = [], 2.0
    for words in inputs:
        drawn += _box(top, width, _cut(words, 44), _GREY, 0.12)
        top += row
    for each in rows:
        colour = _GREEN if each.neurons else _BLUE
        drawn += _box(top, left - 6, _cut(each.name, 22), colour, 0.2 if each.neurons else 0.0)
        if each.neurons:
            lengths = [(colour, bar * (each.rate or 0.0))]
            shown = "no spikes" if each.rate is None else f"{each.rate:.1%}"
        else:
            counts = ((_BLUE, each.additions), (_ORANGE, each.multiplications))
            lengths = [(colour, bar * count / largest) for colour, count in counts]
            shown = short_count(each.additions + each.multiplications)
        place = float(left)
        for colour, length in lengths:
            if length:
                drawn.append(f'<path fill="{colour}" d="M{place:.4g} {top + 6:.4g}h{length:.4g}v9h-{length:.4g}z"/>')
            place += length
        drawn.append(_text(width - 2, top + 14.5, shown, "end", 10))
        top += row
    if len(rows) < len(parts):
        drawn.append(_text(8, top + 14, f"and {len(parts) - len(rows)} more parts", "start", 11))
        top += row
    drawn += _box(top, width, _cut(outputs, 44), _GREY, 0.12)
    return _svg(width, top + row, label, drawn)


def _box(top: float, width: float, words: str, colour: str, opacity: float) -> list[str]:
    """A row's frame, 22 high, with words."""
    frame = f"M6 {top:.4g}h{width - 12:.4g}q4 0 4 4v13q0 4 -4 4h-{width - 12:.4g}q-4 0 -4 -4v-13q0 -4 4 -4z"
    path = f'<path fill="{colour}" fill-opacity="{opacity:g}" stroke="{colour}" d="{frame}"/>'
    return [path, _text(8, top + 14.5, words, "start", 11)]


def _cut(name: str, signs: int) -> str:
    return name if len(name) <= signs else f"…{name[1 - signs :]}"


def _text(x: float, y: float, text: str, anchor: str, size: float) -> str:
    words = escape(printable(text))
    return f'<text x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}" font-size="{size:.3g}" fill="{_GREY}">{words}</text>'


def _svg(width: float, height: float, label: str, content: Sequence[str]) -> str:
    name = escape(printable(label), quote=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
    head += f'height="{height:g}" role="img" aria-label="{name}" font-family="sans-serif">'
    return "\n".join([head, f"<title>{name}</title>", *content, "</svg>", ""])
