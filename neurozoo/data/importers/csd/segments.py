"""The labelled segments of a data set: from the labels' ``.csd`` and the standard folds."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurozoo.data.importers.csd.reading import Csd
from neurozoo.errors import DataError

__all__ = ["Segment", "SegmentTable", "read_folds", "read_segments", "segment_table"]

SENTIMENT = "sentiment"
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Segment:
    """A labelled stretch of a video.

    Attributes:
        video: The video's id.
        index: Its row among the video's segments in the label file, from 0; not in the order of time.
        start: In seconds.
        end: In seconds.
        split: ``train``, ``valid`` or ``test``; None where no folds name the video.
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
        """Its name, ``video[index]``, as the SDK forms it."""
        return f"{self.video}[{self.index}]"


@dataclass(frozen=True)
class SegmentTable:
    """All segments of a data set.

    Attributes:
        labels: Names of the K labels.
        segments: In the order of the label file, a video's together.
    """

    labels: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Segments by split, and under ``none`` those of videos in no fold."""
        found = [segment.split or "none" for segment in self.segments]
        return {split: found.count(split) for split in (*_SPLITS, "none")}

    @property
    def counts(self) -> dict[str, int]:
        """How many segments have each label, in all splits together."""
        total = np.array([segment.labels for segment in self.segments]).sum(axis=0, dtype=np.int64)
        return dict(zip(self.labels, total.tolist(), strict=True))


def segment_table(labels: Path, folds: Path, *, label_order: Sequence[str] = (), above: float = 0.0) -> SegmentTable:
    """Read the label file and give each segment its split.

    Args:
        labels: The ``.csd`` with a row a segment: sentiment, and the intensity of each emotion.
        folds: See :func:`read_folds`.
        label_order: What the columns are, where the file does not say.
        above: A label is present where its intensity is larger.

    Raises:
        DataError: A file is malformed, or does not say what its columns are and ``label_order`` is
            not given.
    """
    names, segments = read_segments(labels, label_order=label_order, above=above, split_of=read_folds(folds))
    return SegmentTable(names, segments)


def read_segments(
    labels: Path, *, label_order: Sequence[str] = (), above: float = 0.0, split_of: Mapping[str, str] | None = None
) -> tuple[tuple[str, ...], tuple[Segment, ...]]:
    """Names of the K labels, and all segments, a video's together.

    Args:
        labels: See :func:`segment_table`.
        label_order: What the columns are, where the file does not say.
        above: A label is present where its intensity is larger.
        split_of: The split of each video.

    Raises:
        DataError: As :func:`segment_table`.
    """
    split_of = split_of or {}
    with Csd(labels) as file:
        names = _columns(file, label_order)
        chosen = [place for place, name in enumerate(names) if name != SENTIMENT]
        if not chosen:
            raise DataError(f"{labels}: it has no label but sentiment")
        segments = []
        for video in file.videos:
            seconds, intensities = file.sequence(video, ordered=False)
            if not np.isfinite(intensities).all():
                raise DataError(f"{labels}: video {video!r} has an intensity that is not finite")
            present = (intensities[:, chosen] > above).astype(np.uint8)
            segments += [
                Segment(video, index, start, end, split_of.get(video), tuple(row))
                for index, ((start, end), row) in enumerate(zip(seconds.tolist(), present.tolist(), strict=True))
            ]
    return tuple(names[place] for place in chosen), tuple(segments)


def read_folds(path: Path, *, python: bool | None = None) -> Mapping[str, str]:
    """The split of each video.

    Args:
        path: A JSON object that lists the videos of ``train``, ``valid`` and ``test``; or CMU-MultimodalSDK's
            ``cmu_mosei_std_folds.py``, which assigns the three lists. It is parsed, and nothing of it runs.
        python: Whether it is that file; by default, where its name ends in ``.py``.

    Raises:
        DataError: It is not such a file, or a video is in two splits.
    """
    python = path.suffix == ".py" if python is None else python
    try:
        text = path.read_text(encoding="utf-8")
        content = _assigned(text) if python else json.loads(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        form = "Python" if python else "JSON"
        raise DataError(f"{path} cannot be read as {form} ({error}); folds are {{split: [video, ...]}}") from error
    lists: dict[str, Any] = content if isinstance(content, dict) else {}
    if set(lists) != set(_SPLITS) or not all(isinstance(videos, list) for videos in lists.values()):
        raise DataError(
            f"{path}: folds are a JSON object of three lists of videos, {', '.join(_SPLITS)}, "
            "or a Python file that assigns standard_train_fold and so on"
        )
    split_of: dict[str, str] = {}
    for split, videos in lists.items():
        for video in map(str, videos):
            if split_of.setdefault(video, split) != split:
                raise DataError(f"{path}: the video {video!r} is in {split_of[video]} and in {split}")
    return split_of


def _assigned(text: str) -> dict[str, object]:
    """The lists that the SDK's file assigns, by split."""
    assigned = {
        target.id: node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    named = {split: f"standard_{split}_fold" for split in _SPLITS}
    return {split: ast.literal_eval(assigned[name]) for split, name in named.items() if name in assigned}


def _columns(file: Csd, given: Sequence[str]) -> tuple[str, ...]:
    said = file.names
    if said is not None and given and tuple(given) != said:
        raise DataError(
            f"{file.path}: its columns are {', '.join(said)}, and {', '.join(given)} was given; leave that out"
        )
    names = said or tuple(given)
    if len(names) != file.dim or len(set(names)) < len(names):
        raise DataError(
            f"{file.path}: it has {file.dim} columns and does not say what they are; "
            "give label_order=NAME,NAME,... with one name each"
        )
    return names
