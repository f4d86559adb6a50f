"""Importer of Mulan's multi-label data sets: ``NAME.xml`` with the labels, and ARFF files.

Format: https://mulan.sourceforge.net/format.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.arff import Table, read_arff
from neurozoo.data.importers.column_widths import modality_widths
from neurozoo.data.manifest import Modality
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_mulan"]

_EMOTIONS = {
    "licence": "GPL-3.0 (as distributed with Mulan)",
    "citation": "Trohidis et al.: Multi-label classification of music into emotions, ISMIR 2008",
}


def import_mulan(source: Path, dest: Path, *, modalities: Sequence[str] = ()) -> Store:
    """Make a store of a Mulan data set; each modality has one position.

    Args:
        source: A folder with ``NAME.xml`` and ``NAME-train.arff`` and ``NAME-test.arff``, or
            ``NAME.arff`` alone, which becomes ``train``.
        dest: The store's folder; new or empty.
        modalities: How the attributes that are not labels become modalities, in their order:
            ``("timbre=64", "rhythm=8")``. By default ``emotions``, known by its attributes, becomes
            these two, and anything else one modality ``features``.

    Raises:
        DataError: A file is missing or malformed, or the modalities do not add up.
    """
    xml = _one_xml(source)
    names = _label_names(xml)
    tables = {split: read_arff(path) for split, path in _arff_files(source, xml.stem).items()}
    first = next(iter(tables.values()))
    for table in tables.values():
        if table.names != first.names:
            raise DataError(
                f"{table.path} has other attributes than {first.path}; both must declare the same, in the same order"
            )
    missing = [name for name in names if name not in first.names]
    if missing:
        raise DataError(f"{xml} names the label {', '.join(missing)}, but {first.path} has no such attribute")
    attributes = [name for name in first.names if name not in names]
    widths = _widths(modalities, attributes, xml.stem)
    origin: dict[str, Any] = {"format": "mulan", "source": xml.stem, "licence": "unknown", "citation": "unknown"}
    origin |= _EMOTIONS if _is_emotions(attributes) else {}
    origin["options"] = {"modalities": [f"{name}={width}" for name, width in widths.items()]}
    place = {name: column for column, name in enumerate(first.names)}
    columns = [place[name] for name in attributes]
    shapes = {name: Modality(width, 1) for name, width in widths.items()}
    with StoreWriter(dest, labels=names, origin=origin, modalities=shapes) as writer:
        for split, table in tables.items():
            features = np.split(table.values[:, None, columns], np.cumsum(list(widths.values()))[:-1], axis=2)
            # In a table a row of zeros is a value, not padding.
            masks = {name: np.ones((len(table.values), 1)) for name in widths}
            writer.add(split, dict(zip(widths, features, strict=True)), _labels(table, names), masks=masks)
    return Store(dest)


def _one_xml(source: Path) -> Path:
    files = sorted(source.glob("*.xml")) if source.is_dir() else []
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise DataError(f"{source}: a Mulan data set is a folder with one NAME.xml; there are: {found}")
    return files[0]


def _arff_files(source: Path, name: str) -> dict[str, Path]:
    pair = {split: source / f"{name}-{split}.arff" for split in ("train", "test")}
    if all(path.is_file() for path in pair.values()):
        return pair
    whole = source / f"{name}.arff"
    if whole.is_file() and not any(path.is_file() for path in pair.values()):
        return {"train": whole}
    found = ", ".join(sorted(path.name for path in source.glob("*.arff"))) or "none"
    raise DataError(
        f"{source}: give {name}-train.arff and {name}-test.arff, or {name}.arff alone, as {name}.xml is called; "
        f"ARFF files there: {found}"
    )


def _label_names(xml: Path) -> list[str]:
    """The labels of ``NAME.xml``, nested ones included, in order."""
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
    try:
        parser.Parse(xml.read_bytes(), True)
    except (expat.ExpatError, OSError) as error:
        raise DataError(f"{xml} cannot be read as XML: {error}") from error
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


def _widths(modalities: Sequence[str], attributes: Sequence[str], name: str) -> dict[str, int]:
    """Number of features by modality."""
    total = len(attributes)
    if not modalities:
        return {"timbre": 64, "rhythm": 8} if _is_emotions(attributes) else {"features": total}
    return modality_widths(modalities, total, name)


def _labels(table: Table, names: Sequence[str]) -> NDArray[np.float64]:
    values = table.values[:, [table.names.index(name) for name in names]]
    wrong = np.argwhere((values != 0) & (values != 1))
    if len(wrong):
        row, column = wrong[0]
        shown = "missing" if np.isnan(values[row, column]) else f"{values[row, column]:g}"
        raise DataError(f"{table.path}:{table.lines[row]}: label {names[column]!r} is {shown}; labels are 0 or 1")
    return values
