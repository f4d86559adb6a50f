"""Read CSV files row by row, in bounded memory; errors name the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from neurozoo.errors import DataError
from neurozoo.files.opening import LARGEST, open_regular
from neurozoo.files.text import as_text, text_lines

__all__ = ["CsvRows", "open_csv"]

_MOST_COLUMNS = 100_000
_MOST_CHARACTERS = 2**20
"""Of a line; a file without line ends would be read whole."""


class CsvRows:
    """The rows of an open CSV file.

    Attributes:
        path: The file.
        columns: The names in its first line.
    """

    def __init__(self, path: Path, reader: Iterator[list[str]], lines: _Lines) -> None:
        self.path, self._reader, self._lines = path, reader, lines
        header = self._next()
        if not header:
            raise DataError(f"{path} is empty; its first line names the columns")
        self.columns = tuple(name.strip() for name in header)
        for place, name in enumerate(self.columns):
            as_text(name, f"{path}:1: column {place + 1}")
            if name in self.columns[:place]:
                raise DataError(f"{path}:1: the column {name!r} is there twice; rename one")
        if len(self.columns) > _MOST_COLUMNS:
            raise DataError(f"{path}:1: {len(self.columns):,} columns, and {_MOST_COLUMNS:,} are the most; use npz")

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        """Yield ``FILE:LINE`` and the cells of each row; empty lines are skipped.

        Raises:
            DataError: A row has more or fewer cells than the first line, or is not CSV.
        """
        while (cells := self._next()) is not None:
            if not cells:
                continue
            where = f"{self.path}:{self._lines.number}"
            if len(cells) != len(self.columns):
                raise DataError(f"{where}: {len(cells)} cells, and the first line has {len(self.columns)}; correct it")
            yield where, cells

    def _next(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise DataError(f"{self.path}:{self._lines.number} cannot be read as CSV ({error}); correct it") from error


class _Bounded:
    """The lines of a file, none of them too long for memory."""

    def __init__(self, file: BufferedReader, path: Path) -> None:
        self._file, self._path, self._number = file, path, 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._file.readline(_MOST_CHARACTERS + 1):
            self._number += 1
            if len(line) > _MOST_CHARACTERS:
                raise DataError(
                    f"{self._path}:{self._number} has more than {_MOST_CHARACTERS:,} bytes; is it CSV, with its line "
                    "ends?"
                )
            yield line

    def read(self) -> bytes:
        """Return the rest, of UTF-16, whose lines cannot be told apart before they are decoded."""
        raw = self._file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise DataError(f"{self._path} is UTF-16 of more than {LARGEST:,} bytes; save it as UTF-8")
        return raw


class _Lines:
    def __init__(self, lines: Iterator[str], path: Path) -> None:
        self._lines, self._path, self.number = lines, path, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        return line


@contextmanager
def open_csv(path: Path) -> Iterator[CsvRows]:
    """Open a CSV file of UTF-8 with commas, or semicolons or tabs where the first line has only these.

    Raises:
        DataError: It cannot be read, is empty, or names a column twice.
    """
    with open_regular(path) as file:
        head = next(iter(_Bounded(file, path)), b"")
        delimiter = next((sign for sign in (",", ";", "\t") if sign.encode() in head), ",")
        file.seek(0)
        lines = _Lines(text_lines(cast(BinaryIO, _Bounded(file, path)), path), path)
        before = csv.field_size_limit(_MOST_CHARACTERS)
        try:
            yield CsvRows(path, csv.reader(lines, delimiter=delimiter, strict=True), lines)
        finally:
            csv.field_size_limit(before)
