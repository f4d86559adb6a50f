"""Importer of EmoDB's acted emotions as log-mel frames: 535 German utterances of ten actors, seven emotions.

Source: Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss, A database of German emotional speech, Interspeech 2005.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import SPLITS, list_arrays, origin_of
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.splitting import described, split_by_values
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.npz import names_in_npz, read_npz
from neurozoo.errors import DataError
from neurozoo.files.text import as_texts

__all__ = ["EMODB_ARRAYS", "detect_emodb", "import_emodb"]

EMODB_ARRAYS = ("x", "length", "y", "emotions", "speaker", "name")
"""The arrays of the file; others, such as ``sentence``, are not used."""
SIGNAL = "log_mel"
_HOP = 0.01
_TERMS = {
    "licence": "CC0 1.0",
    "citation": "Burkhardt et al.: A database of German emotional speech, Interspeech 2005",
}


def import_emodb(
    source: Path,
    dest: Path,
    *,
    valid: Sequence[str] = ("11", "14"),
    test: Sequence[str] = ("3", "8", "12", "16"),
) -> Store:
    """Make a store of EmoDB's log-mel frames, ``log_mel`` ``[frames, bands]`` uint8, and seven classes.

    A value v stands for the level v / 10 - 14, in nepers of power, of a frame of 25 ms, one every 10 ms. So
    ``send-on-delta`` with the step 10 and the start 80 gives the events that ``mel-level-crossing`` would give.

    Args:
        source: The npz with ``x`` ``[N, L, bands]``, ``length`` ``[N]``, ``y`` ``[N]``, ``emotions`` ``[K]``,
            ``speaker`` ``[N]`` and ``name`` ``[N]``.
        dest: The store's folder; new or empty.
        valid: Speakers for choosing an epoch.
        test: Speakers for the test; the rest is trained on.

    Raises:
        DataError: The file is not of that form, or has no such speaker.
    """
    arrays = read_npz(source)
    _check(source, arrays)
    x, lengths, y = arrays["x"], arrays["length"], arrays["y"]
    classes, names = (as_texts(arrays[key], f"{source}: {key}") for key in ("emotions", "name"))
    speakers = as_texts(arrays["speaker"], f"{source}: speaker")
    splits = np.array(split_by_values(speakers, "speaker", {"valid": valid, "test": test}, source))
    origin = origin_of("emodb", source.name, _TERMS, valid=list(valid), test=list(test))
    origin |= {"splits": described(splits.tolist(), "by speaker"), "level": "x / 10 - 14"}
    shape = SignalShape(x.shape[2:], x.shape[1], "uint8", True, _HOP)
    with StoreWriter(dest, signals={SIGNAL: shape}, task="multiclass", outputs=classes, origin=origin) as writer:
        for split in SPLITS:
            rows = np.flatnonzero(splits == split)
            frames = [x[row, : lengths[row]] for row in rows]
            writer.add(split, {SIGNAL: frames}, y[rows], ids=[names[row] for row in rows])
    return Store(dest)


def detect_emodb(source: Path) -> DetectedFormat | None:
    """Detect EmoDB's npz; None if it is something else."""
    if source.suffix != ".npz" or not set(EMODB_ARRAYS) <= set(names_in_npz(source)):
        return None
    return DetectedFormat("emodb", "an npz of log-mel with emotions and speakers", (list_arrays(read_npz(source)),))


def _check(source: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    if missing := [name for name in EMODB_ARRAYS if name not in arrays]:
        raise DataError(f"{source}: the array {missing[0]!r} is missing; there are: {list_arrays(arrays)}")
    x = arrays["x"]
    if x.ndim != 3 or x.dtype != np.uint8 or 0 in x.shape:
        raise DataError(f"{source}: x is {x.dtype} of shape {list(x.shape)}; give uint8 [N, L, bands]")
    for name in ("length", "y"):
        if arrays[name].shape != x.shape[:1] or arrays[name].dtype.kind not in "iu":
            raise DataError(
                f"{source}: {name} is {arrays[name].dtype} of shape {list(arrays[name].shape)}; give whole numbers "
                f"[{len(x)}], one for each utterance"
            )
    for name in ("speaker", "name"):
        if arrays[name].shape != x.shape[:1]:
            raise DataError(f"{source}: {name} is of shape {list(arrays[name].shape)}; give one for each of {len(x)}")
    lengths = arrays["length"]
    wrong = np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))
    if len(wrong):
        raise DataError(f"{source}: length of utterance {wrong[0]} is {lengths[wrong[0]]}; give 1 to {x.shape[1]}")
