"""Importer of CMU-MOSEI as CMU-MultimodalSDK distributes it: a folder of ``.csd`` files.

Source: Zadeh et al., Multimodal language analysis in the wild: CMU-MOSEI dataset and interpretable
dynamic fusion graph, ACL 2018; files under immortal.multicomp.cs.cmu.edu/CMU-MOSEI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.data.importers.csd.alignment import fitted, overlapping, word_means
from neurozoo.data.importers.csd.reading import Csd
from neurozoo.data.importers.csd.segments import Segment, SegmentTable, segment_table
from neurozoo.data.importers.mosei import CMU_MOSEI
from neurozoo.data.manifest import Modality
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_csd"]

KNOWN = {
    "text": ("TimestampedGloveVectors", "TimestampedWordVectors"),
    "audio": ("COVAREP",),
    "vision": ("VisualFacet", "FACET", "OpenFace"),
}
"""What is in the names of the SDK's files, by modality; the first that is there is taken."""

Positions = Annotated[int, Field(ge=1, le=100_000)]


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
) -> Store:
    """Make a store of ``.csd`` files: aligned to the words, cut by the label segments, with the standard folds.

    A video at a time is held in memory.

    Args:
        source: A folder with a ``.csd`` file for each modality.
        dest: The store's folder; new or empty.
        labels: The ``.csd`` with the labels.
        folds: JSON with the videos of ``train``, ``valid`` and ``test``, or the SDK's Python file of them.
        modalities: ``NAME=FILE`` each; by default those that the SDK's names tell.
        words: The modality whose intervals are the words.
        aligned: Whether each modality has a row a word; else its own rows, and its own length.
        length: Positions L of the words.
        frames: Positions L of the other modalities, where they are not aligned.
        pad: Where shorter segments are filled with zeros; the SDK fills on the left.
        keep: Which end of longer segments stays; the SDK keeps the last.
        above: A label is present where its intensity is larger.
        label_order: Names of the label file's columns, where it does not say them.

    Raises:
        DataError: A file or modality is missing, malformed, or fits no segment.
    """
    table = segment_table(Path(labels), Path(folds), label_order=label_order, above=above)
    with ExitStack() as stack:
        files = {name: stack.enter_context(Csd(path)) for name, path in _files(source, modalities, labels).items()}
        if words not in files:
            raise DataError(f"{source}: the words are to come from {words!r}, and there are: {', '.join(files)}")
        cut = _Cut(words, aligned, length, frames, pad, keep)
        origin = {
            "format": "csd",
            "source": f"{source.name}: {', '.join(file.path.name for file in files.values())}",
            **CMU_MOSEI,
            "options": {
                "aligned": aligned,
                "words": words,
                "length": length,
                "frames": None if aligned else frames,
                "pad": pad,
                "keep": keep,
                "above": above,
            },
            "segments": table.sizes,
        }
        shapes = {name: Modality(file.dim, cut.length_of(name)) for name, file in files.items()}
        with StoreWriter(dest, labels=table.labels, origin=origin, modalities=shapes) as writer:
            _fill(writer, table, files, cut)
            writer.annotate(left_out=cut.left_out)
            for name, count in cut.non_finite.items():
                writer.count_non_finite(name, count)
    return Store(dest)


@dataclass
class _Cut:
    """How a video becomes samples, and what was met on the way."""

    words: str
    aligned: bool
    length: int
    frames: int
    pad: str
    keep: str
    non_finite: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def length_of(self, name: str) -> int:
        """Positions L of a modality."""
        return self.length if self.aligned or name == self.words else self.frames

    def note(self, what: str) -> None:
        """Count something that is missing."""
        self.left_out[what] = self.left_out.get(what, 0) + 1


def _fill(writer: StoreWriter, table: SegmentTable, files: Mapping[str, Csd], cut: _Cut) -> None:
    for video, group in groupby(table.segments, key=lambda segment: segment.video):
        segments = [segment for segment in group if segment.split is not None]
        if not segments:
            continue
        rows = {name: _rows(name, file, video, cut) for name, file in files.items()}
        samples = [_sample(segment, rows, cut) for segment in segments]
        writer.add(
            str(segments[0].split),
            {name: np.stack([sample[name][0] for sample in samples]) for name in files},
            np.array([segment.labels for segment in segments]),
            ids=[segment.id for segment in segments],
            masks={name: np.stack([sample[name][1] for sample in samples]) for name in files},
        )


_Rows = tuple[NDArray[np.float64], NDArray[np.float32]]
"""Intervals in seconds, and finite features; of a video that is missing, none."""


def _rows(name: str, file: Csd, video: str, cut: _Cut) -> _Rows:
    if video not in file:
        cut.note(f"videos without {name}")
        return np.empty((0, 2)), np.empty((0, file.dim), np.float32)
    seconds, features = file.sequence(video)
    bad = ~np.isfinite(features)
    count = int(bad.sum())
    cut.non_finite[name] = cut.non_finite.get(name, 0) + count
    return seconds, np.where(bad, np.float32(0), features) if count else features


def _sample(
    segment: Segment, rows: Mapping[str, _Rows], cut: _Cut
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Features and mask of each modality; one that is missing has no valid row."""
    spoken = rows[cut.words][0]
    words = spoken[overlapping(spoken, segment.start, segment.end)]
    if not len(words):
        cut.note("segments without a word")
    found = {}
    for name, (seconds, features) in rows.items():
        if name != cut.words and cut.aligned and len(seconds):
            own = word_means(seconds, features, words)
        else:
            own = features[overlapping(seconds, segment.start, segment.end)]
        found[name] = fitted(own, cut.length_of(name), pad=cut.pad, keep=cut.keep)
    return found


def _files(source: Path, given: Sequence[str], labels: str) -> dict[str, Path]:
    """The file of each modality, as named or by the names that the SDK's files have."""
    if not source.is_dir():
        raise DataError(f"{source} is not a folder; give the one with the .csd files")
    there = sorted(path for path in source.rglob("*.csd") if path.resolve() != Path(labels).resolve())
    has = f"there are: {', '.join(str(path.relative_to(source)) for path in there) or 'none'}"
    if given:
        files = {}
        for each in given:
            name, _, file = each.partition("=")
            if not name or not file or not (source / file).is_file():
                raise DataError(f"{source}: {each!r} names no file; give modalities=NAME=FILE,...; {has}")
            files[name] = source / file
        return files
    files = {
        name: match
        for name, marks in KNOWN.items()
        if (match := next((path for mark in marks for path in there if mark in path.name), None)) is not None
    }
    if not files:
        raise DataError(f"{source}: no file is called as the SDK's are; give modalities=NAME=FILE,...; {has}")
    return files
