"""An HTML page in one file: tables and pictures, light or dark as the reader's device, wide or on a phone.

It loads no other file and contains no script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape as escape_html

from neurozoo.files.text import printable
from neurozoo.reporting.tables import Table

__all__ = ["FILM", "Content", "Gallery", "Picture", "html_page", "section_of"]

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; overflow-wrap: anywhere; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: .5rem 0; }
figure { margin: 1rem 0; } figure > svg { height: auto; max-width: 100%; }
figcaption, .note { font-size: .9rem; opacity: .8; }
.table { overflow-wrap: normal; overflow-x: auto; }
.gallery { column-gap: 1.5rem; display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
.gallery figure { margin: .5rem 0; min-width: 0; } .gallery > :only-child { grid-column: 1 / -1; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; margin: .5rem 0; padding: 0; }
.key i { border-radius: .2rem; display: inline-block; height: .7rem; margin-right: .4rem; width: 1.4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .25rem .75rem; }
th, td { text-align: right; white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
td:not(:first-child) { white-space: normal; }
@media (max-width: 40rem) {
  .table { font-size: .85rem; } th, td { padding: .2rem .4rem; }
  td:first-child { min-width: 10rem; overflow-wrap: anywhere; white-space: normal; }
}
.hold { font-size: .9rem; }
.warning { background: #b45309; border-radius: .3rem; color: #fff; font-weight: 600; padding: .5rem 1rem; }
"""

_INTERVAL = re.compile(r"(?<=\d) (±|to) (?=[-+\d])")

FILM = '<svg class="film"'
"""How a drawing begins that moves."""
_FILM_STYLE = """\
.film image { image-rendering: pixelated; }
.film .moving { animation: film var(--lasting) steps(var(--frames)) infinite; transform-box: fill-box; }
@keyframes film { to { transform: translateX(-100%); } }
body:has(.hold :checked) .film .moving { animation-play-state: paused; }
@media (prefers-reduced-motion: reduce) {
  .film .moving { animation-delay: calc(var(--lasting) / -2); animation-play-state: paused; }
}
"""
_HOLD = "Hold the moving pictures still"


@dataclass(frozen=True)
class Picture:
    """A drawing.

    Attributes:
        title: What it shows; the heading.
        svg: The ``<svg>`` element.
        caption: How to read it.
    """

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Drawings side by side, as many as there is room for.

    Attributes:
        title: What they show; the heading.
        pictures: With headings of their own.
        caption: How to read them.
        key: Colours and their names, shown if there are several.
    """

    title: str
    pictures: Sequence[Picture]
    caption: str = ""
    key: Sequence[tuple[str, str]] = ()


Content = Table | Picture | Gallery


def section_of(
    title: str,
    pictures: Sequence[Picture],
    caption: str = "",
    key: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> list[Content]:
    """Pictures, if there are any, and notes below them, under one heading."""
    content: list[Content] = [Gallery(title, pictures, caption, key)] if pictures else []
    return [*content, Table("" if pictures else title, notes=notes)] if notes else content


def html_page(title: str, content: Iterable[Content], *, lead: str = "", warning: str = "") -> str:
    """The page, UTF-8 when written; content with an empty title continues the section before.

    A lead is a paragraph above all, a warning a banner, such as that the data is SYNTHETIC.
    """
    body = [f"<h1>{escape(title)}</h1>"]
    body += [f'<p class="warning">{escape(warning)}</p>'] if warning else []
    body += [f"<p>{escape(lead)}</p>"] if lead else []
    elements = "\n".join(map(_element, content))
    style = _STYLE
    if FILM in elements:
        style += _FILM_STYLE
        body.append(f'<p class="hold"><label><input type="checkbox"> {_HOLD}</label></p>')
    elements = "\n".join([*body, elements])
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
{elements}
</body>
</html>
"""


def escape(text: str) -> str:
    """Text of a page, without tags, control characters and marks of direction."""
    return escape_html(printable(text))


def _element(content: Content) -> str:
    heading = f"<h2>{escape(content.title)}</h2>\n" if content.title else ""
    if isinstance(content, Gallery):
        return heading + _gallery(content)
    return heading + (_figure(content) if isinstance(content, Picture) else _table(content))


def _figure(picture: Picture) -> str:
    caption = f"\n<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f"<figure>\n{picture.svg}{caption}\n</figure>"


def _gallery(gallery: Gallery) -> str:
    lines = [f'<p class="note">{escape(gallery.caption)}</p>'] if gallery.caption else []
    if len(gallery.key) > 1:
        names = (f'<li><i style="background:{colour}"></i>{escape(name)}</li>' for colour, name in gallery.key)
        lines.append(f'<ul class="key">{"".join(names)}</ul>')
    lines.append('<div class="gallery">')
    for picture in gallery.pictures:
        heading = f"<h3>{escape(picture.title)}</h3>\n" if picture.title else ""
        lines.append(f"<div>{heading}{_figure(picture)}</div>")
    return "\n".join([*lines, "</div>"])


def _table(table: Table) -> str:
    lines = []
    if table.rows:
        rows = [_row("th", table.head), *(_row("td", row) for row in table.rows)]
        lines = ['<div class="table"><table>', *rows, "</table></div>"]
    return "\n".join([*lines, *(f'<p class="note">{escape(note)}</p>' for note in table.notes)])


def _row(tag: str, cells: Sequence[str]) -> str:
    # A number and its interval stay on one line; the table scrolls.
    joined = (_INTERVAL.sub("\u00a0\\1\u00a0", escape(cell)) for cell in cells)
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in joined) + "</tr>"
