"""Read word vectors, as text or npz, and encodings of segments, as npz."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import open_text
from neurozoo.data.untrusted.npz import read_npz
from neurozoo.errors import DataError
from neurozoo.files.text import as_texts

__all__ = ["Encodings", "WordVectors", "read_vectors"]

_WORDS, _VECTORS = "words", "vectors"
_LONGEST_LINE = 10_000_000

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class WordVectors:
    """One vector ``[D]`` per word, independent of its context."""

    dim: int
    vectors: Mapping[str, Vector]

    def rows(self, words: Sequence[str], *, zero: bool = False) -> Vector:
        """Return the vectors ``[n, D]`` of words in order; unknown words are left out, or rows of zeros if ``zero``."""
        unknown = np.zeros(self.dim, np.float32)
        rows = [self.vectors.get(word, unknown) for word in words if zero or word in self.vectors]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)


@dataclass(frozen=True)
class Encodings:
    """An encoder's output by segment id, ``[n, D]``: n tokens, or 1 if it gives one vector per segment."""

    dim: int
    rows: Mapping[str, Vector]


def read_vectors(path: Path, wanted: Collection[str]) -> WordVectors | Encodings:
    """Read vectors of words, or of segments.

    Args:
        path: Text, a word and its D numbers per line, with or without a first line that counts them
            (GloVe's and word2vec's formats); or npz with the words under ``words`` ``[V]`` and their
            vectors under ``vectors`` ``[V, D]``; or npz with an array for each segment, ``[n, D]``
            or ``[D]``, under the segment's id.
        wanted: Words to keep from a text file, so that a file larger than memory can be read.

    Raises:
        DataError: The file is missing or malformed.
    """
    if path.suffix != ".npz":
        return _read_text(path, set(wanted))
    arrays = read_npz(path)
    if {_WORDS, _VECTORS} <= arrays.keys():
        return _from_table(path, arrays[_WORDS], arrays[_VECTORS])
    return _from_segments(path, arrays)


def _from_table(path: Path, words: NDArray[Any], vectors: NDArray[Any]) -> WordVectors:
    fits = words.ndim == 1 and words.dtype.kind in "US" and vectors.ndim == 2 and len(vectors) == len(words)
    if not fits or vectors.dtype.kind not in "fiu" or 0 in vectors.shape:
        raise DataError(
            f"{path}: words are {words.dtype} of shape {list(words.shape)} and vectors {vectors.dtype} of shape "
            f"{list(vectors.shape)}; give text [V] and numbers [V, D]"
        )
    return WordVectors(
        vectors.shape[1], dict(zip(as_texts(words, f"{path}: {_WORDS}"), _to_float32(vectors), strict=True))
    )


def _from_segments(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Encodings:
    rows, dims = {}, set()
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or array.dtype.kind not in "fiu" or array.shape[-1] == 0:
            raise DataError(
                f"{path}: {name[:80]!r} is {array.dtype} of shape {list(array.shape)}; give an array of numbers for "
                f"each segment, [n, D] or [D], or words under {_WORDS!r} and their vectors under {_VECTORS!r}"
            )
        rows[name] = _to_float32(array.reshape(-1, array.shape[-1]))
        dims.add(array.shape[-1])
    if len(dims) != 1:
        raise DataError(f"{path}: its arrays have {sorted(dims) or 'no'} features; give vectors of one dimension D")
    return Encodings(dims.pop(), rows)


def _to_float32(array: NDArray[Any]) -> Vector:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32, copy=False)


def _read_text(path: Path, wanted: set[str]) -> WordVectors:
    vectors: dict[str, Vector] = {}
    dim = 0
    with open_text(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), ""), start=1):
            if len(line) == _LONGEST_LINE:
                raise DataError(f"{path}:{number}: a line of {_LONGEST_LINE:,} characters or more; are these vectors?")
            cells = line.rstrip("\n").rstrip(" ").replace("\t", " ").split(" ")
            if number == 1 and len(cells) == 2 and all(re.fullmatch("[0-9]{1,9}", cell) for cell in cells):
                dim = int(cells[1])  # word2vec's first line, such as "400000 300"
                continue
            dim = dim or len(cells) - 1
            # Counted from the right: a word may contain spaces.
            word = " ".join(cells[:-dim])
            if dim < 1 or len(cells) <= dim:
                raise DataError(f"{path}:{number}: {len(cells)} values; give a word and its {dim or 'D'} numbers")
            if word in wanted and word not in vectors:
                vectors[word] = _parse_numbers(cells[-dim:], f"{path}:{number}")
    if not dim:
        raise DataError(f"{path}: it is empty; give a word and its numbers per line")
    return WordVectors(dim, vectors)


def _parse_numbers(cells: list[str], where: str) -> Vector:
    try:
        return np.array(cells, dtype=np.float32)
    except ValueError as error:
        raise DataError(f"{where}: not a word and its numbers ({error}); correct the line") from error
