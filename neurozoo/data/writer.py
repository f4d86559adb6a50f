"""Writing a store: samples stream into shards, and the folder appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurozoo.data.manifest import MANIFEST, SCHEMA, Manifest, Modality, ShardEntry, SplitEntry, check_name, shapes
from neurozoo.data.shards import write_shard
from neurozoo.errors import DataError
from neurozoo.files.partial_folder import PartialFolder

__all__ = ["StoreWriter", "valid_rows"]

_SHARD_BYTES = 64 * 2**20
_PIECE = 1024
"""Samples that are looked at together, so that arrays mapped from a file need not fit into memory."""


def valid_rows(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The mask of ``[n, L, D]`` features: rows of zeros at either end are padding, those between are not.

    Returns:
        ``[n, L]``, True where valid; a sample of zeros alone has no valid row.
    """
    filled = (features != 0).any(axis=2)
    from_left = np.logical_or.accumulate(filled, axis=1)
    from_right = np.logical_or.accumulate(filled[:, ::-1], axis=1)[:, ::-1]
    valid: NDArray[np.bool_] = from_left & from_right
    return valid


class _Open:
    """The shard of a split that is being filled; its arrays are reused for the next one."""

    def __init__(self, size: int, modalities: Mapping[str, Modality], labels: int) -> None:
        self.features = {name: np.empty((size, m.length, m.dim), np.float32) for name, m in modalities.items()}
        self.masks = {name: np.empty((size, m.length), np.uint8) for name, m in modalities.items()}
        self.labels = np.empty((size, labels), np.uint8)
        self.ids: list[str] = []
        self.entries: list[ShardEntry] = []

    @property
    def total(self) -> int:
        return sum(entry.samples for entry in self.entries)


