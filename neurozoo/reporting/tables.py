"""Tables, as aligned text or as Markdown, and how numbers and made-up data are shown in them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Table", "columns", "escaped", "markdown", "number", "plain_text", "rounded", "synthetic_mark"]


@dataclass(frozen=True)
class Table:
    """Rows under a head, or the plain lines of a section without one.

    Attributes:
        title: What it shows; the first line.
        head: Names of the columns; none where there are lines alone.
        rows: Cells.
        notes: Lines below it.
    """

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()


def plain_text(tables: Iterable[Table]) -> str:
    """For the screen: each column as wide as its widest cell, numbers to the right."""
    return "\n\n".join("\n".join(_plain(table)) for table in tables)


def markdown(tables: Iterable[Table]) -> str:
    """For a page: a heading, a table and a list of notes each."""
    return "\n\n".join("\n".join(_marked(table)) for table in tables) + "\n"


def number(value: float | None, places: int = 4, *, signed: bool = False) -> str:
    """A measured value with a fixed number of decimals; a dash where there is none or it is not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:{'+' if signed else ''}.{places}f}"


def rounded(value: float) -> str:
    """An error with two significant digits; an exact 0 is shown as 0."""
    return "0" if value == 0 else f"{value:.2g}"


def synthetic_mark(synthetic: bool) -> str:
    """What follows a title or a name in front of numbers that were measured on made-up data."""
    return " (SYNTHETIC data)" if synthetic else ""


def columns(rows: Iterable[Sequence[str]], indent: str = "", right: Collection[int] = ()) -> str:
    """Rows as lines, each column as wide as its widest cell.

    Args:
        rows: Cells; all rows have as many.
        indent: What each line begins with.
        right: Which columns are aligned to the right, from 0.
    """
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = (
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def _plain(table: Table) -> list[str]:
    lines = [table.title]
    if table.rows:
        numeric = [
            column for column in range(len(table.head)) if all(row[column][:1] in "-+.0123456789" for row in table.rows)
        ]
        lines.append(columns([table.head, *table.rows], "  ", numeric))
    return lines + [f"  {note}" for note in table.notes]


def _marked(table: Table) -> list[str]:
    lines = [f"## {table.title}", ""]
    if table.rows:
        lines += [_row(table.head), _row(["---"] * len(table.head)), *map(_row, table.rows), ""]
    lines += [f"- {escaped(note)}" for note in table.notes]
    return lines if lines[-1] else lines[:-1]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def escaped(cell: str) -> str:
    """Signs that Markdown would take for its own, in front of which a backslash stands."""
    return cell.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<").replace("_", "\\_")
