"""Importer of NEMu, a data set of songs with twelve moods: comments, lyrics, cover and sound.

Source: the loaders of SMILE's authors, whose second data set it is; the file has TAILOR's form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.data.importers.csd.alignment import stacked
from neurozoo.data.importers.tailor import FIRST_WORD, TARGETS, tailor_labels
from neurozoo.data.importers.word_vectors import WordVectors, read_vectors
from neurozoo.data.pickled import Place, content_of
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_nemu"]

TEXTS = {"comments": "src-com", "lyrics": "src-lyr"}
FEATURES = {"cover": "src-img", "audio": "src-aud"}
_TOGETHER = 512

Positions = Annotated[int, Field(ge=1, le=100_000)]
Part = tuple[NDArray[Any], NDArray[np.uint8] | None]
"""Features ``[n, L, D]``, and a mask ``[n, L]``; without one rows of zeros at either end are padding."""


def import_nemu(
    source: Path, dest: Path, *, vectors: str = "", length: Positions = 60, label_order: Sequence[str] = ()
) -> Store:
    """Make a store of NEMu's joblib file, with the modalities ``comments``, ``lyrics``, ``cover`` and ``audio``.

    Args:
        source: The file: ``{split: {src-com, src-lyr, src-img, src-aud, tgt}, dict: {...}}``. Texts are
            lists of word ids, with the vocabulary under ``dict`` by the same key, or vectors already;
            cover and sound are sequences, or one vector a song.
        dest: The store's folder; new or empty.
        vectors: Word vectors as text or npz, where texts are word ids. A word without one is left out.
        length: Positions L of comments and of lyrics, where they are word ids; the first stay.
        label_order: Names of the moods with the ids 4, 5, ...; only where the file does not say.

    Raises:
        DataError: The file is not of that form, does not name its labels, or needs ``vectors``.
    """
    content = content_of(source)
    names, labels = tailor_labels(content, label_order)
    texts = {name: _Text(content, key) for name, key in TEXTS.items()}
    known = _known(vectors, texts, source)
    origin = {
        "format": "nemu",
        "source": source.name,
        "licence": "unknown; ask its authors",
        "citation": "SMILE: spiking multi-modal interactive label-guided enhancement network, ICME 2024",
        "options": {"vectors": Path(vectors).name, "length": length, "label_order": list(label_order)},
    }
    with StoreWriter(dest, labels=names, origin=origin) as writer:
        for split, truth in labels.items():
            here = content[split]
            for key in (*TEXTS.values(), *FEATURES.values()):
                here[key].count(len(truth), f"{content.where}: {split!r}: {TARGETS!r}")
            given = {name: _features(here[key]) for name, key in FEATURES.items()}
            for rows in _pieces(len(truth)):
                parts = {name: text.part(split, rows, known, length) for name, text in texts.items()}
                parts |= {name: (x[rows], None if mask is None else mask[rows]) for name, (x, mask) in given.items()}
                writer.add(
                    split,
                    {name: x for name, (x, _) in parts.items()},
                    truth[rows],
                    ids=[f"{split}-{i:05d}" for i in range(rows.start, rows.stop)],
                    masks={name: mask for name, (_, mask) in parts.items() if mask is not None},
                )
        writer.annotate(words={name: text.told for name, text in texts.items() if text.words is not None})
    return Store(dest)


class _Text:
    """Comments or lyrics: word ids with their vocabulary, or vectors.

    Attributes:
        words: The vocabulary, by id; None where the file holds vectors.
        told: How many words there were, and how many had a vector.
    """

    def __init__(self, content: Place, key: str) -> None:
        self._content, self._key = content, key
        first = content["train"][key]
        self.words = None if _is_vectors(first) else _vocabulary(content, key)
        self.told = {"tokens": 0, "tokens_with_vector": 0}

    def part(self, split: str, rows: slice, known: WordVectors | None, length: int) -> Part:
        place = self._content[split][self._key]
        if self.words is None or known is None:
            return place.numbers(3)[rows], None
        found = []
        for sample in range(rows.start, rows.stop):
            said = self._said(place.value[sample], f"{place.where}, sample {sample}")
            self.told["tokens"] += len(said)
            self.told["tokens_with_vector"] += sum(word in known.vectors for word in said)
            found.append(known.rows(said))
        return stacked(found, length, pad="right", keep="first")

    def _said(self, given: object, where: str) -> list[str]:
        ids = np.asarray(given if isinstance(given, list | tuple | np.ndarray) else [given]).reshape(-1)
        if ids.size == 0:
            return []
        words = self.words or {}
        if ids.dtype.kind not in "iu":
            raise DataError(f"{where} is {ids.dtype}; a list of word ids is needed")
        unknown = [int(i) for i in ids if i >= FIRST_WORD and int(i) not in words]
        if unknown or int(ids.min()) < 0:
            wrong = unknown[0] if unknown else int(ids.min())
            raise DataError(f"{where} has the word id {wrong}, which the file's vocabulary does not")
        # Those below are padding, unknown, begin and end.
        return [words[int(i)] for i in ids if i >= FIRST_WORD]


def _is_vectors(place: Place) -> bool:
    return isinstance(place.value, np.ndarray) and place.value.dtype.kind == "f"


def _vocabulary(content: Place, key: str) -> dict[int, str]:
    place = content["dict"][key]
    pairs = place.value.items() if isinstance(place.value, Mapping) else ()
    words = {identity: str(word).lower() for word, identity in pairs if isinstance(identity, int)}
    if not words:
        raise DataError(f"{place.where} is no vocabulary; a dict of words and their ids is needed")
    return words


def _known(vectors: str, texts: Mapping[str, _Text], source: Path) -> WordVectors | None:
    """The vectors of all words; None where no text needs any."""
    spoken = {word for text in texts.values() if text.words for word in text.words.values()}
    if all(text.words is None for text in texts.values()):
        return None
    if not vectors:
        raise DataError(
            f"{source} holds word ids; give vectors=FILE, word vectors as text (a word and its numbers a line) or npz"
        )
    known = read_vectors(Path(vectors), spoken)
    if not isinstance(known, WordVectors) or spoken.isdisjoint(known.vectors):
        raise DataError(
            f"{vectors} has vectors for none of the {len(spoken)} words of {source}; is it of their language?"
        )
    return known


def _features(place: Place) -> Part:
    if np.ndim(place.value if isinstance(place.value, np.ndarray) else place.items()[:1]) == 2:
        x = place.numbers(2)
        # One vector a song: there, even where it is zeros.
        return x[:, None], np.ones((len(x), 1), np.uint8)
    return place.numbers(3), None


def _pieces(samples: int) -> Iterator[slice]:
    for first in range(0, samples, _TOGETHER):
        yield slice(first, min(first + _TOGETHER, samples))
