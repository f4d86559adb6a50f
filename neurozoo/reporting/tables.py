"""Tables, as aligned text or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Table", "escaped", "markdown", "number", "plain_text"]


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


def number(value: float) -> str:
    """Two digits, and 0 as such, so that a true 0 is seen."""
    return "0" if value == 0 else f"{value:.2g}"


def _plain(table: Table) -> list[str]:
    lines = [table.title]
    if table.rows:
        rows = [table.head, *table.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
        right = [all(row[column][:1] in "-+.0123456789" for row in table.rows) for column in range(len(table.head))]
        for row in rows:
            cells = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            )
            lines.append(("  " + "  ".join(cells)).rstrip())
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
