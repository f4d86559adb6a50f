"""Importer of CMU-MOSEI's transcripts, a CSV with a row per segment, with the user's word vectors or encodings."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import CHUNK, CMU_MOSEI, SPLITS, Positions, origin_of, pad_samples
from neurozoo.data.importers.csd.labels import SENTIMENT, check_folds, read_folds
from neurozoo.data.importers.word_vectors import Encodings, WordVectors, read_vectors
from neurozoo.data.manifest import feature_shape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError
from neurozoo.files.text import read_text

__all__ = ["TEXT", "WORD_IDS", "TokenRule", "import_mosei_text", "tokenize"]

TEXT, WORD_IDS = "text", "word-ids"
"""The modalities: vectors ``[L, D]``, and the words' ids ``[L, 1]`` for bags of words."""
TokenRule = Literal["apostrophes", "white-space"]

_FIRST_COLUMNS, _LAST_COLUMN = ("video_id", "segment_id", "start", "end", "split"), "text"
_MAX_FIELD = 1_000_000
"""Characters of one field; a transcript of a segment is a few sentences."""
_MAX_BYTES = 2**31
# GloVe's training text was split like this: don't -> do n't, it's -> it 's.
_TOKEN = re.compile(r"n't\b|'[^\W_]+|[^\W_]+?(?=n't\b)|[^\W_]+")


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

    In addition to the vectors the store holds every word's id under ``word-ids``, from 1: words that have a vector
    first, then the others, each by their frequency in the training split. The words themselves are not stored.

    Args:
        source: ``text_emotions.csv``: a row per segment.
        dest: The store's folder; new or empty.
        vectors: Word vectors, as text or npz, or the segments' encodings as npz: an array under each
            segment's id ``video_id[segment_id]``.
        folds: The videos of ``train``, ``valid`` and ``test``, as JSON or the SDK's Python file; by default the
            file's splits.
        tokens: How a transcript is split into words.
        unknown: Treatment of a word without vector: ``skip`` leaves it out, ``zero`` keeps its
            place, as a valid row of zeros.
        length: Positions L; longer transcripts are cut, shorter ones padded at their end.
        keep: End of a longer transcript that is kept.
        above: An emotion is present where its intensity is larger.

    Raises:
        DataError: A file is missing or malformed, or has no vector for a segment or for any word.
    """
    transcripts = _read_transcripts(source, Path(folds) if folds else None)
    words = {transcript.id: tokenize(transcript.text, tokens) for transcript in transcripts}
    counts = Counter(word for spoken in words.values() for word in spoken)
    known = read_vectors(Path(vectors), counts)
    names = [name for name in transcripts[0].intensities if name != SENTIMENT]
    origin = origin_of(
        "mosei-text",
        f"{source.name}, {Path(vectors).name}",
        CMU_MOSEI,
        vectors=Path(vectors).name,
        folds=Path(folds).name,
        tokens=tokens,
        unknown=unknown,
        length=length,
        keep=keep,
        above=above,
    )
    ids = _number_words(transcripts, words, known)
    longest = max(1, *map(len, words.values()))
    shapes = {TEXT: feature_shape(known.dim, length), WORD_IDS: feature_shape(1, longest)}
    lengths: list[int] = []
    with StoreWriter(dest, labels=names, origin=origin, modalities=shapes) as writer:
        for split in SPLITS:
            samples = [transcript for transcript in transcripts if transcript.split == split]
            for first in range(0, len(samples), CHUNK):
                chunk = samples[first : first + CHUNK]
                rows = [_vectors_of(transcript, words[transcript.id], known, unknown == "zero") for transcript in chunk]
                lengths += map(len, rows)
                numbers = [np.array([ids[word] for word in words[each.id]], np.float32)[:, None] for each in chunk]
                features, mask = pad_samples(rows, length, pad="right", keep=keep)
                word_ids, word_mask = pad_samples(numbers, longest, pad="right", keep="first")
                writer.add(
                    split,
                    {TEXT: features, WORD_IDS: word_ids},
                    np.array([[each.intensities[name] > above for name in names] for each in chunk], np.uint8),
                    ids=[each.id for each in chunk],
                    masks={TEXT: mask, WORD_IDS: word_mask},
                )
        writer.annotate(
            words=_coverage(known, counts),
            segments_without_vector=lengths.count(0),
            segments_cut=sum(n > length for n in lengths),
        )
    return Store(dest)


@dataclass(frozen=True)
class _Transcript:
    """The transcript of a video's segment."""

    id: str  # video[segment]
    split: str  # empty if the segment is left out
    intensities: Mapping[str, float]  # by label, 0 where it is absent; dimensionless; sentiment may be negative
    text: str


