"""Tables, as aligned text or as Markdown, and how numbers and made-up data are shown in them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from neurozoo.files.text import printable

__all__ = [
    "Table", "columns", "escaped", "markdown", "number", "pipe_table", "plain_text", "rounded", "short_count",
    "synthetic_mark",
]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows under a head, or the plain lines of a section without one.

    Attributes:
        title: What it shows; the first line.
        head: Names of the columns; empty if there are only notes.
        rows: Cells.
        notes: Lines below it.
    """

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()


def plain_text(tables: Iterable[Table]) -> str:
    """For the screen: each column as wide as its widest cell, numbers to the right."""
    blocks = []
    for table in tables:
        lines = [printable(table.title)]
        if table.rows:
            right = [k for k in range(len(table.head)) if all(row[k][:1] in "-+.0123456789" for row in table.rows)]
            lines.append(columns([table.head, *table.rows], "  ", right))
        blocks.append("\n".join([*lines, *(f"  {printable(note)}" for note in table.notes)]))
    return "\n\n".join(blocks)


def markdown(tables: Iterable[Table]) -> str:
    """For a page: of each table a heading, its rows and a list of its notes, with Markdown's own signs escaped."""
    blocks = []
    for table in tables:
        parts = [f"## {printable(table.title)}"]
        if table.rows:
            rows = [list(map(escaped, row)) for row in table.rows]
            parts.append("\n".join(pipe_table(list(map(escaped, table.head)), rows)))
        if table.notes:
            parts.append("\n".join(f"- {escaped(note)}" for note in table.notes))
        blocks.append("\n\n".join(parts))
    return "\n\n".join(blocks) + "\n"


def pipe_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, of cells that are Markdown already."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def number(value: float | None, places: int = 4, *, signed: bool = False) -> str:
    """A measured value with a fixed number of decimals; a dash if there is none or it is not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:{'+' if signed else ''}.{places}f}"


def rounded(value: float) -> str:
    """An error with two significant digits; an exact 0 is shown as 0."""
    return "0" if value == 0 else f"{value:.2g}"


def short_count(value: float | None) -> str:
    """A count with three digits: ``950``, ``12.3 k``, ``1.04 M``; a dash if there is none."""
    if value is None:
        return "-"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * size:
            shown = value / size
            return f"{shown:.{2 if shown < 9.995 else 1 if shown < 99.95 else 0}f}{unit}"
    return f"{value:.0f}"


def synthetic_mark(synthetic: bool) -> str:
    """What follows a title or a name in front of numbers that were measured on made-up data."""
    return " (SYNTHETIC data)" if synthetic else ""


def columns(rows: Iterable[Sequence[str]], indent: str = "", right: Collection[int] = ()) -> str:
    """Rows as lines, each column as wide as its widest cell; control characters and line ends are shown as escapes.

    Columns ``right``, from 0, are aligned to the right.
    """
    table = [[printable(cell).replace("\n", "\\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = (
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def escaped(cell: str) -> str:
    """Put a backslash in front of signs that Markdown would read as its own; control characters become escapes."""
    return re.sub(r"[|*<_]", r"\\\g<0>", printable(cell).replace("\n", " "))
