"""The rows of a CSV or Parquet file, a batch of columns at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.delimited import open_csv
from neurozoo.errors import DataError, UserError, install_extra
from neurozoo.files.opening import open_regular
from neurozoo.files.text import as_text

__all__ = ["Rows", "batches_of", "columns_of"]

_CELLS = 2**18
"""Cells of a batch."""
_FEWEST, _MOST = 16, 4096


@dataclass(frozen=True)
class Rows:
    """Some rows of a table.

    Attributes:
        where: Names each row in errors: ``FILE:LINE``, or ``FILE, row N``.
        columns: By name: an array ``[rows]`` of numbers, or a list of texts and other values.
    """

    where: Sequence[str]
    columns: dict[str, NDArray[Any] | list[Any]]

    def part(self, first: int, end: int) -> Rows:
        """Return some of the rows."""
        return Rows(self.where[first:end], {name: cells[first:end] for name, cells in self.columns.items()})

    def joined(self, other: Rows) -> Rows:
        """Return these rows, then others of the same columns."""
        columns: dict[str, NDArray[Any] | list[Any]] = {}
        for name, cells in self.columns.items():
            more = other.columns[name]
            if isinstance(cells, list) or isinstance(more, list):
                columns[name] = [*cells, *more]
            else:
                columns[name] = np.concatenate([cells, more])
        return Rows([*self.where, *other.where], columns)

    def texts(self, name: str) -> list[str]:
        """Return a column as names."""
        return [as_text(cell, f"{where}: {name}") for cell, where in zip(self.columns[name], self.where, strict=True)]

    def numbers(self, name: str, missing: str) -> NDArray[np.float64]:
        """Return a column as numbers, ``[rows]``; empty cells are an error, or 0 if ``missing`` is ``zero``.

        Raises:
            DataError: A cell is no finite number; names row and column.
        """
        cells = self.columns[name]
        if isinstance(cells, list):
            try:
                found = np.array(cells, dtype=np.float64)
            except (TypeError, ValueError, OverflowError):
                found = np.array([_number(cell) for cell in cells])
        else:
            found = cells.astype(np.float64)
        wrong = ~np.isfinite(found)
        if wrong.any():
            place = int(np.argmax(wrong))
            empty = _is_missing(cells[place])
            if missing != "zero" or not all(_is_missing(cells[row]) for row in np.flatnonzero(wrong)):
                shown = "empty" if empty else repr(cells[place])[:60]
                advice = "; --missing zero makes it 0" if empty else ""
                raise DataError(f"{self.where[place]}: {name} is {shown}; give a finite number{advice}")
            found = np.where(wrong, 0.0, found)
        return found

    def no_number(self, name: str) -> int | None:
        """Return the first row whose cell is text, or the first if all are empty; None if the column is numbers."""
        cells = self.columns[name]
        if not isinstance(cells, list):
            return None
        wrong = (row for row, cell in enumerate(cells) if not _is_missing(cell) and not np.isfinite(_number(cell)))
        return next(wrong, 0 if all(map(_is_missing, cells)) else None)


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the names of a table's columns."""
    if path.suffix.lower() == ".parquet":
        with _parquet(path) as file:
            return tuple(as_text(name, f"{path}: a column") for name in file.schema_arrow.names)
    with open_csv(path) as rows:
        return rows.columns


def batches_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[Rows]:
    """Yield the rows of a ``.parquet`` or else CSV file, with all or some of its columns.

    Raises:
        DataError: It cannot be read; names the row.
        UserError: Parquet needs pyarrow.
    """
    if path.suffix.lower() == ".parquet":
        yield from _parquet_batches(path, columns)
        return
    with open_csv(path) as rows:
        wanted = [rows.columns.index(name) for name in columns or rows.columns]
        names = [rows.columns[place] for place in wanted]
        size = min(_MOST, max(_FEWEST, _CELLS // len(rows.columns)))
        where: list[str] = []
        cells: list[list[str]] = []
        for place, row in rows:
            where.append(place)
            cells.append([row[column] for column in wanted])
            if len(where) == size:
                yield Rows(where, _transposed(names, cells))
                where, cells = [], []
        if where:
            yield Rows(where, _transposed(names, cells))


def _transposed(names: Sequence[str], cells: Sequence[Sequence[str]]) -> dict[str, NDArray[Any] | list[Any]]:
    return {name: list(column) for name, column in zip(names, zip(*cells, strict=True), strict=True)}


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{path} is Parquet, which pyarrow reads and is not installed; {install_extra('parquet')}, or save it "
            "as CSV or npz"
        ) from error
    with open_regular(path) as raw:
        try:
            with pyarrow.parquet.ParquetFile(raw) as file:
                yield file
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{path} cannot be read as Parquet ({reason}); write it again") from error


def _parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[Rows]:
    with _parquet(path) as file:
        names = list(columns) if columns is not None else list(file.schema_arrow.names)
        size = min(_MOST, max(_FEWEST, _CELLS // max(1, len(names))))
        done = 0
        for batch in file.iter_batches(size, columns=names):
            where = [f"{path}, row {done + row + 1}" for row in range(batch.num_rows)]
            yield Rows(where, {name: _column(batch.column(name)) for name in names})
            done += batch.num_rows


def _column(array: Any) -> NDArray[Any] | list[Any]:
    import pyarrow

    kind = array.type
    plain = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)
    if plain and not array.null_count:
        found: NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return found
    values: list[Any] = array.to_pylist()
    return [int(value) if isinstance(value, bool) else value for value in values]


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in ("", "na", "nan"))


def _number(cell: Any) -> float:
    try:
        # float() takes 1_000, tables do not.
        return float("nan" if cell is None or (isinstance(cell, str) and "_" in cell) else cell)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
