"""Importer of Mulan's multi-label data sets: ``NAME.xml`` with the labels, and dense ARFF files of numbers.

Formats: https://mulan.sourceforge.net/format.html,
https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import UNKNOWN, files_in, modality_widths, origin_of, split_columns
from neurozoo.data.manifest import feature_shape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError
from neurozoo.files.opening import read_bytes
from neurozoo.files.text import read_text

__all__ = ["import_mulan"]

_EMOTIONS = {
    "licence": "GPL-3.0 (as distributed with Mulan)",
    "citation": "Trohidis et al.: Multi-label classification of music into emotions, ISMIR 2008",
}
_ATTRIBUTE = re.compile(
    r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s{]+)(?:\s+|(?={))(.+)""", re.IGNORECASE
)
_NUMERIC = {"numeric", "real", "integer"}
_MAX_ATTRIBUTES = 100_000
_MAX_BYTES = 2**32


def import_mulan(source: Path, dest: Path, *, modalities: Sequence[str] = ()) -> Store:
    """Make a store of a Mulan data set; each modality has one position.

    Args:
        source: A folder with ``NAME.xml`` and ``NAME-train.arff`` and ``NAME-test.arff``, or
            ``NAME.arff`` alone, which becomes ``train``.
        dest: The store's folder; new or empty.
        modalities: How the attributes that are not labels become modalities, in their order:
            ``("timbre=64", "rhythm=8")``. By default ``emotions``, recognised by its attributes, becomes
            these two, and any other data set one modality ``features``.

    Raises:
        DataError: A file is missing or malformed, or the modalities do not add up.
    """
    xml = _find_xml(source)
    names = _read_label_names(xml)
    tables = {split: _read_arff(path) for split, path in _find_arff(source, xml.stem).items()}
    first = next(iter(tables.values()))
    for table in tables.values():
        if table.names != first.names:
            raise DataError(
                f"{table.path} has other attributes than {first.path}; both must declare the same, in the same order"
            )
    if missing := [name for name in names if name not in first.names]:
        raise DataError(f"{xml} names the label {', '.join(missing)}, but {first.path} has no such attribute")
    columns = [column for column, name in enumerate(first.names) if name not in names]
    attributes = [first.names[column] for column in columns]
    emotions = _is_emotions(attributes)
    if modalities:
        widths = modality_widths(modalities, len(attributes), xml.stem)
    else:
        widths = {"timbre": 64, "rhythm": 8} if emotions else {"features": len(attributes)}
    given = [f"{name}={width}" for name, width in widths.items()]
    origin = origin_of("mulan", xml.stem, _EMOTIONS if emotions else UNKNOWN, modalities=given)
    shapes = {name: feature_shape(width, 1) for name, width in widths.items()}
    with StoreWriter(dest, labels=names, origin=origin, modalities=shapes) as writer:
        for split, table in tables.items():
            features = split_columns(table.values[:, None, columns], widths)
            # In a table a row of zeros is a value, not padding.
            masks = {name: np.ones((len(table.values), 1)) for name in widths}
            writer.add(split, features, _label_columns(table, names), masks=masks)
    return Store(dest)


def _find_xml(source: Path) -> Path:
    files = files_in(source, ".xml")
    if len(files) != 1:
        listed = ", ".join(path.name for path in files) or "none"
        raise DataError(f"{source}: a Mulan data set is a folder with one NAME.xml; there are: {listed}")
    return files[0]


def _find_arff(source: Path, name: str) -> dict[str, Path]:
    pair = {split: source / f"{name}-{split}.arff" for split in ("train", "test")}
    whole, found = source / f"{name}.arff", [path.is_file() for path in pair.values()]
    if all(found):
        return pair
    if whole.is_file() and not any(found):
        return {"train": whole}
    listed = ", ".join(path.name for path in files_in(source, ".arff")) or "none"
    raise DataError(
        f"{source}: give {name}-train.arff and {name}-test.arff, or {name}.arff alone, named as {name}.xml; "
        f"ARFF files there: {listed}"
    )


def _read_label_names(xml: Path) -> list[str]:
    """Return the labels of ``NAME.xml``, nested ones included, in order."""
    names: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(" ")[2] == "label":
            if "name" not in attributes:
                raise DataError(f"{xml}:{parser.CurrentLineNumber}: a label without a name")
            names.append(attributes["name"])

    def doctype(*_: object) -> None:
        # A document type can declare entities that expand without end, or read other files.
        raise DataError(f"{xml}:{parser.CurrentLineNumber}: a DOCTYPE is not allowed; remove it")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    content = read_bytes(xml)
    try:
        parser.Parse(content, True)
    except DataError:
        raise
    except Exception as error:  # an encoding that is not known, or has more bytes a sign, raises what its codec does
        raise DataError(f"{xml} cannot be read as XML: {error}; save it as UTF-8") from error
    if not names:
        raise DataError(f'{xml} names no label; it must hold <label name="..."> elements')
    return names


