"""Transcripts with labels: a CSV with a row for each segment of a video."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurozoo.data.foreign.files import open_regular
from neurozoo.errors import DataError

__all__ = ["SENTIMENT", "SPLITS", "Transcript", "read_transcripts"]

SPLITS = ("train", "valid", "test")
SENTIMENT = "sentiment"
_BEFORE = ("video_id", "segment_id", "start", "end", "split")
_TEXT = "text"
_LONGEST = 1_000_000
"""Characters of one field; a transcript of a segment is a few sentences."""


@dataclass(frozen=True)
class Transcript:
    """What was said in a segment of a video, and how intensely each emotion was seen in it.

    Attributes:
        video: The video's id.
        segment: The segment's number in its video, as the file has it.
        split: ``train``, ``valid`` or ``test``.
        intensities: By label, 0 where it was not seen; dimensionless. ``sentiment`` may be negative.
        text: What was said.
    """

    video: str
    segment: str
    split: str
    intensities: Mapping[str, float]
    text: str

    @property
    def id(self) -> str:
        """Its name, ``video[segment]``."""
        return f"{self.video}[{self.segment}]"


def read_transcripts(path: Path, split_of: Mapping[str, str] | None = None) -> list[Transcript]:
    """Read the file; the columns between ``split`` and ``text`` are the labels.

    Args:
        path: A CSV with the columns video_id, segment_id, start, end, split, a column for each
            label, and text.
        split_of: The split of each video, where it is not the file's own; videos that it does not
            name are left out.

    Raises:
        DataError: It is missing, malformed, or names a segment twice; says in which line.
    """
    seen: dict[str, int] = {}
    found = []
    for line, transcript in _rows(path, split_of):
        if transcript.id in seen:
            raise DataError(f"{path}:{line}: segment {transcript.id} is in line {seen[transcript.id]} already")
        seen[transcript.id] = line
        if transcript.split:
            found.append(transcript)
    if not found:
        raise DataError(f"{path}: it has no row, or no video that the folds name")
    return found


def _rows(path: Path, split_of: Mapping[str, str] | None) -> Iterator[tuple[int, Transcript]]:
    before = csv.field_size_limit(_LONGEST)
    try:
        with open(open_regular(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            labels = _labels(next(reader, []), path)
            for cells in reader:
                yield reader.line_num, _transcript(cells, labels, split_of, f"{path}:{reader.line_num}")
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8 ({error}); get it anew") from error
    finally:
        csv.field_size_limit(before)


def _labels(header: Sequence[str], path: Path) -> tuple[str, ...]:
    labels = tuple(header[len(_BEFORE) : -1])
    if tuple(header[: len(_BEFORE)]) != _BEFORE or header[-1] != _TEXT or not set(labels) - {SENTIMENT}:
        raise DataError(
            f"{path}:1: the columns are {', '.join(header)[:200] or 'none'}; needed are {', '.join(_BEFORE)}, "
            f"the labels, {_TEXT}"
        )
    return labels


def _transcript(
    cells: Sequence[str], labels: Sequence[str], split_of: Mapping[str, str] | None, where: str
) -> Transcript:
    expected = len(_BEFORE) + len(labels) + 1
    if len(cells) != expected:
        raise DataError(f"{where}: {len(cells)} values for {expected} columns; get the file anew")
    video, segment, _start, _end, split = cells[: len(_BEFORE)]
    if split_of is not None:
        split = split_of.get(video, "")
    elif split not in SPLITS:
        raise DataError(f"{where}: the split is {split!r}; give one of {', '.join(SPLITS)}, or --folds FILE")
    values = cells[len(_BEFORE) : -1]
    intensities = {name: _number(value, name, where) for name, value in zip(labels, values, strict=True)}
    return Transcript(video, segment, split, intensities, cells[-1])


def _number(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {text[:40]!r}, which is not a finite number")
    return value
