"""Whether the store that an import is about to write is of any use.

An importer that reads a file of another form than it expects can end with samples that have no valid position, a signal
of zeros or labels that nobody has. Every importer is held to one check here, when its store is complete and has not
taken its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.checks import Piece
from neurozoo.data.manifest import TaskEntry
from neurozoo.errors import DataError

__all__ = ["Tally", "importing"]

_importing: ContextVar[bool] = ContextVar("importing", default=False)


@contextmanager
def importing() -> Iterator[None]:
    """Hold the stores that are written in this block to :meth:`Tally.check`.

    Stores of one's own, written outside of it, may be as they like.
    """
    token = _importing.set(True)
    try:
        yield
    finally:
        _importing.reset(token)


@dataclass
class _Signal:
    """One signal in one split: samples without a valid position, and whether any value is not 0."""

    without: int = 0
    filled: bool = False


@dataclass
class _Split:
    samples: int = 0
    signals: dict[str, _Signal] = field(default_factory=dict)
    present: NDArray[np.int64] | None = None  # targets by label or class, [K]


class Tally:
    """Counts what a store's samples hold while they are written."""

    def __init__(self) -> None:
        self._splits: dict[str, _Split] = {}

    def add(self, split: str, task: TaskEntry, signals: Mapping[str, Piece], target: Piece) -> None:
        """Count samples of a split, as they are stored."""
        seen = self._splits.setdefault(split, _Split())
        for name, piece in signals.items():
            signal = seen.signals.setdefault(name, _Signal())
            signal.without += int((_valid_positions(piece) == 0).sum())
            signal.filled = signal.filled or bool(np.any(piece.values))
        seen.samples += len(target)
        k = len(task.outputs)
        values = target.values if target.mask is None else target.values[target.mask.astype(bool)]
        if task.name == "multilabel":
            present = values.reshape(-1, k).astype(bool).sum(axis=0)
        elif task.name == "multiclass":
            present = np.bincount(values.reshape(-1).astype(np.int64), minlength=k)
        else:
            return
        seen.present = present if seen.present is None else seen.present + present

    def check(self, task: TaskEntry) -> list[str]:
        """Return what concerns a share of the store, a sentence each; nothing outside of :func:`importing`.

        Raises:
            DataError: A split has no sample; a signal has no valid position, or no value but 0; or no sample has a
                label, or all are of one class.
        """
        if not _importing.get():
            return []
        for split, seen in self._splits.items():
            if not seen.samples:
                raise DataError(f"split {split!r} has no sample; give a source that has some, or leave the split out")
        warnings: list[str] = []
        for name in next(iter(self._splits.values())).signals:
            warnings += self._check_signal(name)
        return warnings + self._check_target(task)

    def _check_signal(self, name: str) -> list[str]:
        warnings, found = [], {split: seen.signals[name] for split, seen in self._splits.items()}
        if all(signal.without == self._splits[split].samples for split, signal in found.items()):
            raise DataError(
                f"no sample has a valid position of {name!r}; are its values of the same samples, in the same units of "
                "time, and are they there?"
            )
        if not any(signal.filled for signal in found.values()):
            raise DataError(f"every value of {name!r} is 0; are its values of the same samples and units of time?")
        for split, signal in found.items():
            samples = self._splits[split].samples
            if signal.without:
                share = f"{signal.without:,} of {samples:,} samples ({signal.without / samples:.1%})"
                warnings.append(f"{split}: {share} have no valid position of {name!r}")
            elif not signal.filled:
                warnings.append(f"{split}: every value of {name!r} is 0")
        return warnings

    def _check_target(self, task: TaskEntry) -> list[str]:
        by_split = {split: seen.present for split, seen in self._splits.items() if seen.present is not None}
        if not by_split:
            return []
        total: NDArray[np.int64] = np.sum(list(by_split.values()), axis=0)
        if not total.any():
            raise DataError(f"no sample has any of the labels {', '.join(task.outputs)}; is the rule for them right?")
        if task.name == "multiclass" and len(total) > 1 and (total > 0).sum() == 1:
            raise DataError(f"every sample is of the class {task.outputs[int(total.argmax())]!r}; there are no others")
        warnings = []
        for where, present in ({"the store": total} | by_split).items():
            missing = [name for name, n in zip(task.outputs, present, strict=True) if not n]
            if missing and not (where != "the store" and (present > 0).tolist() == (total > 0).tolist()):
                share = f"{len(missing)} of {len(total)} {'classes' if task.name == 'multiclass' else 'labels'}"
                warnings.append(f"{where}: no sample has {', '.join(missing)} ({share})")
        return warnings


def _valid_positions(piece: Piece) -> NDArray[np.int64]:
    """Return the number of valid positions of each sample, ``[n]``."""
    if piece.lengths is None:
        return np.full(len(piece.values), 1) if piece.mask is None else piece.mask.astype(bool).sum(axis=1)
    if piece.mask is None:
        return piece.lengths
    before = np.concatenate([[0], np.cumsum(piece.mask.astype(bool))])
    ends = np.cumsum(piece.lengths)
    counts: NDArray[np.int64] = before[ends] - before[ends - piece.lengths]
    return counts
