"""Importer of CMU-MOSEI's transcripts, with word vectors or encodings that the user brings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.data.importers.csd.alignment import stacked
from neurozoo.data.importers.csd.segments import read_folds
from neurozoo.data.importers.mosei import CMU_MOSEI
from neurozoo.data.importers.tokenizer import TokenRule, tokenize
from neurozoo.data.importers.transcripts import SENTIMENT, SPLITS, Transcript, read_transcripts
from neurozoo.data.importers.word_vectors import Encodings, WordVectors, read_vectors
from neurozoo.data.manifest import Modality
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["TEXT", "WORD_IDS", "import_mosei_text"]

TEXT = "text"
"""The modality of the vectors, ``[L, D]``."""
WORD_IDS = "word-ids"
"""The modality of the words themselves, ``[L, 1]``: what a bag of words is made of."""

Positions = Annotated[int, Field(ge=1, le=100_000)]
_TOGETHER = 512


def import_mosei_text(
    source: Path,
    dest: Path,
    *,
    vectors: str,
    folds: str = "",
    tokens: TokenRule = "apostrophes",
    unknown: Literal["skip", "zero"] = "skip",
    length: Positions = 40,
    keep: Literal["first", "last"] = "first",
    above: float = 0.0,
) -> Store:
    """Make a store of the transcripts, their emotions and splits.

    Beside the vectors the store holds every word's id under ``word-ids``, from 1: the words that have a
    vector first, then the others, each by how often the training split has them. The words themselves
    are not kept.

    Args:
        source: ``text_emotions.csv``: a row for each segment.
        dest: The store's folder; new or empty.
        vectors: Word vectors, as text or npz, or the segments' encodings as npz: an array under each
            segment's id ``video_id[segment_id]``.
        folds: The videos of ``train``, ``valid`` and ``test``, as JSON or the SDK's Python file; by default the
            file's splits.
        tokens: How a transcript is parted into words.
        unknown: What becomes of a word without vector: ``skip`` leaves it out, ``zero`` keeps its
            place, as a valid row of zeros.
        length: Positions L; longer transcripts are cut, shorter ones padded at their end.
        keep: Which end of a longer transcript stays.
        above: An emotion is present where its intensity is larger.

    Raises:
        DataError: A file is missing or malformed, or there is no vector for what it says.
    """
    transcripts = read_transcripts(source, read_folds(Path(folds)) if folds else None)
    said = {each.id: tokenize(each.text, tokens) for each in transcripts}
    counts = Counter(word for words in said.values() for word in words)
    known = read_vectors(Path(vectors), counts)
    names = [name for name in transcripts[0].intensities if name != SENTIMENT]
    origin = {
        "format": "mosei-text",
        "source": f"{source.name}, {Path(vectors).name}",
        **CMU_MOSEI,
        "options": {
            "vectors": Path(vectors).name,
            "folds": Path(folds).name,
            "tokens": tokens,
            "unknown": unknown,
            "length": length,
            "keep": keep,
            "above": above,
        },
    }
    ids = _ids(transcripts, said, known)
    longest = max(1, *(len(words) for words in said.values()))
    shapes = {TEXT: Modality(known.dim, length), WORD_IDS: Modality(1, longest)}
    rows = _Rows(known, unknown == "zero")
    with StoreWriter(dest, labels=names, origin=origin, modalities=shapes) as writer:
        for split in SPLITS:
            own = [each for each in transcripts if each.split == split]
            for first in range(0, len(own), _TOGETHER):
                part = own[first : first + _TOGETHER]
                found = [rows.of(each, said[each.id]) for each in part]
                words = [np.array([ids[word] for word in said[each.id]], np.float32)[:, None] for each in part]
                features, masks = stacked(found, length, pad="right", keep=keep)
                places, there = stacked(words, longest, pad="right", keep="first")
                writer.add(
                    split,
                    {TEXT: features, WORD_IDS: places},
                    np.array([[each.intensities[name] > above for name in names] for each in part], np.uint8),
                    ids=[each.id for each in part],
                    masks={TEXT: masks, WORD_IDS: there},
                )
        writer.annotate(**_coverage(known, counts), **rows.told(length))
    return Store(dest)


class _Rows:
    """The rows of each transcript, and what was met on the way."""

    def __init__(self, known: WordVectors | Encodings, zero: bool) -> None:
        self._known, self._zero = known, zero
        self.lengths: list[int] = []

    def of(self, transcript: Transcript, words: Sequence[str]) -> NDArray[np.float32]:
        """Its vectors ``[n, D]``, in order."""
        if isinstance(self._known, Encodings):
            if transcript.id not in self._known.rows:
                known = next(iter(self._known.rows), "none")
                raise DataError(f"there is no encoding of segment {transcript.id}; the ids are such as {known!r}")
            found = self._known.rows[transcript.id]
        else:
            found = self._known.rows(words, zero=self._zero)
        self.lengths.append(len(found))
        return found

    def told(self, length: int) -> dict[str, int]:
        """How many segments have nothing, or more than ``length``."""
        return {
            "segments_without_vector": sum(n == 0 for n in self.lengths),
            "segments_cut": sum(n > length for n in self.lengths),
        }


def _ids(
    transcripts: Sequence[Transcript], said: dict[str, list[str]], known: WordVectors | Encodings
) -> dict[str, int]:
    """An id for each word, from 1: with a vector first, by its count in the training split, then by the alphabet."""
    vectors = known.vectors if isinstance(known, WordVectors) else {}
    counts = Counter(word for each in transcripts if each.split == "train" for word in said[each.id])
    words = {word for words in said.values() for word in words}
    return {
        word: rank for rank, word in enumerate(sorted(words, key=lambda w: (w not in vectors, -counts[w], w)), start=1)
    }


def _coverage(known: WordVectors | Encodings, counts: Counter[str]) -> dict[str, object]:
    """How many of the words that were said have a vector: of all tokens, and of the different ones."""
    tokens, types = counts.total(), len(counts)
    words: dict[str, object] = {"modality": WORD_IDS, "tokens": tokens, "types": types}
    if isinstance(known, Encodings):
        return {"words": words | {"types_with_vector": None}}
    there = {word: count for word, count in counts.items() if word in known.vectors}
    if not there:
        raise DataError("none of the words that were said has a vector; is it a file of word vectors, in lower case?")
    return {"words": words | {"types_with_vector": len(there), "tokens_with_vector": sum(there.values())}}
