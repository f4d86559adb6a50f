"""Which format a file or folder is in, by what is in it and not by its name alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurozoo.data.foreign.npz import read_npz
from neurozoo.data.importers.braille import BRAILLE_ARRAYS
from neurozoo.data.manifest import MANIFEST
from neurozoo.data.pickled import Place, content_of
from neurozoo.errors import DataError

__all__ = ["Guess", "guess"]


@dataclass(frozen=True)
class Guess:
    """What a source seems to be.

    Attributes:
        format: The importer's name; empty where it is a store already, or nothing that is read.
        why: What tells.
        saw: What is in it, a line each.
        options: What the importer needs to be told, as ``--NAME ...`` to be filled in.
        whole_folder: Whether the importer takes the folder that the file is in.
    """

    format: str
    why: str
    saw: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    whole_folder: bool = False

    def command(self, source: Path, dest: str = "DEST") -> str:
        """The command to type; empty where there is none."""
        if not self.format:
            return ""
        taken = source.absolute().parent if self.whole_folder else source
        return shlex.join(["neurozoo", "data", "import", self.format, str(taken), dest, *self.options])


def guess(source: Path) -> Guess:
    """Look at a file or folder.

    Raises:
        DataError: It is not there, is refused, or is of no format that is known; says what it holds.
    """
    if source.is_dir():
        return _folder(source)
    if not source.exists():
        raise DataError(f"there is no {source}; give a file or folder")
    if source.suffix == ".csv":
        return _table(source)
    if source.suffix == ".npz" and not _OF_A_SPLIT.search(source.stem):
        return _arrays(source)
    if source.suffix in (".npz", ".h5", ".hdf5"):
        return Guess("mfn", f"{source.name} is one of a split; the importer takes the folder it is in", (), (), True)
    if source.suffix == ".csd":
        return Guess("csd", f"{source.name} is a .csd; the importer takes the folder it is in", (), _CSD, True)
    return _pickled(content_of(source), source)


_OF_A_SPLIT = re.compile("_(train|valid|test)(_emb)?$")
_CSD = ("--labels", "LABELS.csd", "--folds", "FOLDS.json")
_SENTIMENT = ("--labels", "LABELS.csd")
_VECTORS = ("--vectors", "VECTORS.txt")


def _folder(source: Path) -> Guess:
    names = sorted(path.name for path in source.iterdir())
    if MANIFEST in names:
        return Guess("", f"it holds {MANIFEST}: a store already; `neurozoo data info {source}` tells of it")
    csd = sorted(path.relative_to(source) for path in source.rglob("*.csd"))
    if csd:
        return Guess("csd", "it holds computational sequences", tuple(map(str, csd)), _CSD)
    if any(name.endswith(".xml") for name in names) and any(name.endswith(".arff") for name in names):
        return Guess("mulan", "it holds an XML of labels and ARFF", _ending(names, ".xml", ".arff"))
    for ending in (".npz", ".h5", ".hdf5"):
        trains = [name for name in names if name.endswith((f"_train{ending}", f"_train_emb{ending}"))]
        if trains:
            together = ("--modalities", "NAME=NUMBER,...") if f"X_train{ending}" in trains else ()
            return Guess("mfn", f"it holds {', '.join(trains)}", _ending(names, ending), together)
    raise DataError(f"{source}: of no format that is known; it holds {', '.join(names[:12]) or 'nothing'}")


def _table(source: Path) -> Guess:
    try:
        with source.open(encoding="utf-8-sig") as file:
            columns = file.readline(10_000).strip().split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} cannot be read as text ({error})") from error
    if not {"video_id", "segment_id", "split", "text"} <= set(columns):
        raise DataError(f"{source}: of no format that is known; its columns are {', '.join(columns)[:200]}")
    return Guess("mosei-text", "a table of transcripts", (", ".join(columns),), _VECTORS)


def _arrays(source: Path) -> Guess:
    arrays = read_npz(source)
    saw = tuple(f"{name} {_form(array)}" for name, array in arrays.items())
    if set(BRAILLE_ARRAYS) <= set(arrays):
        return Guess("braille", "an npz with x, y and letters", saw)
    raise DataError(f"{source}: of no format that is known; it holds {', '.join(saw)[:200] or 'nothing'}")


def _ending(names: list[str], *endings: str) -> tuple[str, ...]:
    return tuple(name for name in names if name.endswith(endings))


def _pickled(content: Place, source: Path) -> Guess:
    splits = {
        key: value
        for key, value in (content.value.items() if isinstance(content.value, Mapping) else ())
        if isinstance(value, Mapping) and key in ("train", "valid", "test")
    }
    saw = tuple(
        f"{split}: " + ", ".join(f"{key} {_form(value)}" for key, value in part.items())
        for split, part in splits.items()
    )
    keys = set().union(*(set(part) for part in splits.values())) if splits else set()
    named = "dict" in content and "tgt" in content["dict"]
    order = () if named else ("--label_order", "NAME,NAME,...")
    if {"src-com", "src-lyr", "tgt"} <= keys:
        return Guess("nemu", "splits with src-com, src-lyr and tgt", saw, (*_VECTORS, *order))
    if {"src-text", "src-audio", "src-visual", "tgt"} <= keys:
        return Guess("tailor", "splits with src-text and tgt", saw, order)
    if "regression_labels" in keys:
        return Guess("mmsa", "splits with regression_labels", saw, _SENTIMENT)
    if {"text", "audio", "vision", "labels"} <= keys:
        return Guess("mult", "splits with text, audio, vision and labels", saw, _SENTIMENT)
    has = ", ".join(map(str, content.value)) if isinstance(content.value, Mapping) else _form(content.value)
    raise DataError(
        f"{source}: of no format that is known; it holds {has[:200] or 'nothing'}" + "".join(f"; {s}" for s in saw)
    )


def _form(value: object) -> str:
    if isinstance(value, np.ndarray):
        return str(list(value.shape))
    return f"({len(value)})" if isinstance(value, list | tuple | Mapping) else type(value).__name__
