"""Importer of CMU-MOSEI as CMU-MultimodalSDK distributes it: a folder of ``.csd`` files.

Source: Zadeh et al., Multimodal language analysis in the wild: CMU-MOSEI dataset and interpretable
dynamic fusion graph, ACL 2018; files under immortal.multicomp.cs.cmu.edu/CMU-MOSEI. Alignment is CMU-MultimodalSDK's
usual preparation: each sequence is collapsed to the words by the mean of the frames that overlap a word's interval,
and the words are cut by the label segments.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import CMU_MOSEI, Positions, files_in, origin_of, pad_rows
from neurozoo.data.importers.csd.csd_file import Csd
from neurozoo.data.importers.csd.labels import Segment, SegmentTable, segment_table
from neurozoo.data.manifest import feature_shape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_csd", "overlapping", "word_means"]

_SPOKEN, _PAUSE = "TimestampedWords", "sp"
"""Part of the name of the SDK's file of words as text, and the word that stands for a pause there."""
_UNITS = 10
"""How much earlier or later the rows of a modality may end than the segments: less than the frames of a second."""
_KNOWN = {
    "text": ("TimestampedGloveVectors", "TimestampedWordVectors"),
    "audio": ("COVAREP",),
    "vision": ("VisualFacet", "FACET", "OpenFace"),
}
"""Parts of the names of the SDK's files by modality; the first match is used."""

Seconds = NDArray[np.float64]
"""Intervals ``[n, 2]``, start and end, sorted by start."""
VideoRows = tuple[Seconds, NDArray[np.float32]]
"""Intervals, and finite features ``[n, d]``; no rows if the video is missing."""


def import_csd(
    source: Path,
    dest: Path,
    *,
    labels: str,
    folds: str,
    modalities: Sequence[str] = (),
    words: str = "text",
    aligned: bool = True,
    length: Positions = 60,
    frames: Positions = 500,
    pad: Literal["left", "right"] = "left",
    keep: Literal["first", "last"] = "last",
    above: float = 0.0,
    label_order: Sequence[str] = (),
    pauses: Literal["keep", "skip"] = "keep",
) -> Store:
    """Make a store of ``.csd`` files: aligned to the words, cut by the label segments, with the standard folds.

    A file may have a sequence for each video, or one for each segment, ``VIDEO[ROW]``, as files have that the SDK has
    cut already. Segments without length, which the SDK's authors have withdrawn, are left out and counted. One video at
    a time is held in memory.

    Args:
        source: A folder with a ``.csd`` file for each modality.
        dest: The store's folder; new or empty.
        labels: The ``.csd`` with the labels.
        folds: JSON with the videos of ``train``, ``valid`` and ``test``, or the SDK's Python file of them.
        modalities: ``NAME=FILE`` each; by default the files that have the SDK's names.
        words: The modality whose intervals are the words.
        aligned: Whether each modality has one row per word; if not, its own rows and length.
        length: Positions L of the words.
        frames: Positions L of the other modalities if they are not aligned.
        pad: Side of shorter segments that is filled with zeros; the SDK pads on the left.
        keep: End of longer segments that is kept; the SDK keeps the last.
        above: A label is present where its intensity is larger.
        label_order: Names of the label file's columns, if it does not name them.
        pauses: Whether to ``skip`` the words `sp`, the SDK's pauses. The folder's file of words as text
            (``TimestampedWords``) names them; without one they are the words whose row is all zeros.

    Raises:
        DataError: A file or modality is missing or malformed.
    """
    table = segment_table(Path(labels), Path(folds), label_order=label_order, above=above)
    files = {name: Csd(path) for name, path in _find_files(source, modalities, labels).items()}
    if words not in files:
        raise DataError(f"{source}: words={words!r} names no modality; there are: {', '.join(files)}")
    cut = _Cut(files, words, aligned, length, frames, pad, keep)
    if pauses == "skip":
        cut.skip_pauses = True
        cut.spoken = next((Csd(path) for path in files_in(source, ".csd", below=True) if _SPOKEN in path.name), None)
    origin = origin_of(
        "csd",
        f"{source.name}: {', '.join(file.path.name for file in files.values())}",
        CMU_MOSEI,
        aligned=aligned,
        words=words,
        length=length,
        frames=None if aligned else frames,
        pad=pad,
        keep=keep,
        above=above,
        **({} if pauses == "keep" else {"pauses": pauses}),  # so that the checksum of data imported before stays
    )
    cut.check_videos(table, labels)
    shapes = {name: feature_shape(file.dim, cut.length_of(name)) for name, file in files.items()}
    with StoreWriter(dest, labels=table.labels, origin=origin | {"segments": table.sizes}, modalities=shapes) as writer:
        for video, group in groupby(table.segments, key=lambda segment: segment.video):
            segments = [segment for segment in group if segment.split is not None]
            if not segments:
                continue
            rows = {name: cut.read_video(name, video, segments) for name in files}
            samples = [cut.segment(segment, rows) for segment in segments]
            writer.add(
                str(segments[0].split),
                {name: np.stack([sample[name][0] for sample in samples]) for name in files},
                np.array([segment.labels for segment in segments]),
                ids=[segment.id for segment in segments],
                masks={name: np.stack([sample[name][1] for sample in samples]) for name in files},
            )
        cut.check_units()
        withdrawn = {"segments of no length": table.withdrawn} if table.withdrawn else {}
        writer.annotate(left_out={**cut.left_out, **withdrawn})
        for name, count in cut.non_finite.items():
            writer.count_non_finite(name, count)
    return Store(dest)


