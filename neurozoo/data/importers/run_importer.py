"""Import files of a named format, and detect the format of files."""

from __future__ import annotations

import os
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurozoo.data.importers.audio_folder import detect_audio
from neurozoo.data.importers.braille import BRAILLE_ARRAYS
from neurozoo.data.importers.common import SPLITS, files_in, list_arrays, open_text
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.emodb import detect_emodb
from neurozoo.data.importers.events.detection import detect_event_folder
from neurozoo.data.importers.events.gesture import detect_gesture
from neurozoo.data.importers.events.qtdb import detect_qtdb
from neurozoo.data.importers.events.shd import detect_shd
from neurozoo.data.importers.events.tactile import detect_tactile
from neurozoo.data.importers.table_detection import FILE_OF_SPLIT, detect_own, detect_table
from neurozoo.data.importers.wfdb import detect_wfdb
from neurozoo.data.manifest import MANIFEST
from neurozoo.data.store import Store
from neurozoo.data.untrusted.nested import Place, content_of
from neurozoo.data.untrusted.npz import read_npz
from neurozoo.data.usable import importing
from neurozoo.errors import DataError, suggestion
from neurozoo.files.opening import open_regular
from neurozoo.files.text import as_text, printable
from neurozoo.recipe.params import REQUIRED, component_params
from neurozoo.registry.registry import default_registry

__all__ = ["DetectedFormat", "detect_format", "import_data"]


def import_data(format: str, source: str | Path, dest: str | Path, **options: Any) -> Store:
    """Make a store with the importer that is registered for a format.

    Args:
        format: Name of an importer, such as ``mulan``.
        source: The files to read.
        dest: The store's folder; new or empty.
        options: The importer's keyword-only parameters.

    Raises:
        UnknownNameError: No importer is called ``format``.
        DataError: An option is unknown or missing, the source is malformed, or ``dest`` cannot be written.
    """
    importer = default_registry().resolve("importer", format)
    parameters = component_params(importer)
    for name in options:
        if name not in parameters:
            raise DataError(
                f"format {format!r} has no option {name!r}; there are: {', '.join(parameters) or 'none'}"
                + suggestion(name, parameters)
            )
    required = [name for name, parameter in parameters.items() if parameter.default is REQUIRED]
    if missing := [name for name in required if name not in options]:
        raise DataError(
            f"format {format!r} also needs {' and '.join(missing)}; add "
            f"{' '.join(f'--{name} VALUE' for name in missing)} (`neurozoo show {format}` describes them)"
        )
    for name, value in options.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            # Of the command line: bytes that are no text come as halves of character pairs.
            if isinstance(text, str) and text and not os.path.exists(text):
                as_text(text, f"--{name}")
    if not Path(source).exists():
        raise DataError(f"there is no {source} to import; give the folder with the {format} files")
    with importing():
        store = importer(Path(source), Path(dest), **options)
    if not isinstance(store, Store):
        raise DataError(
            f"the importer {format!r} returned {type(store).__name__} instead of a Store; report it to its author"
        )
    return store


_CSD_OPTIONS = ("--labels", "LABELS.csd", "--folds", "FOLDS.json")
_LABELS_OPTION = ("--labels", "LABELS.csd")
_VECTORS_OPTION = ("--vectors", "VECTORS.txt")
_DETECTIONS: tuple[Callable[[Path], DetectedFormat | None], ...] = (
    detect_shd,
    detect_gesture,
    detect_qtdb,
    detect_tactile,
    detect_event_folder,
    detect_audio,
    detect_emodb,
    detect_wfdb,
    detect_table,
)
"""Detections in importers' own files; each returns None for what is not its own."""


def detect_format(source: Path) -> DetectedFormat:
    """Detect the format of a file or folder by its content.

    Raises:
        DataError: The source is missing, refused, or of an unknown format; lists its content.
    """
    if not source.exists():
        raise DataError(f"there is no {source}; give a file or folder")
    if source.is_dir() and (source / MANIFEST).exists():
        return DetectedFormat("", f"it holds {MANIFEST}: a store already; `neurozoo data info {source}` describes it")
    # A damaged file among others must not hide what the others are.
    problem: DataError | None = None
    for detect in _DETECTIONS:
        try:
            if (found := detect(source)) is not None:
                return found
        except DataError as error:
            problem = problem or error
    try:
        return _detect_other(source)
    except DataError as error:
        problem = problem or error
    try:
        if (own := detect_own(source)) is not None:
            return own
    except DataError:
        pass  # the error before says more
    raise problem


