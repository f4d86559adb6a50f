"""Dense ARFF files of numbers, read strictly: every error names its line.

Format: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurozoo.errors import DataError

__all__ = ["Table", "read_arff"]

_ATTRIBUTE = re.compile(
    r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s{]+)(?:\s+|(?={))(.+)""", re.IGNORECASE
)
_NUMERIC = {"numeric", "real", "integer"}


_COLUMNS = 100_000


@dataclass(frozen=True)
class Table:
    """The content of an ARFF file.

    Attributes:
        path: The file.
        names: The attributes, in order.
        values: ``[rows, attributes]`` float64; a missing value (``?``) is NaN.
        lines: The line in the file of each row, from 1.
    """

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.float64]
    lines: tuple[int, ...]


def read_arff(path: Path) -> Table:
    """Read a dense ARFF file whose attributes are numeric or ``{0,1}``.

    Raises:
        DataError: The file is missing or malformed; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    names: list[str] = []
    known: set[str] = set()
    rows: list[list[float]] = []
    lines: list[int] = []
    in_data = False
    for number, raw in enumerate(text.split("\n"), 1):
        line, place = raw.strip(), f"{path}:{number}"
        if not line or line.startswith("%"):
            continue
        if in_data:
            rows.append(_row(line, names, place))
            lines.append(number)
        elif line.lower().startswith("@attribute"):
            name = _attribute(line, place)
            if name in known:
                raise DataError(f"{place}: attribute {name!r} is declared twice; rename one of them")
            if len(names) == _COLUMNS:
                raise DataError(f"{place}: more than {_COLUMNS:,} attributes; no table of anybody's features")
            known.add(name)
            names.append(name)
        elif line.lower() == "@data":
            in_data = True
        elif not line.lower().startswith("@relation"):
            raise DataError(
                f"{place}: {line[:60]!r} is neither @relation, @attribute nor @data, and @data has not come yet"
            )
    if not in_data or not names:
        raise DataError(f"{path}: no {'@data' if names else '@attribute'} line; the file is truncated or not ARFF")
    if not rows:
        raise DataError(f"{path}: no rows after @data; the file is truncated or empty")
    return Table(path, tuple(names), np.array(rows, dtype=np.float64), tuple(lines))


def _attribute(line: str, place: str) -> str:
    match = _ATTRIBUTE.fullmatch(line)
    if not match:
        raise DataError(f"{place}: {line[:60]!r} is not `@attribute NAME TYPE`")
    name, kind = match[1], match[2].strip()
    if name[0] in "'\"":
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    values = {_bare(value) for value in kind[1:-1].split(",")} if kind[0] == "{" and kind[-1] == "}" else set()
    if kind.lower() not in _NUMERIC and not (values and values <= {"0", "1"}):
        raise DataError(
            f"{place}: attribute {name!r} is {kind[:40]}; only numeric attributes and {{0,1}} can be imported"
        )
    return name


def _row(line: str, names: list[str], place: str) -> list[float]:
    if line.startswith("{"):
        raise DataError(f"{place}: a sparse row; only dense rows can be imported: save the file as dense ARFF")
    cells = line.split(",")
    if len(cells) != len(names):
        raise DataError(f"{place}: {len(cells)} values for {len(names)} attributes; the file is truncated or malformed")
    try:
        # float() would take 1_000 for a number, ARFF does not.
        return [float("_" if "_" in cell else cell) for cell in cells]
    except ValueError:
        return [_number(cell, name, place) for cell, name in zip(cells, names, strict=True)]


def _number(cell: str, name: str, place: str) -> float:
    bare = _bare(cell)
    try:
        return float("nan" if bare == "?" else "_" if "_" in bare else bare)
    except ValueError:
        raise DataError(f"{place}: {name!r} is {bare!r}, which is not a number") from None


def _bare(value: str) -> str:
    return value.strip().strip("'\"")