def _read_transcripts(path: Path, folds: Path | None) -> list[_Transcript]:
    """Read the CSV; labels are the columns between ``split`` and ``text``. Videos in no given fold are left out."""
    split_of = None if folds is None else read_folds(folds)
    line_of: dict[str, int] = {}
    transcripts = []
    reader = csv.reader(io.StringIO(read_text(path, limit=_MAX_BYTES), newline=""), strict=True)
    before = csv.field_size_limit(_MAX_FIELD)
    try:
        header = next(reader, [])
        n = len(_FIRST_COLUMNS)
        labels = header[n:-1]
        if tuple(header[:n]) != _FIRST_COLUMNS or header[-1] != _LAST_COLUMN or not set(labels) - {SENTIMENT}:
            raise DataError(
                f"{path}:1: the columns are {', '.join(header)[:200] or 'none'}; needed are "
                f"{', '.join(_FIRST_COLUMNS)}, the labels, {_LAST_COLUMN}"
            )
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            transcript = _parse_row(cells, labels, split_of, where)
            if (line := line_of.setdefault(transcript.id, reader.line_num)) != reader.line_num:
                raise DataError(f"{where}: segment {transcript.id} is in line {line} already")
            if transcript.split:
                transcripts.append(transcript)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); download it again") from error
    finally:
        csv.field_size_limit(before)
    if split_of is not None:
        check_folds(split_of, {id.rpartition("[")[0] for id in line_of}, folds, path)
    if not transcripts:
        raise DataError(f"{path}: it has no row, or no video that the folds name")
    return transcripts


def _parse_row(
    cells: Sequence[str], labels: Sequence[str], split_of: Mapping[str, str] | None, where: str
) -> _Transcript:
    columns = len(_FIRST_COLUMNS) + len(labels) + 1
    if len(cells) != columns:
        raise DataError(f"{where}: {len(cells)} values for {columns} columns; download the file again")
    video, segment, _start, _end, split = cells[: len(_FIRST_COLUMNS)]
    if split_of is not None:
        split = split_of.get(video, "")
    elif split not in SPLITS:
        raise DataError(f"{where}: the split is {split!r}; give one of {', '.join(SPLITS)}, or --folds FILE")
    values = cells[len(_FIRST_COLUMNS) : -1]
    intensities = {name: _parse_number(value, name, where) for name, value in zip(labels, values, strict=True)}
    return _Transcript(f"{video}[{segment}]", split, intensities, cells[-1])


def _parse_number(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {text[:40]!r}, which is not a finite number")
    return value


def tokenize(text: str, rule: TokenRule = "apostrophes") -> list[str]:
    """Split a text into its words, in lower case and in order.

    The rule ``apostrophes`` takes runs of letters and digits and leaves punctuation out; an apostrophe and what follows
    it are a word (``it's`` becomes ``it`` and ``'s``, ``don't`` becomes ``do`` and ``n't``). ``white-space`` splits at
    white space only, so that punctuation stays attached.

    Example:
        >>> tokenize("I don't, well: it's (umm) fine.")
        ['i', 'do', "n't", 'well', 'it', "'s", 'umm', 'fine']
    """
    if rule == "white-space":
        return text.lower().split()
    return _TOKEN.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def _vectors_of(
    transcript: _Transcript, words: Sequence[str], known: WordVectors | Encodings, zero: bool
) -> NDArray[np.float32]:
    """Return the vectors ``[n, D]`` of a transcript, in order."""
    if isinstance(known, WordVectors):
        return known.rows(words, zero=zero)
    if transcript.id not in known.rows:
        example = next(iter(known.rows), "none")
        raise DataError(f"there is no encoding of segment {transcript.id}; the ids are such as {example!r}")
    return known.rows[transcript.id]


def _number_words(
    transcripts: Sequence[_Transcript], words: Mapping[str, Sequence[str]], known: WordVectors | Encodings
) -> dict[str, int]:
    """Return an id per word, from 1: with a vector first, then by count in the training split, then alphabetical."""
    vectors = known.vectors if isinstance(known, WordVectors) else {}
    counts = Counter(word for each in transcripts if each.split == "train" for word in words[each.id])
    distinct = {word for spoken in words.values() for word in spoken}
    ordered = sorted(distinct, key=lambda word: (word not in vectors, -counts[word], word))
    return {word: rank for rank, word in enumerate(ordered, start=1)}


def _coverage(known: WordVectors | Encodings, counts: Counter[str]) -> dict[str, object]:
    """Count the tokens and the distinct words, and those that have a vector."""
    words: dict[str, object] = {"modality": WORD_IDS, "tokens": counts.total(), "types": len(counts)}
    if isinstance(known, Encodings):
        return words | {"types_with_vector": None}
    covered = {word: count for word, count in counts.items() if word in known.vectors}
    if not covered:
        raise DataError("no word of the transcripts has a vector; give a file of word vectors, in lower case")
    return words | {"types_with_vector": len(covered), "tokens_with_vector": sum(covered.values())}