@dataclass
class _Cut:
    """Cuts videos into samples, and counts what was missing; see :func:`import_csd` for the options."""

    files: Mapping[str, Csd]
    words: str
    aligned: bool
    length: int
    frames: int
    pad: str
    keep: str
    skip_pauses: bool = False
    spoken: Csd | None = None
    non_finite: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    ends: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    segment_ends: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def length_of(self, name: str) -> int:
        return self.length if self.aligned or name == self.words else self.frames

    def check_videos(self, table: SegmentTable, labels: str) -> None:
        """Refuse a modality that has none of the label file's videos."""
        ids = {name for segment in table.segments for name in (segment.video, segment.id)}
        for file in self.files.values():
            if ids.isdisjoint(file.videos):
                first = table.segments[0] if table.segments else None
                wanted = f"{first.video!r} or {first.id!r}" if first else "none"
                raise DataError(
                    f"{file.path} has none of the videos of {labels}: its ids are such as {file.videos[0]!r}, and "
                    f"{wanted} is needed; are these files of one data set?"
                )

    def check_units(self) -> None:
        """Refuse a modality whose sequences end far from their segments: in frames or milliseconds, not in seconds."""
        for name, file in self.files.items():
            end, wanted = self.ends[name], self.segment_ends[name]
            if wanted and not wanted / _UNITS < end < wanted * _UNITS:
                raise DataError(
                    f"{file.path}: its intervals end {end / wanted:.3g} times as late as the label segments of the "
                    "same videos; are they in seconds?"
                )

    def read_video(self, name: str, video: str, segments: Sequence[Segment]) -> VideoRows | None:
        """Return a modality's rows of a video; None if the file has them by segment."""
        file = self.files[name]
        if video in file:
            rows = self._read(name, video)
            if len(rows[0]):
                self.ends[name] += rows[0][-1, 1]
                self.segment_ends[name] += max(segment.end for segment in segments)
            return rows
        if any(segment.id in file for segment in segments):
            return None
        self.left_out[f"videos without {name}"] += 1
        return _no_rows(file)

    def segment(
        self, segment: Segment, rows: Mapping[str, VideoRows | None]
    ) -> dict[str, tuple[NDArray[np.float32], NDArray[np.uint8]]]:
        """Return features and mask by modality; a missing modality has no valid row."""
        pieces = {name: self._read_piece(name, segment) for name, video in rows.items() if video is None}
        words, _ = pieces.get(self.words) or _rows_of(segment, rows[self.words])
        if not len(words):
            self.left_out["segments without a word"] += 1
        sample = {}
        for name, video in rows.items():
            seconds, features = pieces[name] if video is None else video
            if name != self.words and self.aligned and len(seconds):
                # Of the whole video: a frame that begins before the segment may overlap its first word.
                selected = word_means(seconds, features, words)
            else:
                selected = features if video is None else _rows_of(segment, video)[1]
            sample[name] = pad_rows(selected, self.length_of(name), pad=self.pad, keep=self.keep)
        return sample

    def _read_piece(self, name: str, segment: Segment) -> VideoRows:
        if segment.id in self.files[name]:
            return self._read(name, segment.id)
        self.left_out[f"segments without {name}"] += 1
        return _no_rows(self.files[name])

    def _read(self, name: str, key: str) -> VideoRows:
        seconds, features = self.files[name].sequence(key)
        bad = ~np.isfinite(features)
        self.non_finite[name] += (count := int(bad.sum()))
        features = np.where(bad, np.float32(0), features) if count else features
        if self.skip_pauses and name == self.words:
            spoken = self._spoken(key, features)
            self.left_out["pauses"] += int((~spoken).sum())
            return seconds[spoken], features[spoken]
        return seconds, features

    def _spoken(self, key: str, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which rows ``[n]`` of the words are no pauses."""
        if self.spoken is None or key not in self.spoken:
            filled: NDArray[np.bool_] = np.count_nonzero(features, axis=1) > 0
            return filled
        texts = self.spoken.texts(key)
        if len(texts) != len(features):
            raise DataError(
                f"{self.spoken.path}: video {key!r} has {len(texts)} words, and {self.files[self.words].path} has "
                f"{len(features)}; give files of one data set"
            )
        return np.array([text != _PAUSE for text in texts], np.bool_)


def _no_rows(file: Csd) -> VideoRows:
    return np.empty((0, 2)), np.empty((0, file.dim), np.float32)


def _rows_of(segment: Segment, rows: VideoRows | None) -> VideoRows:
    """Return the rows of a video that overlap a segment."""
    seconds, features = rows or (np.empty((0, 2)), np.empty((0, 0), np.float32))
    selected = overlapping(seconds, segment.start, segment.end)
    return seconds[selected], features[selected]


def word_means(frames: Seconds, features: NDArray[np.float32], words: Seconds) -> NDArray[np.float32]:
    """Average the finite features ``[n, d]`` of the frames ``[n, 2]`` that overlap each word ``[w, 2]``, in seconds.

    A frame overlaps a word if it starts before the word ends and ends after it starts. Returns ``[w, d]``, zeros for a
    word without frames.
    """
    means = np.zeros((len(words), features.shape[1]), np.float32)
    if not len(frames) or not len(words):
        return means
    if (np.diff(frames[:, 1]) < 0).any():  # a long frame spans later, shorter ones: no binary search by end
        for index, word in enumerate(words):
            selected = features[overlapping(frames, *word)]
            means[index] = selected.mean(axis=0, dtype=np.float64) if len(selected) else 0
        return means
    first = np.searchsorted(frames[:, 1], words[:, 0], side="right")
    beyond = np.maximum(np.searchsorted(frames[:, 0], words[:, 1], side="left"), first)
    # reduceat sums the ranges [first, beyond), and takes no index past the end: hence one more row.
    padded = np.concatenate([features, np.zeros((1, features.shape[1]), np.float32)])
    bounds = np.stack([first, beyond], axis=1).ravel()
    sums = np.add.reduceat(padded, bounds, axis=0, dtype=np.float64)[::2]
    counts = (beyond - first)[:, None]
    np.divide(sums, counts, out=means, where=counts > 0, casting="same_kind")
    return means


def overlapping(intervals: Seconds, start: float, end: float) -> NDArray[np.bool_]:
    """Return which intervals ``[n, 2]`` overlap the time from ``start`` to ``end``, ``[n]``."""
    mask: NDArray[np.bool_] = (intervals[:, 0] < end) & (intervals[:, 1] > start)
    return mask


def _find_files(source: Path, given: Sequence[str], labels: str) -> dict[str, Path]:
    """Return the file of each modality, as given or recognised by the SDK's names."""
    present = [path for path in files_in(source, ".csd", below=True) if path.resolve() != Path(labels).resolve()]
    listed = f"there are: {', '.join(str(path.relative_to(source)) for path in present) or 'none'}"
    files = {}
    for each in given:
        name, _, file = each.partition("=")
        if not name or not file or not (source / file).is_file():
            raise DataError(f"{source}: {each!r} names no file; give modalities=NAME=FILE,...; {listed}")
        files[name] = source / file
    if given:
        return files
    for name, marks in _KNOWN.items():
        if matches := [path for mark in marks for path in present if mark in path.name]:
            files[name] = matches[0]
    if not files:
        raise DataError(f"{source}: no file has a name of the SDK; give modalities=NAME=FILE,...; {listed}")
    return files
