"""Importer of the tactile Braille readings of a robot's fingertip that slides over letters.

Source: Müller-Cleve et al., Braille letter reading: a benchmark for spatio-temporal pattern recognition on neuromorphic
hardware, Frontiers in Neuroscience 16, 2022; the recordings are Zenodo's record 6556273.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import SPLITS, list_arrays, origin_of
from neurozoo.data.importers.splitting import SHARES, Seed, draw_by_class
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.npz import read_npz
from neurozoo.errors import DataError, suggestion
from neurozoo.files.text import as_texts

__all__ = ["BRAILLE_ARRAYS", "import_braille"]

BRAILLE_ARRAYS = ("x", "y", "letters")
"""The arrays of the file."""
MODALITY = "taxels"
EVENTS = "events"
_TERMS = {
    "licence": "CC BY 4.0",
    "citation": "Müller-Cleve et al.: Braille letter reading: a benchmark for spatio-temporal pattern recognition "
    "on neuromorphic hardware, Frontiers in Neuroscience 16, 2022; doi:10.5281/zenodo.6556273",
}


def import_braille(
    source: Path,
    dest: Path,
    *,
    letters: Sequence[str] = (),
    seed: Seed = 0,
    task: Literal["multilabel", "multiclass"] = "multilabel",
    events: Annotated[float, Field(gt=0, le=1e6)] | None = None,
    tick: Annotated[float, Field(gt=0, le=1e6)] = 0.01,
) -> Store:
    """Make a store of Braille readings with one modality, ``taxels``, and one letter as the label of each reading.

    The file has no splits. They are drawn here for each letter separately: 15 % to valid, as many to test, the rest to
    train. A letter's draw does not depend on the other letters chosen. A reading's id is its row in the file.

    Args:
        source: An npz file with the readings ``x`` ``[N, L, D]`` (76 positions, 12 taxels), the names ``letters``
            ``[K]``, and the index ``y`` ``[N]`` of each reading's letter. Values are stored unchanged.
        dest: The store's folder; new or empty.
        letters: Letters to import, in the order of the labels; by default all, as in the file.
        seed: Seed of the splits.
        task: ``multilabel`` with one label a reading, or ``multiclass``.
        events: Step of a send-on-delta code, in the unit of the taxels: the store has ``events`` in the place of
            ``taxels``, of the addresses 2 x taxel + (0 rising, 1 falling). A step of 8 gives about 20 a reading.
        tick: Seconds of one position, of which the file says nothing; for events alone.

    Raises:
        DataError: The file is not of that form, lacks a chosen letter, or has fewer than three readings of one.
    """
    arrays = read_npz(source)
    _check(source, arrays)
    x, y = arrays["x"], arrays["y"]
    known = as_texts(arrays["letters"], f"{source}: letters")
    chosen = _choose(letters, known, source)
    # Stores of labels keep the origin, and with it the checksum, that they had before there was a choice.
    options = {"letters": letters, "seed": seed} | ({} if task == "multilabel" else {"task": task})
    origin = origin_of("braille", source.name, _TERMS, **options) | {
        "splits": f"drawn by neurozoo with the seed {seed}, separately for each letter: {SHARES['valid']:g} of its "
        "readings to valid, as many to test; the file has none"
    }
    rows_of = [np.flatnonzero(y == known.index(name)) for name in chosen]
    if missing := [name for name, rows in zip(chosen, rows_of, strict=True) if not len(rows)]:
        raise DataError(f"{source} has no reading of {missing[0]!r}; leave it out by --letters")
    rows = np.concatenate(rows_of)
    names = np.array(draw_by_class(y[rows], SHARES, seed, known, source))
    signals: dict[str, SignalShape] | None = None
    found: list[NDArray[np.int32]] = []
    if events is not None:
        origin["options"] |= {"events": events, "tick": tick}
        found = _events(x, events)
        longest = max(1, *map(len, found))
        signals = {EVENTS: replace(SignalShape.events((2 * x.shape[2],), longest, tick), span=x.shape[1])}
    places = np.repeat(np.arange(len(chosen)), [len(each) for each in rows_of])
    with StoreWriter(dest, outputs=chosen, task=task, origin=origin, signals=signals) as writer:
        for split in SPLITS:
            mine, labels = rows[names == split], places[names == split]
            writer.add(
                split,
                {MODALITY: x[mine]} if events is None else {EVENTS: [found[row] for row in mine]},
                labels if task == "multiclass" else np.eye(len(chosen), dtype=np.uint8)[labels],
                ids=[str(row) for row in mine],
                # Readings have no padding: a row of zeros is a measurement.
                masks={MODALITY: np.ones((len(mine), x.shape[1]), np.uint8)} if events is None else None,
            )
    return Store(dest)


def _events(x: NDArray[Any], step: float) -> list[NDArray[np.int32]]:
    """Return the events of each reading, rows (position, address)."""
    # torch takes a second to import, and the detection of formats reads this file.
    import torch

    from neurozoo.data.representations.delta import crossings, events_of_counts

    values = torch.from_numpy(x.astype(np.float64))
    coded = events_of_counts(crossings(values, None, step, values[:, :1]))
    return [rows[valid].numpy() for rows, valid in zip(coded.values, coded.mask, strict=True)]


def _check(source: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    if missing := [name for name in BRAILLE_ARRAYS if name not in arrays]:
        raise DataError(f"{source}: the array {missing[0]!r} is missing; there are: {list_arrays(arrays)}")
    x, y, letters = (arrays[name] for name in BRAILLE_ARRAYS)
    if x.ndim != 3 or x.dtype.kind not in "fiu" or 0 in x.shape:
        raise DataError(f"{source}: x is {x.dtype} of shape {list(x.shape)}; give numbers [N, L, D]")
    if letters.ndim != 1 or letters.dtype.kind not in "US" or not len(letters):
        raise DataError(f"{source}: letters is {letters.dtype} of shape {list(letters.shape)}; give names, text [K]")
    names, counts = np.unique(letters, return_counts=True)
    if counts.max() > 1:
        raise DataError(f"{source}: letters has {str(names[counts.argmax()])!r} {counts.max()} times; each once")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise DataError(
            f"{source}: y is {y.dtype} of shape {list(y.shape)}; give whole numbers [{len(x)}], one for each reading"
        )
    wrong = np.flatnonzero((y < 0) | (y >= len(letters)))
    if len(wrong):
        raise DataError(
            f"{source}: y of reading {wrong[0]} is {y[wrong[0]]}; there are {len(letters)} letters, 0 to "
            f"{len(letters) - 1}"
        )


def _choose(letters: Sequence[str], known: Sequence[str], source: Path) -> list[str]:
    for name in letters:
        if name not in known:
            same_letter = [letter for letter in known if letter.lower() == name.lower()]
            raise DataError(
                f"{source} has no letter {name!r}; there are: {', '.join(known)}"
                + (f"; did you mean {same_letter[-1]!r}?" if same_letter else suggestion(name, known))
            )
    return list(letters) or list(known)