def _detect_other(source: Path) -> DetectedFormat:
    """Detect the formats whose importers have no detection of their own."""
    if source.is_dir():
        return _detect_folder(source)
    if source.suffix == ".csv":
        return _detect_table(source)
    if source.suffix == ".npz" and not FILE_OF_SPLIT.search(source.stem):
        arrays = read_npz(source)
        if set(BRAILLE_ARRAYS) <= set(arrays):
            content = tuple(list_arrays({name: array}) for name, array in arrays.items())
            return DetectedFormat("braille", "an npz with x, y and letters", content)
        raise _unknown(source, "it holds", list_arrays(arrays))
    if source.suffix in (".npz", ".h5", ".hdf5"):
        reason = f"{source.name} belongs to one split; the importer takes the folder that contains it"
        return DetectedFormat("mfn", reason, whole_folder=True)
    if source.suffix == ".csd":
        reason = f"{source.name} is a .csd; the importer takes the folder that contains it"
        return DetectedFormat("csd", reason, (), _CSD_OPTIONS, True)
    if (line := _line_of_text(source)) is not None:
        raise _unknown(source, "it is text that begins with", repr(line))
    return _detect_pickle(content_of(source), source)


def _line_of_text(source: Path) -> str | None:
    """Return the beginning of a file of text; None if it is something else, such as a pickle of protocol 0."""
    with open_regular(source) as file:
        head = file.read(200)
        if not head or (file.seek(-1, os.SEEK_END) >= 0 and file.read(1) == b"."):
            return None
    try:
        text = getincrementaldecoder("utf-8")().decode(head).replace("\r", "")
    except UnicodeDecodeError:
        return None
    return text.partition("\n")[0][:80] if text and printable(text) == text else None


def _detect_folder(source: Path) -> DetectedFormat:
    names = [path.name for path in files_in(source, "")]
    if csd := [path.relative_to(source) for path in files_in(source, ".csd", below=True)]:
        return DetectedFormat("csd", "it holds computational sequences", tuple(map(str, csd)), _CSD_OPTIONS)
    xml, arff = ([name for name in names if name.endswith(ending)] for ending in (".xml", ".arff"))
    if xml and arff:
        return DetectedFormat("mulan", "it holds an XML of labels and ARFF", tuple(sorted([*xml, *arff])))
    for ending in (".npz", ".h5", ".hdf5"):
        files = [name for name in names if name.endswith(ending)]
        if train := [name for name in files if name.endswith((f"_train{ending}", f"_train_emb{ending}"))]:
            options = ("--modalities", "NAME=NUMBER,...") if f"X_train{ending}" in train else ()
            return DetectedFormat("mfn", f"it holds {', '.join(train)}", tuple(files), options)
    raise _unknown(source, "it holds", ", ".join(names[:12]) or "nothing")


def _detect_table(source: Path) -> DetectedFormat:
    with open_text(source) as file:
        columns = file.readline(10_000).strip().split(",")
    if not {"video_id", "segment_id", "split", "text"} <= set(columns):
        raise _unknown(source, "its columns are", ", ".join(columns))
    return DetectedFormat("mosei-text", "a table of transcripts", (", ".join(columns),), _VECTORS_OPTION)


def _detect_pickle(file: Place, source: Path) -> DetectedFormat:
    value = file.value if isinstance(file.value, Mapping) else {}
    splits = {key: part for key, part in value.items() if key in SPLITS and isinstance(part, Mapping)}
    content = tuple(
        f"{split}: " + ", ".join(f"{key} {_shape(value)}" for key, value in part.items())
        for split, part in splits.items()
    )
    keys = {key for part in splits.values() for key in part}
    order = () if "dict" in file and "tgt" in file["dict"] else ("--label_order", "NAME,NAME,...")
    if {"src-com", "src-lyr", "tgt"} <= keys:
        return DetectedFormat("nemu", "splits with src-com, src-lyr and tgt", content, (*_VECTORS_OPTION, *order))
    if {"src-text", "src-audio", "src-visual", "tgt"} <= keys:
        return DetectedFormat("tailor", "splits with src-text and tgt", content, order)
    if "regression_labels" in keys:
        return DetectedFormat("mmsa", "splits with regression_labels", content, _LABELS_OPTION)
    if {"text", "audio", "vision", "labels"} <= keys:
        return DetectedFormat("mult", "splits with text, audio, vision and labels", content, _LABELS_OPTION)
    held = ", ".join(map(str, value)) if isinstance(file.value, Mapping) else _shape(file.value)
    raise _unknown(source, "it holds", "; ".join([held[:200] or "nothing", *content]), limit=None)


def _unknown(source: Path, introduction: str, content: str, limit: int | None = 200) -> DataError:
    return DataError(f"{source}: of no known format; {introduction} {content[:limit]}")


def _shape(value: object) -> str:
    if isinstance(value, np.ndarray):
        return str(list(value.shape))
    return f"({len(value)})" if isinstance(value, list | tuple | Mapping) else type(value).__name__
