"""Writing a store: samples stream into shards, and the folder appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neurozoo.core.shapes import SignalShape
from neurozoo.data.checks import (
    Piece,
    check_events,
    mask_of,
    piece_of,
    stored,
    target_column,
    target_values,
    valid_rows,
)
from neurozoo.data.filling import Filling
from neurozoo.data.manifest import (
    MANIFEST,
    SCHEMA,
    SCHEMA_OF_TIME,
    WARNINGS,
    Column,
    Manifest,
    SplitEntry,
    TaskEntry,
    check_name,
    column_of,
    shapes,
)
from neurozoo.data.shards import TARGET, Keys, read_back, signal_keys
from neurozoo.data.usable import Tally
from neurozoo.errors import DataError
from neurozoo.files.json_text import parse_json
from neurozoo.files.partial_folder import PartialFolder, is_free
from neurozoo.files.text import as_texts
from neurozoo.files.writing import write_whole

__all__ = ["StoreWriter", "valid_rows"]

_PIECE = 1024
"""Samples processed at once, so that arrays mapped from a file need not fit into memory."""

Values = ArrayLike | Sequence[ArrayLike]


class StoreWriter:
    """Writes a store; a context manager.

    Everything is written to a hidden folder next to ``dest``, which is renamed when the block ends. Any error before
    that, Ctrl-C included, leaves nothing; the next writer to ``dest`` removes the folder of a killed process. At most
    one shard per split is held in memory.

    Args:
        dest: The store's folder; new or empty.
        labels: Names of the K labels of a multi-label data set; short for ``task="multilabel", outputs=labels``.
        origin: Format, source, licence, citation, options of the data, as JSON values.
        modalities: Shapes of features that are stored padded, with masks; short for ``signals`` and ``masked``.
        synthetic: Whether the values are made up.
        shard_samples: Samples of one file; by default as many as fill 64 MiB.
        signals: Shape of each signal. A ragged one is stored in each sample's own length, of at most
            ``SignalShape.length`` positions; bool is stored as packed bits. Events, see ``SignalShape.events``, come in
            the order of their times. By default float32 features, padded and
            with masks, of the shapes of the first samples.
        masked: Names of the signals with a mask of their own: those with gaps, or padded to one length.
        task: Name of the targets' task.
        outputs: Names of the task's K labels, classes or quantities.
        along: For a task per step, the signal whose positions have a target each.
        target: Shape and dtype of the targets of a task that is none of the zoo's own; ``length`` is ignored.
        target_masked: Whether a mask says which steps of a per-step target count.

    Raises:
        DataError: ``dest`` is a file, a folder that is not empty, or cannot be written; or the declaration is
            contradictory.

    Example:
        >>> import tempfile
        >>> dest = Path(tempfile.mkdtemp()) / "tiny"
        >>> shape = SignalShape((2, 8, 8), 10, "bool", ragged=False)
        >>> of = {"task": "multiclass", "outputs": ["left", "right"], "origin": {"format": "made by hand"}}
        >>> with StoreWriter(dest, signals={"events": shape}, **of) as writer:
        ...     writer.add("train", {"events": np.ones((3, 10, 2, 8, 8))}, [0, 1, 1])
    """

    def __init__(
        self,
        dest: str | Path,
        *,
        origin: Mapping[str, Any],
        labels: Sequence[str] | None = None,
        modalities: Mapping[str, SignalShape] | None = None,
        synthetic: bool = False,
        shard_samples: int | None = None,
        signals: Mapping[str, SignalShape] | None = None,
        masked: Collection[str] = (),
        task: str = "multilabel",
        outputs: Sequence[str] | None = None,
        along: str | None = None,
        target: SignalShape | None = None,
        target_masked: bool = False,
    ) -> None:
        self._dest = Path(dest)
        self._origin = self._as_json(origin)
        self._synthetic = synthetic
        self._shard_samples = shard_samples
        self._splits: dict[str, Filling] = {}
        self._tally = Tally()
        self._non_finite: dict[str, int] = {}
        self._partial: PartialFolder | None = None
        kind = "labels" if outputs is None else "outputs"
        names = tuple(as_texts(list(outputs if outputs is not None else labels or ()), f"{kind} of {dest}"))
        if not names or len(set(names)) < len(names):
            raise DataError(f"{kind} of {dest}: {', '.join(names) or 'none'}; give one or more names, each once")
        if shard_samples is not None and shard_samples < 1:
            raise DataError(f"shard_samples is {shard_samples}; a shard holds at least 1 sample")
        self._task, self._along = TaskEntry(task, names, along is not None), along
        padded = modalities or {}
        self._columns: dict[str, Column] = {}
        self._spans: dict[str, int] = {}
        for name, of in {**padded, **(signals or {})}.items():
            check_name(name, f"signals of {dest}")
            ragged, has_mask = of.ragged and name not in padded, name in {*padded, *masked}
            self._columns[name] = column_of(of, f"signal {name!r} of {dest}", ragged=ragged, masked=has_mask)
        for name in [*masked, *([along] if along is not None else [])]:
            if name not in self._columns:
                raise DataError(
                    f"{dest}: there is no signal {name!r}; declared are: {', '.join(self._columns) or 'none'}"
                )
        self._target = target_column(self._task, target, str(dest))
        if along is not None:
            signal = self._columns[along]
            self._target = replace(self._target, length=signal.length, ragged=signal.ragged, masked=target_masked)
        elif target_masked:
            raise DataError(f"{dest}: target_masked is for targets per step; name their signal with along=")

    def __enter__(self) -> StoreWriter:
        try:
            if not is_free(self._dest):
                problem = "is not empty; remove it first, or give another folder"
                raise DataError(
                    f"{self._dest} {problem if self._dest.is_dir() else 'is a file; give the name of a new folder'}"
                )
            self._partial = PartialFolder(self._dest, marker=MANIFEST)
        except BlockingIOError as error:
            raise DataError(f"{self._dest}: another process is writing to it; wait for its end") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self._dest} cannot be written ({reason}); give another folder") from error
        return self

    def _as_json(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return what will be read back, so that what JSON cannot hold fails here and not at the end."""
        try:
            text = json.dumps(dict(content), allow_nan=False, ensure_ascii=False)
            origin: dict[str, Any] = parse_json(text.encode(), f"the origin of {self._dest}")
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"the origin of {self._dest} cannot be written as JSON ({error})") from error
        return origin

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as failure:
            raise DataError(f"the store {self._dest} could not be written: {failure.strerror}") from failure
        finally:
            if self._partial is not None:
                self._partial.close()

    @property
    def _opened(self) -> PartialFolder:
        if self._partial is None:
            raise DataError(f"the writer of {self._dest} is not open; use it as `with StoreWriter(...) as writer:`")
        return self._partial

    def add(
        self,
        split: str,
        signals: Mapping[str, Values],
        target: Values,
        ids: Sequence[str] | None = None,
        masks: Mapping[str, Values] | None = None,
        target_mask: Values | None = None,
    ) -> None:
        """Append samples to a split.

        Floats that are not finite in the signal's dtype are counted and become 0.

        Args:
            split: Name of the split.
            signals: By name, ``[n, L, *shape]``; of a ragged one also n arrays ``[L_i, *shape]``.
            target: ``[n, *shape]``, as the task has it; per step ``[n, L, *shape]`` or n arrays ``[L_i, *shape]``.
            ids: A name for each sample; by default its place in the split.
            masks: By signal, ``[n, L]`` or n arrays ``[L_i]``, 1 where a position is valid. Where a masked signal
                has none, its rows of zeros at either end are padding.
            target_mask: The same of a masked target.

        Raises:
            DataError: Names, shapes, values, targets or ids are not those of the store.
        """
        _ = self._opened
        if split not in self._splits:
            check_name(split, f"splits of {self._dest}")
        n = _size(target)
        for name, x in signals.items():
            if _size(x) != n:
                raise DataError(f"split {split!r}: signal {name!r} has {_size(x)} samples, the target has {n}")
        if ids is not None:
            ids = as_texts(ids, f"split {split!r}, ids")
            if len(ids) != n:
                raise DataError(f"split {split!r}: {len(ids)} ids for {n} samples; give one each")
        for first in range(0, max(n, 1), _PIECE):
            rows = slice(first, first + _PIECE)
            self._add(
                split,
                {name: _rows_of(x, rows) for name, x in signals.items()},
                _rows_of(target, rows),
                None if ids is None else ids[rows],
                {name: _rows_of(mask, rows) for name, mask in (masks or {}).items()},
                None if target_mask is None else _rows_of(target_mask, rows),
            )

    def annotate(self, **notes: Any) -> None:
        """Add to the origin, such as counts that are known only at the end."""
        self._origin |= self._as_json(notes)

    def count_non_finite(self, modality: str, count: int) -> None:
        """Count values that were not finite and became 0 before :meth:`add`."""
        self._non_finite[modality] = self._non_finite.get(modality, 0) + count

    def _add(
        self,
        split: str,
        signals: Mapping[str, Values],
        target: Values,
        ids: Sequence[str] | None,
        masks: Mapping[str, Values],
        target_mask: Values | None,
    ) -> None:
        if not self._columns:
            self._infer(split, signals)
        self._check_names(split, signals, masks)
        pieces: list[tuple[Keys, Column, Piece]] = []
        by_name: dict[str, Piece] = {}
        for name, column in self._columns.items():
            what = f"split {split!r}, signal {name!r}"
            piece = piece_of(what, column, signals[name])
            piece.values, lost = stored(self._named(what, split, piece), column, piece)
            if np.dtype(column.dtype).kind == "f":
                self.count_non_finite(name, lost)
            if column.sensor is not None:
                check_events(self._named(what, split, piece), column, piece)
                self._spans[name] = max(self._spans.get(name, 1), int(piece.values[:, 0].max(initial=0)) + 1)
            if name in masks:
                piece.mask = mask_of(f"split {split!r}: the mask of {name!r}", piece, masks[name])
            elif column.masked:
                every = np.ones(len(piece.values), np.bool_) if column.ragged else valid_rows(piece.values)
                piece.mask = every.astype(np.uint8)
            by_name[name] = piece
            pieces.append((signal_keys(name), column, piece))
        answers = self._answers(split, target, target_mask, by_name)
        pieces.append((TARGET, self._target, answers))
        self._tally.add(split, self._task, by_name, answers)
        filling = self._splits.setdefault(split, Filling(split, self._shard_samples))
        try:
            filling.append(self._opened.path, pieces, ids)
        except OSError as error:
            raise DataError(f"a shard of the store {self._dest} could not be written: {error.strerror}") from error

    def _infer(self, split: str, signals: Mapping[str, Values]) -> None:
        """Declare float32 features with masks, of the shapes of the first samples."""
        for name, x in signals.items():
            array = np.asarray(x)
            check_name(name, f"signals of {self._dest}")
            if array.dtype.kind not in "fiub" or array.ndim != 3 or 0 in array.shape[1:]:
                raise DataError(
                    f"split {split!r}, signal {name!r}: {array.dtype} of shape {list(array.shape)}; "
                    "give numbers [samples, L, D], or declare it by signals="
                )
            self._columns[name] = Column(array.shape[2:], array.shape[1], "float32", False, True)

    def _check_names(self, split: str, signals: Mapping[str, Values], masks: Mapping[str, Values]) -> None:
        known = {name: column.seen for name, column in self._columns.items()}
        if signals.keys() != known.keys() or not known:
            raise DataError(
                f"split {split!r}: the signals are {', '.join(signals) or 'none'}; the store has "
                f"{shapes(known) or 'none'}; give all of them, and no other"
            )
        for name in masks:
            if name not in self._columns or not self._columns[name].masked:
                raise DataError(f"split {split!r}: signal {name!r} is declared to have no mask; name it in masked=")

    def _named(self, what: str, split: str, piece: Piece) -> Any:
        """Return what names the sample of a row in errors."""
        done = self._count(split)
        return lambda row: f"{what}, sample {done + piece.sample(row)}"

    def _answers(self, split: str, target: Values, target_mask: Values | None, signals: Mapping[str, Piece]) -> Piece:
        column, what = self._target, f"split {split!r}"
        if self._along is None:
            array = np.asarray(target)
            if array.shape[1:] != column.shape or array.ndim == 0 or array.dtype.kind not in "fiub":
                outputs = ", ".join(self._task.outputs)
                axes = "".join(f", {axis}" for axis in column.shape)
                raise DataError(
                    f"{what}: targets are {array.dtype} of shape {list(array.shape)}; give numbers [samples{axes}], "
                    f"of the {self._task.name} outputs {outputs}"
                )
            piece = Piece(array)
        else:
            piece = piece_of(f"{what}, target", column, target)
            along = signals[self._along].lengths
            if piece.lengths is not None and along is not None and (piece.lengths != along).any():
                place = int(np.argmax(piece.lengths != along))
                raise DataError(
                    f"{what}, sample {self._count(split) + place}: {piece.lengths[place]} targets for {along[place]} "
                    f"positions of {self._along!r}; give one each, with target_mask where some do not count"
                )
        if column.masked:
            if target_mask is None:
                raise DataError(f"{what}: the target is declared to have a mask; give target_mask")
            piece.mask = mask_of(f"{what}: the mask of the target", piece, target_mask)
        piece.values = target_values(self._named(what, split, piece), self._task, column, piece)
        return piece

    def _count(self, split: str) -> int:
        return self._splits[split].count if split in self._splits else 0

    def _finish(self) -> None:
        for filling in self._splits.values():
            filling.flush(self._opened.path)
        splits = {name: SplitEntry(each.count, each.entries) for name, each in self._splits.items() if each.count}
        if not splits:
            raise DataError(f"the store {self._dest} would have no samples; add some")
        if warnings := self._tally.check(self._task):
            self.annotate(**{WARNINGS: warnings})
        manifest = Manifest(
            SCHEMA_OF_TIME if any(column.timed for column in self._columns.values()) else SCHEMA,
            {
                name: replace(self._measured(signal_keys(name), column), span=self._spans.get(name))
                for name, column in self._columns.items()
            },
            self._task,
            self._measured(TARGET, self._target),
            splits,
            self._origin,
            self._synthetic,
            dict(self._non_finite),
        )
        write_whole(self._opened.path / MANIFEST, manifest.to_json().encode())
        read_back(self._opened.path)
        self._opened.finish()

    def _measured(self, keys: Keys, column: Column) -> Column:
        """Shorten a ragged column to its longest sample."""
        if not column.ragged:
            return column
        return replace(column, length=max(each.longest.get(keys.values, 1) for each in self._splits.values()))


def _size(x: Values) -> int:
    """Return the number of samples; a scalar is refused later, by its shape."""
    return len(x) if isinstance(x, list | tuple) else next(iter(np.asarray(x).shape), 0)


def _rows_of(x: Values, rows: slice) -> Values:
    if isinstance(x, list | tuple):
        return x[rows]
    array = np.asarray(x)
    return array[rows] if array.ndim else array
