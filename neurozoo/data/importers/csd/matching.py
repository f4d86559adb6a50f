"""Emotions of samples that another file holds: found in a label file by the samples' ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.csd.segments import Segment, read_segments
from neurozoo.data.pickled import Place
from neurozoo.errors import DataError

__all__ = ["labels_by_id"]

_SECONDS = 0.05
"""How far start and end may be from those of the label file; segments are seconds long."""


def labels_by_id(
    path: Path, ids: Mapping[str, Place], *, label_order: Sequence[str] = (), above: float = 0.0
) -> tuple[tuple[str, ...], dict[str, NDArray[np.uint8]]]:
    """Names of the K labels, and ``[N, K]`` of each split.

    An id is ``VIDEO$_$ROW`` (MMSA), ``VIDEO[ROW]``, or three texts, the video, start and end in seconds
    (MulT). ROW is the segment's row in the label file, as CMU-MultimodalSDK counts; start and end may be
    off by 0.05 s.

    Args:
        path: The labels' ``.csd``.
        ids: The ids of each split's samples.
        label_order: What the columns are, where the file does not say.
        above: A label is present where its intensity is larger.

    Raises:
        DataError: The file is malformed, an id is, or no segment has it, or two samples are one segment.
    """
    names, segments = read_segments(path, label_order=label_order, above=above)
    by_video: dict[str, list[Segment]] = {}
    for segment in segments:
        by_video.setdefault(segment.video, []).append(segment)
    taken: dict[str, str] = {}
    labels = {}
    for split, place in ids.items():
        rows = []
        for sample, each in enumerate(place.items()):
            where = f"{place.where}, sample {sample}"
            segment = _segment(each, by_video, where, path)
            if segment.id in taken:
                raise DataError(f"{where} is the segment {segment.id}, as {taken[segment.id]} is already")
            taken[segment.id] = where
            rows.append(segment.labels)
        labels[split] = np.array(rows, np.uint8).reshape(len(rows), len(names))
    return names, labels


def _segment(given: object, by_video: Mapping[str, Sequence[Segment]], where: str, path: Path) -> Segment:
    words = [_text(word) for word in np.ravel(np.asarray(given, dtype=object))]
    video, *times = words if len(words) == 3 else _row(words, where)
    if video not in by_video:
        raise DataError(f"{where} is of the video {video!r}, which {path} lacks; are the files of one data set?")
    there = by_video[video]
    try:
        if len(times) == 1:
            return {segment.index: segment for segment in there}[int(times[0])]
        start, end = map(float, times)
    except (KeyError, ValueError):
        raise DataError(f"{where} is {', '.join(words)}; {path} has {len(there)} segments of that video") from None
    # The label file's own starts can be slightly negative, and were clipped.
    distance = [abs(each.start - max(start, 0.0)) + abs(each.end - end) for each in there]
    nearest = int(np.argmin(distance))
    if not distance[nearest] <= _SECONDS:
        near = there[nearest]
        raise DataError(
            f"{where} is {video!r} from {start:g} to {end:g} s, and no segment of {path} is within {_SECONDS} s; "
            f"the nearest is from {near.start:g} to {near.end:g} s"
        )
    return there[nearest]


def _row(words: Sequence[str], where: str) -> list[str]:
    """Video and row of an id of one word."""
    text = words[0] if len(words) == 1 else ""
    for mark, end in (("$_$", ""), ("[", "]")):
        video, found, row = text.rpartition(mark)
        if found and row.endswith(end) and row.removesuffix(end).isdecimal():
            return [video, row.removesuffix(end)]
    raise DataError(f"{where} is {', '.join(words)[:80]!r}; give VIDEO$_$ROW, VIDEO[ROW], or video, start, end")


def _text(word: object) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