def _is_emotions(attributes: Sequence[str]) -> bool:
    timbre, rhythm = attributes[:64], attributes[64:]
    return (
        len(attributes) == 72
        and all(name.startswith(("Mean_Acc", "Std_Acc")) for name in timbre)
        and all(name.startswith("BH") for name in rhythm)
    )


@dataclass(frozen=True)
class _Table:
    """An ARFF file: its attributes, values ``[rows, attributes]`` with NaN for ``?``, and the line of each row."""

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.float64]
    lines: tuple[int, ...]


def _label_columns(table: _Table, names: Sequence[str]) -> NDArray[np.float64]:
    values = table.values[:, [table.names.index(name) for name in names]]
    wrong = np.argwhere((values != 0) & (values != 1))
    if len(wrong):
        row, column = wrong[0]
        shown = "missing" if np.isnan(values[row, column]) else f"{values[row, column]:g}"
        raise DataError(f"{table.path}:{table.lines[row]}: label {names[column]!r} is {shown}; labels are 0 or 1")
    return values


def _read_arff(path: Path) -> _Table:
    """Read a dense ARFF file whose attributes are numeric or ``{0,1}``; errors name the line."""
    text = read_text(path, limit=_MAX_BYTES)
    names: dict[str, None] = {}  # ordered, and quick to search
    rows: list[list[float]] = []
    lines: list[int] = []
    in_data = False
    for number, raw in enumerate(text.split("\n"), 1):
        line, where = raw.strip(), f"{path}:{number}"
        if not line or line.startswith("%"):
            continue
        if in_data:
            rows.append(_parse_row(line, names, where))
            lines.append(number)
        elif line.lower().startswith("@attribute"):
            name = _parse_attribute(line, where)
            if name in names:
                raise DataError(f"{where}: attribute {name!r} is declared twice; rename one of them")
            if len(names) == _MAX_ATTRIBUTES:
                raise DataError(f"{where}: more than {_MAX_ATTRIBUTES:,} attributes; split the file into modalities")
            names[name] = None
        elif line.lower() == "@data":
            in_data = True
        elif not line.lower().startswith("@relation"):
            raise DataError(f"{where}: {line[:60]!r} is neither @relation, @attribute nor @data; remove the line")
    if not in_data or not names:
        raise DataError(f"{path}: no {'@data' if names else '@attribute'} line; the file is truncated or not ARFF")
    if not rows:
        raise DataError(f"{path}: no rows after @data; the file is truncated or empty")
    return _Table(path, tuple(names), np.array(rows, dtype=np.float64), tuple(lines))


def _parse_attribute(line: str, where: str) -> str:
    match = _ATTRIBUTE.fullmatch(line)
    if not match:
        raise DataError(f"{where}: {line[:60]!r} is not `@attribute NAME TYPE`")
    name, kind = match[1], match[2].strip()
    if name[0] in "'\"":
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    values = {_unquote(value) for value in kind[1:-1].split(",")} if kind[0] == "{" and kind[-1] == "}" else set()
    if kind.lower() not in _NUMERIC and not (values and values <= {"0", "1"}):
        raise DataError(
            f"{where}: attribute {name!r} is {kind[:40]}; only numeric attributes and {{0,1}} can be imported"
        )
    return name


def _parse_row(line: str, names: Collection[str], where: str) -> list[float]:
    if line.startswith("{"):
        raise DataError(f"{where}: a sparse row; only dense rows can be imported: save the file as dense ARFF")
    cells = line.split(",")
    if len(cells) != len(names):
        raise DataError(f"{where}: {len(cells)} values for {len(names)} attributes; the file is truncated or malformed")
    values = []
    for cell, name in zip(cells, names, strict=True):
        text = _unquote(cell)
        try:
            # float() accepts 1_000, ARFF does not.
            values.append(math.nan if text == "?" else float("_" if "_" in text else text))
        except ValueError:
            raise DataError(f"{where}: {name!r} is {text!r}, which is not a number") from None
    return values


def _unquote(value: str) -> str:
    return value.strip().strip("'\"")