class StoreWriter:
    """Writes a store; a context manager.

    Everything goes to a hidden folder beside ``dest``, which takes its place when the block
    ends. Whatever goes wrong before that, Ctrl-C included, leaves nothing behind; what a killed
    process leaves, the next writer to the same place removes. At most one shard a split is held in memory.

    Args:
        dest: The store's folder; new or empty.
        labels: Names of the K labels.
        origin: Where the data comes from, to be kept as it is: format, source, licence,
            citation, options; whatever JSON can hold.
        modalities: Shapes by modality; by default those of the first samples.
        synthetic: Whether the values are made up.
        shard_samples: Samples of one file; by default as many as fill 64 MiB.

    Raises:
        DataError: ``dest`` is a file, a folder that is not empty, or cannot be written.

    Example:
        >>> import tempfile
        >>> dest = Path(tempfile.mkdtemp()) / "tiny"
        >>> with StoreWriter(dest, labels=["glad"], origin={"format": "made by hand"}) as writer:
        ...     writer.add("train", {"text": np.ones((2, 3, 4))}, [[0], [1]])
    """

    def __init__(
        self,
        dest: str | Path,
        *,
        labels: Sequence[str],
        origin: Mapping[str, Any],
        modalities: Mapping[str, Modality] | None = None,
        synthetic: bool = False,
        shard_samples: int | None = None,
    ) -> None:
        self._dest = Path(dest)
        self._labels = list(labels)
        # As it will be read back, so that what JSON cannot hold fails here and not at the end.
        self._origin: dict[str, Any] = json.loads(json.dumps(dict(origin), allow_nan=False))
        self._modalities = dict(modalities or {})
        self._synthetic = synthetic
        self._shard_samples = shard_samples
        self._open: dict[str, _Open] = {}
        self._non_finite: dict[str, int] = {}
        self._partial: PartialFolder | None = None
        if not self._labels or len(set(self._labels)) < len(self._labels):
            raise DataError(f"labels of {dest}: {', '.join(self._labels) or 'none'}; give one or more names, each once")
        for name in self._modalities:
            check_name(name, f"modalities of {dest}")
        if shard_samples is not None and shard_samples < 1:
            raise DataError(f"shard_samples is {shard_samples}; a shard holds at least 1 sample")

    def __enter__(self) -> StoreWriter:
        if self._dest.is_dir() and any(self._dest.iterdir()):
            raise DataError(f"{self._dest} is not empty; remove it first, or give another folder")
        if self._dest.exists() and not self._dest.is_dir():
            raise DataError(f"{self._dest} is a file; give the name of a new folder")
        try:
            self._partial = PartialFolder(self._dest)
        except OSError as error:
            raise DataError(f"{self._dest.parent} cannot be written ({error.strerror}); give another folder") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as failure:
            raise DataError(f"the store {self._dest} could not be written: {failure.strerror}") from failure
        finally:
            if self._partial is not None:
                self._partial.close()

    @property
    def _folder(self) -> Path:
        return self._opened.path

    @property
    def _opened(self) -> PartialFolder:
        if self._partial is None:
            raise DataError(f"the writer of {self._dest} is not open; use it as `with StoreWriter(...) as writer:`")
        return self._partial

    def add(
        self,
        split: str,
        features: Mapping[str, ArrayLike],
        labels: ArrayLike,
        ids: Sequence[str] | None = None,
        masks: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Append samples to a split.

        Values that are not finite as float32 are counted and become 0.

        Args:
            split: Name of the split.
            features: By modality, ``[n, L, D]``, dimensionless.
            labels: ``[n, K]``, each 0 or 1.
            ids: A name for each sample; by default its place in the split.
            masks: By modality, ``[n, L]``, 1 where a position is valid. Where a modality has
                none, its rows of zeros at either end are padding.

        Raises:
            DataError: Modalities, shapes, labels or ids are not those of the store.
        """
        _ = self._folder
        if split not in self._open:
            check_name(split, f"splits of {self._dest}")
        n = len(np.asarray(labels))
        for name, x in features.items():
            if np.ndim(x) and len(np.asarray(x)) != n:
                raise DataError(f"split {split!r}: modality {name!r} has {len(np.asarray(x))} samples, labels have {n}")
        if ids is not None and len(ids) != n:
            raise DataError(f"split {split!r}: {len(ids)} ids for {n} samples; give one each")
        for first in range(0, max(n, 1), _PIECE):
            rows = slice(first, first + _PIECE)
            self._add(
                split,
                {name: _rows_of(x, rows) for name, x in features.items()},
                _rows_of(labels, rows),
                None if ids is None else ids[rows],
                {name: _rows_of(mask, rows) for name, mask in (masks or {}).items()},
            )

    def _add(
        self,
        split: str,
        features: Mapping[str, ArrayLike],
        labels: ArrayLike,
        ids: Sequence[str] | None,
        masks: Mapping[str, ArrayLike],
    ) -> None:
        values = {name: self._numbers(split, name, x) for name, x in features.items()}
        if not self._modalities:
            self._modalities = {name: Modality(x.shape[2], x.shape[1]) for name, x in values.items()}
            for name in values:
                check_name(name, f"modalities of {self._dest}")
        truth = self._truth(split, labels)
        self._check_shapes(split, values)
        valid = {name: self._mask(split, name, x, masks.get(name)) for name, x in values.items()}
        self._append(split, values, valid, truth, ids)

    def annotate(self, **notes: Any) -> None:
        """Add to the origin what is known only at the end, such as what was left out."""
        self._origin |= json.loads(json.dumps(notes, allow_nan=False))

    def count_non_finite(self, modality: str, count: int) -> None:
        """Count values that were not finite and became 0 before they were given to :meth:`add`."""
        self._non_finite[modality] = self._non_finite.get(modality, 0) + count

    def _numbers(self, split: str, name: str, x: ArrayLike) -> NDArray[np.float32]:
        """As float32, finite, counted; a copy only where something has to change."""
        array = np.asarray(x)
        if array.dtype.kind not in "fiub" or array.ndim != 3 or 0 in array.shape[1:]:
            raise DataError(
                f"split {split!r}, modality {name!r}: {array.dtype} of shape {list(array.shape)}; "
                "give numbers [samples, L, D]"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            single = array.astype(np.float32, copy=False)
        bad = ~np.isfinite(single)
        count = int(bad.sum())
        self._non_finite[name] = self._non_finite.get(name, 0) + count
        return np.where(bad, np.float32(0), single) if count else single

    def _truth(self, split: str, labels: ArrayLike) -> NDArray[np.uint8]:
        array = np.asarray(labels)
        k = len(self._labels)
        if array.ndim != 2 or array.shape[1] != k or array.dtype.kind not in "fiub":
            raise DataError(
                f"split {split!r}: labels are {array.dtype} of shape {list(array.shape)}; give numbers [samples, {k}], "
                f"a column each for {', '.join(self._labels)}"
            )
        wrong = np.argwhere((array != 0) & (array != 1))
        if len(wrong):
            row, column = wrong[0]
            sample = int(row) + self._count(split)
            raise DataError(
                f"split {split!r}, sample {sample}, label {self._labels[column]!r} is {array[row, column]:g}; "
                f"labels are 0 or 1, and {len(wrong)} of these samples' labels are neither"
            )
        return array.astype(np.uint8)

    def _count(self, split: str) -> int:
        pending = self._open.get(split)
        return pending.total + len(pending.ids) if pending else 0

    def _check_shapes(self, split: str, values: Mapping[str, NDArray[np.float32]]) -> None:
        found = {name: Modality(x.shape[2], x.shape[1]) for name, x in values.items()}
        if found != self._modalities or not found:
            raise DataError(
                f"split {split!r}: modalities are {shapes(found) or 'none'}; "
                f"the store has {shapes(self._modalities) or 'none'}"
            )

    def _mask(self, split: str, name: str, x: NDArray[np.float32], given: ArrayLike | None) -> NDArray[np.uint8]:
        if given is None:
            return valid_rows(x).astype(np.uint8)
        mask = np.asarray(given)
        if mask.shape != x.shape[:2] or mask.dtype.kind not in "fiub" or not np.isin(mask, (0, 1)).all():
            raise DataError(
                f"split {split!r}: the mask of {name!r} is {mask.dtype} of shape {list(mask.shape)}; "
                f"give 0 or 1 of shape {list(x.shape[:2])}"
            )
        return mask.astype(np.uint8)

    def _append(
        self,
        split: str,
        features: Mapping[str, NDArray[np.float32]],
        masks: Mapping[str, NDArray[np.uint8]],
        labels: NDArray[np.uint8],
        ids: Sequence[str] | None,
    ) -> None:
        if split not in self._open:
            self._open[split] = _Open(self._size, self._modalities, len(self._labels))
        shard, first, done = self._open[split], self._count(split), 0
        while done < len(labels):
            start = len(shard.ids)
            take = min(self._size - start, len(labels) - done)
            to, of = slice(start, start + take), slice(done, done + take)
            for name in self._modalities:
                shard.features[name][to] = features[name][of]
                shard.masks[name][to] = masks[name][of]
            shard.labels[to] = labels[of]
            shard.ids += [str(i) for i in (ids[of] if ids is not None else range(first + done, first + done + take))]
            done += take
            if len(shard.ids) == self._size:
                self._flush(split)

    @property
    def _size(self) -> int:
        if self._shard_samples is None:
            sample = sum(m.length * (4 * m.dim + 1) for m in self._modalities.values()) + len(self._labels)
            self._shard_samples = max(1, _SHARD_BYTES // sample)
        return self._shard_samples

    def _flush(self, split: str) -> None:
        shard = self._open[split]
        n = len(shard.ids)
        name = f"{split}-{len(shard.entries):05d}.safetensors"
        try:
            sha256 = write_shard(
                self._folder / name,
                {key: x[:n] for key, x in shard.features.items()},
                {key: x[:n] for key, x in shard.masks.items()},
                shard.labels[:n],
                shard.ids,
            )
        except OSError as error:
            raise DataError(f"{name} of the store {self._dest} could not be written: {error.strerror}") from error
        shard.entries.append(ShardEntry(name, n, sha256))
        shard.ids = []

    def _finish(self) -> None:
        for split, shard in self._open.items():
            if shard.ids:
                self._flush(split)
        splits = {split: SplitEntry(shard.total, shard.entries) for split, shard in self._open.items() if shard.total}
        if not splits:
            raise DataError(f"the store {self._dest} would have no samples; add some")
        manifest = Manifest(
            SCHEMA, self._modalities, self._labels, splits, self._origin, self._synthetic, dict(self._non_finite)
        )
        with (self._folder / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(manifest.to_json())
            file.flush()
            os.fsync(file.fileno())
        self._opened.finish()


def _rows_of(x: ArrayLike, rows: slice) -> ArrayLike:
    array = np.asarray(x)
    return array[rows] if array.ndim else array
