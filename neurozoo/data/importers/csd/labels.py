"""Labels of CMU-MOSEI's segments: read from the labels' ``.csd`` and the standard folds, found by a sample's id."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import SPLITS
from neurozoo.data.importers.csd.csd_file import Csd
from neurozoo.data.untrusted.nested import Place
from neurozoo.errors import DataError
from neurozoo.files.json_text import parse_json
from neurozoo.files.text import as_texts, read_text

__all__ = ["SENTIMENT", "Segment", "SegmentTable", "check_folds", "labels_by_id", "read_folds", "segment_table"]

SENTIMENT = "sentiment"
"""The column of a label file that is no emotion."""
_TOLERANCE = 0.05
"""Largest distance in seconds of a sample's start or end from the label file's; segments are seconds long."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A labelled part of a video.

    Attributes:
        video: The video's id.
        index: Row among the video's segments in the label file, from 0; not in the order of time.
        start: In seconds.
        end: In seconds.
        split: ``train``, ``valid`` or ``test``; None if no fold names the video.
        labels: K numbers, 1 where the label is present.
    """

    video: str
    index: int
    start: float
    end: float
    split: str | None
    labels: tuple[int, ...]

    @property
    def id(self) -> str:
        """``video[index]``, as the SDK forms it."""
        return f"{self.video}[{self.index}]"


@dataclass(frozen=True)
class SegmentTable:
    """All segments of a data set.

    Attributes:
        labels: Names of the K labels.
        segments: In the order of the label file, grouped by video.
        withdrawn: Number of segments without length, which are left out.
    """

    labels: tuple[str, ...]
    segments: tuple[Segment, ...]
    withdrawn: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        """Number of segments by split; those of videos in no fold under ``none``."""
        splits = [segment.split or "none" for segment in self.segments]
        return {split: splits.count(split) for split in (*SPLITS, "none")}


def segment_table(
    labels: Path, folds: Path | None, *, label_order: Sequence[str] = (), above: float = 0.0
) -> SegmentTable:
    """Read the label file and assign each segment its split.

    Args:
        labels: The ``.csd`` with a row per segment: sentiment, and the intensity of each emotion.
        folds: See :func:`read_folds`; None assigns no split.
        label_order: Names of the columns, if the file does not name them.
        above: A label is present where its intensity is larger.

    Raises:
        DataError: A file is malformed, or does not name its columns and ``label_order`` is not given.
    """
    split_of = {} if folds is None else read_folds(folds)
    file = Csd(labels)
    names = _column_names(file, label_order)
    columns = [column for column, name in enumerate(names) if name != SENTIMENT]
    if not columns:
        raise DataError(f"{labels}: it has no label but sentiment")
    check_folds(split_of, file.videos, folds, labels)
    segments, withdrawn = [], 0
    for video in file.videos:
        seconds, intensities = file.sequence(video, ordered=False)
        if not np.isfinite(intensities).all():
            raise DataError(f"{labels}: video {video!r} has an intensity that is not finite")
        present = (intensities[:, columns] > above).astype(np.uint8)
        kept = [
            Segment(video, index, start, end, split_of.get(video), tuple(row))
            for index, ((start, end), row) in enumerate(zip(seconds.tolist(), present.tolist(), strict=True))
            if start < end
        ]
        segments += kept
        withdrawn += len(seconds) - len(kept)
    return SegmentTable(tuple(names[column] for column in columns), tuple(segments), withdrawn)


def check_folds(split_of: Mapping[str, str], videos: Collection[str], folds: Path | None, source: Path) -> None:
    """Refuse folds of other videos: each split that they fill must have one of those in ``source``.

    Raises:
        DataError: A split has none.
    """
    known = set(videos)
    for split in SPLITS:
        named = [video for video, of in split_of.items() if of == split]
        if named and known.isdisjoint(named):
            raise DataError(
                f"{folds}: none of the {len(named)} videos of {split} is in {source}: they are such as {named[0]!r}, "
                f"and those in the file such as {next(iter(videos), 'none')!r}; are these files of one data set?"
            )


def _column_names(file: Csd, given: Sequence[str]) -> tuple[str, ...]:
    if file.names is not None and given and tuple(given) != file.names:
        raise DataError(
            f"{file.path}: its columns are {', '.join(file.names)}, and {', '.join(given)} was given; leave that out"
        )
    names = file.names or tuple(given)
    if len(names) != file.dim or len(set(names)) < len(names):
        raise DataError(
            f"{file.path}: it has {file.dim} columns and does not say what they are; "
            "give label_order=NAME,NAME,... with one name each"
        )
    return names


def read_folds(path: Path, *, python: bool | None = None) -> Mapping[str, str]:
    """Read the split of each video.

    Args:
        path: A JSON object that lists the videos of ``train``, ``valid`` and ``test``; or CMU-MultimodalSDK's
            ``cmu_mosei_std_folds.py``, which assigns the three lists. It is parsed, not executed.
        python: Whether it is that Python file; by default if its name ends in ``.py``.

    Raises:
        DataError: The file has neither form, or a video is in two splits.
    """
    python = path.suffix == ".py" if python is None else python
    text = read_text(path)
    try:
        content = _parse_assignments(text) if python else parse_json(text, path)
    except DataError:
        raise
    except Exception as error:  # Python's parser has its own for each way to be wrong
        raise DataError(f"{path} cannot be read as Python ({error}); folds are {{split: [video, ...]}}") from error
    lists: dict[str, Any] = content if isinstance(content, dict) else {}
    if set(lists) != set(SPLITS) or not all(isinstance(videos, list) for videos in lists.values()):
        raise DataError(
            f"{path}: folds are a JSON object of three lists of videos, {', '.join(SPLITS)}, "
            "or a Python file that assigns standard_train_fold and so on"
        )
    split_of: dict[str, str] = {}
    for split, videos in lists.items():
        for video in as_texts(videos, f"{path}: {split!r}"):
            if split_of.setdefault(video, split) != split:
                raise DataError(f"{path}: the video {video!r} is in {split_of[video]} and in {split}")
    return split_of


def _parse_assignments(text: str) -> dict[str, object]:
    """Return the lists that the SDK's Python file assigns, by split."""
    assigned = {
        target.id: node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    variables = {split: f"standard_{split}_fold" for split in SPLITS}
    return {split: ast.literal_eval(assigned[name]) for split, name in variables.items() if name in assigned}


def labels_by_id(
    path: Path, ids: Mapping[str, Place], *, label_order: Sequence[str] = (), above: float = 0.0
) -> tuple[tuple[str, ...], dict[str, NDArray[np.uint8]]]:
    """Look up the labels of samples of another file by their ids.

    An id is ``VIDEO$_$ROW`` (MMSA), ``VIDEO[ROW]``, or three texts, the video, start and end in seconds (MulT). ROW is
    the segment's row in the label file, as CMU-MultimodalSDK counts; start and end may be off by 0.05 s.

    Args:
        path: The labels' ``.csd``.
        ids: The ids of each split's samples.
        label_order: Names of the columns, if the file does not name them.
        above: A label is present where its intensity is larger.

    Returns:
        Names of the K labels, and ``[N, K]`` of each split.

    Raises:
        DataError: The file or an id is malformed, no segment has an id, or two samples are one segment.
    """
    table = segment_table(path, None, label_order=label_order, above=above)
    by_video: dict[str, list[Segment]] = {}
    for segment in table.segments:
        by_video.setdefault(segment.video, []).append(segment)
    used: dict[str, str] = {}
    labels = {}
    for split, place in ids.items():
        rows = []
        for sample, each in enumerate(place.items()):
            where = f"{place.where}, sample {sample}"
            segment = _find_segment(each, by_video, where, path)
            if segment.id in used:
                raise DataError(f"{where} is the segment {segment.id}, as {used[segment.id]} is already")
            used[segment.id] = where
            rows.append(segment.labels)
        labels[split] = np.array(rows, np.uint8).reshape(len(rows), len(table.labels))
    return table.labels, labels


def _find_segment(sample: object, by_video: Mapping[str, Sequence[Segment]], where: str, path: Path) -> Segment:
    words = as_texts(sample if isinstance(sample, list | tuple) else [sample], where)
    video, *position = words if len(words) == 3 else _split_id(words, where)
    if video not in by_video:
        raise DataError(f"{where} is of the video {video!r}, which {path} lacks; are the files of one data set?")
    segments = by_video[video]
    try:
        if len(position) == 1:
            return {segment.index: segment for segment in segments}[int(position[0])]
        start, end = map(float, position)
    except (KeyError, ValueError):
        raise DataError(f"{where} is {', '.join(words)}; {path} has {len(segments)} segments of that video") from None
    # Starts in the label file can be slightly negative and were clipped when read.
    distances = [abs(each.start - max(start, 0.0)) + abs(each.end - end) for each in segments]
    nearest = segments[int(np.argmin(distances))]
    if not min(distances) <= _TOLERANCE:  # also for NaN
        raise DataError(
            f"{where} is {video!r} from {start:g} to {end:g} s, and no segment of {path} is within {_TOLERANCE} s; "
            f"the nearest is from {nearest.start:g} to {nearest.end:g} s"
        )
    return nearest


def _split_id(words: Sequence[str], where: str) -> list[str]:
    """Return video and row of an id in one text."""
    text = words[0] if len(words) == 1 else ""
    for mark, end in (("$_$", ""), ("[", "]")):
        video, separator, row = text.rpartition(mark)
        if separator and row.endswith(end) and row.removesuffix(end).isdecimal():
            return [video, row.removesuffix(end)]
    raise DataError(f"{where} is {', '.join(words)[:80]!r}; give VIDEO$_$ROW, VIDEO[ROW], or video, start, end")
