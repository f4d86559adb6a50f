"""Importer of NEMu, a data set of songs with twelve moods: comments, lyrics, cover and audio.

Source: the loaders of SMILE's authors, who use it as their second data set; the file has TAILOR's form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import CHUNK, Positions, origin_of, pad_samples
from neurozoo.data.importers.tailor import FIRST_WORD, TARGETS, tailor_labels
from neurozoo.data.importers.word_vectors import WordVectors, read_vectors
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.nested import Place, content_of
from neurozoo.errors import DataError
from neurozoo.files.text import as_text

__all__ = ["import_nemu"]

_TEXTS = {"comments": "src-com", "lyrics": "src-lyr"}
_FEATURES = {"cover": "src-img", "audio": "src-aud"}

_TERMS = {
    "licence": "unknown; ask its authors",
    "citation": "SMILE: spiking multi-modal interactive label-guided enhancement network, ICME 2024",
}

_Part = tuple[NDArray[Any], NDArray[np.uint8] | None]
"""Features ``[n, L, D]``, and a mask ``[n, L]``; without a mask, rows of zeros at either end are padding."""


def import_nemu(
    source: Path, dest: Path, *, vectors: str = "", length: Positions = 60, label_order: Sequence[str] = ()
) -> Store:
    """Make a store of NEMu's joblib file, with the modalities ``comments``, ``lyrics``, ``cover`` and ``audio``.

    Args:
        source: The file: ``{split: {src-com, src-lyr, src-img, src-aud, tgt}, dict: {...}}``. Texts are
            lists of word ids, with the vocabulary under ``dict`` by the same key, or vectors already;
            cover and audio are sequences, or one vector per song.
        dest: The store's folder; new or empty.
        vectors: Word vectors as text or npz, if texts are word ids. A word without a vector is left out.
        length: Positions L of comments and of lyrics, if they are word ids; the first are kept.
        label_order: Names of the moods with the ids 4, 5, ...; only if the file does not name them.

    Raises:
        DataError: The file is not of that form, does not name its labels, or needs ``vectors``.
    """
    content = content_of(source)
    names, labels = tailor_labels(content, label_order)
    texts = {name: _Text(content, key) for name, key in _TEXTS.items()}
    known = _read_word_vectors(vectors, texts, source)
    options = {"vectors": Path(vectors).name, "length": length, "label_order": list(label_order)}
    origin = origin_of("nemu", source.name, _TERMS, **options)
    with StoreWriter(dest, labels=names, origin=origin) as writer:
        for split, truth in labels.items():
            songs = content[split]
            for key in (*_TEXTS.values(), *_FEATURES.values()):
                songs[key].count(len(truth), f"{content.where}: {split!r}: {TARGETS!r}")
            features = {name: _read_features(songs[key]) for name, key in _FEATURES.items()}
            for first in range(0, len(truth), CHUNK):
                rows = slice(first, min(first + CHUNK, len(truth)))
                parts = {name: text.part(split, rows, known, length) for name, text in texts.items()}
                parts |= {name: (x[rows], None if mask is None else mask[rows]) for name, (x, mask) in features.items()}
                writer.add(
                    split,
                    {name: x for name, (x, _) in parts.items()},
                    truth[rows],
                    ids=[f"{split}-{i:05d}" for i in range(rows.start, rows.stop)],
                    masks={name: mask for name, (_, mask) in parts.items() if mask is not None},
                )
        writer.annotate(words={name: text.counts for name, text in texts.items() if text.words is not None})
    return Store(dest)


class _Text:
    """Comments or lyrics: word ids with their vocabulary ``words``, or vectors; counts the words that are read."""

    def __init__(self, content: Place, key: str) -> None:
        self._content, self._key = content, key
        value = content["train"][key].value
        holds_vectors = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        self.words = None if holds_vectors else _read_vocabulary(content["dict"][key])
        self.counts = {"tokens": 0, "tokens_with_vector": 0}

    def part(self, split: str, rows: slice, known: WordVectors | None, length: int) -> _Part:
        """Return the vectors of some rows of a split, ``[n, length, D]`` if they are looked up in ``known``."""
        place = self._content[split][self._key]
        if self.words is None or known is None:
            return place.numbers(3)[rows], None
        samples = []
        for sample in range(rows.start, rows.stop):
            words = _look_up(place.value[sample], self.words, f"{place.where}, sample {sample}")
            self.counts["tokens"] += len(words)
            self.counts["tokens_with_vector"] += sum(word in known.vectors for word in words)
            samples.append(known.rows(words))
        return pad_samples(samples, length, pad="right", keep="first")


def _look_up(sample: object, vocabulary: Mapping[int, str], where: str) -> list[str]:
    """Return the words of a list of ids."""
    ids = Place(sample if isinstance(sample, list | tuple | np.ndarray) else [sample], where).numbers().reshape(-1)
    if ids.size == 0:
        return []
    if ids.dtype.kind not in "iu":
        raise DataError(f"{where} is {ids.dtype}; a list of word ids is needed")
    unknown = [int(i) for i in ids if i >= FIRST_WORD and int(i) not in vocabulary]
    if unknown or int(ids.min()) < 0:
        wrong = unknown[0] if unknown else int(ids.min())
        raise DataError(f"{where} has the word id {wrong}, which the file's vocabulary lacks")
    # Smaller ids are padding, unknown, begin and end.
    return [vocabulary[int(i)] for i in ids if i >= FIRST_WORD]


def _read_vocabulary(place: Place) -> dict[int, str]:
    pairs = place.value.items() if isinstance(place.value, Mapping) else ()
    words = {identity: as_text(word, place.where).lower() for word, identity in pairs if type(identity) is int}
    if not words:
        raise DataError(f"{place.where} is not a vocabulary; a dict of words and their ids is needed")
    return words


def _read_word_vectors(vectors: str, texts: Mapping[str, _Text], source: Path) -> WordVectors | None:
    """Return the vectors of the texts' words; None if all texts hold vectors."""
    vocabularies = [text.words for text in texts.values() if text.words is not None]
    if not vocabularies:
        return None
    words = {word for vocabulary in vocabularies for word in vocabulary.values()}
    if not vectors:
        raise DataError(
            f"{source} holds word ids; give vectors=FILE, word vectors as text (a word and its numbers per line) or npz"
        )
    known = read_vectors(Path(vectors), words)
    if not isinstance(known, WordVectors) or words.isdisjoint(known.vectors):
        raise DataError(
            f"{vectors} has vectors for none of the {len(words)} words of {source}; give vectors of their language"
        )
    return known


def _read_features(place: Place) -> _Part:
    x = place.numbers()
    if x.ndim == 2:
        # One vector per song is valid, even if it is zeros.
        return x[:, None], np.ones((len(x), 1), np.uint8)
    return place.numbers(3), None
