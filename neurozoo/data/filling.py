"""Cut the samples of a split into shards; one shard is held in memory until it is full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.checks import Piece
from neurozoo.data.manifest import Column, ShardEntry
from neurozoo.data.shards import Keys, write_shard

__all__ = ["Filling"]

_SHARD_BYTES = 64 * 2**20


class Filling:
    """Cuts the samples of one split into shards.

    Args:
        split: Name of the split, which the files begin with.
        shard_samples: Samples of one file; None for as many as fill 64 MiB.

    Attributes:
        entries: The shards written so far.
        longest: Positions of the longest sample, by key of the ragged columns.
    """

    def __init__(self, split: str, shard_samples: int | None) -> None:
        self.entries: list[ShardEntry] = []
        self.longest: dict[str, int] = {}
        self._split, self._shard_samples = split, shard_samples
        self._values: dict[str, list[NDArray[Any]]] = {}
        self._lengths: dict[str, list[NDArray[np.int64]]] = {}
        self._ids: list[str] = []
        self._bytes = 0

    @property
    def count(self) -> int:
        """Samples so far, written or not."""
        return sum(entry.samples for entry in self.entries) + len(self._ids)

    def append(self, folder: Path, pieces: Sequence[tuple[Keys, Column, Piece]], ids: Sequence[str] | None) -> None:
        """Add samples by column; a shard is written to ``folder`` whenever the next sample does not fit into it.

        The samples' ids are by default their places in the split.

        Raises:
            OSError: A shard cannot be written.
        """
        first, done, n = self.count, 0, len(pieces[0][2])
        sizes = sum((_sizes(column, piece) for _, column, piece in pieces), np.zeros(n, np.int64))
        ends = sizes.cumsum()
        while done < n:
            fits = self._fits(ends, done)
            if fits < 1 and self._ids:
                self.flush(folder)
                continue
            last = min(done + max(fits, 1), n)
            for keys, _, piece in pieces:
                self._keep(keys, piece, done, last)
            self._ids += ids[done:last] if ids is not None else map(str, range(first + done, first + last))
            self._bytes += int(sizes[done:last].sum())
            done = last

    def _fits(self, ends: NDArray[np.int64], done: int) -> int:
        """Number of the samples from ``done`` on that fit into the open shard."""
        if self._shard_samples is not None:
            return self._shard_samples - len(self._ids)
        room = _SHARD_BYTES - self._bytes + (int(ends[done - 1]) if done else 0)
        return int(np.searchsorted(ends, room, side="right")) - done

    def _keep(self, keys: Keys, piece: Piece, first: int, last: int) -> None:
        """Copy samples, since the caller may reuse its arrays; in C order, as safetensors writes memory as it is."""
        rows = piece.rows(first, last)
        self._values.setdefault(keys.values, []).append(np.array(piece.values[rows], order="C"))
        if piece.mask is not None:
            self._values.setdefault(keys.mask, []).append(np.array(piece.mask[rows], order="C"))
        if piece.lengths is not None:
            lengths = piece.lengths[first:last]
            self._lengths.setdefault(keys.offsets, []).append(lengths)
            self.longest[keys.values] = max(int(lengths.max()), self.longest.get(keys.values, 1))

    def flush(self, folder: Path) -> None:
        """Write the kept samples, if any, as a shard.

        Raises:
            OSError: The shard cannot be written.
        """
        if not self._ids:
            return
        tensors: dict[str, NDArray[Any]] = {}
        for key in list(self._values):
            parts = self._values.pop(key)  # so that what is joined is held once
            tensors[key] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        for key, lengths in self._lengths.items():
            tensors[key] = np.concatenate([np.zeros(1, np.int64), np.concatenate(lengths).cumsum()])
        name = f"{self._split}-{len(self.entries):05d}.safetensors"
        sha256 = write_shard(folder / name, tensors, self._ids)
        self.entries.append(ShardEntry(name, len(self._ids), sha256))
        self._lengths, self._ids, self._bytes = {}, [], 0


def _sizes(column: Column, piece: Piece) -> NDArray[np.int64]:
    """Bytes of each sample, ``[n]``."""
    row = int(np.prod(column.stored_shape, dtype=np.int64)) * np.dtype(column.dtype).itemsize + column.masked
    return (np.full(len(piece), column.length, np.int64) if piece.lengths is None else piece.lengths) * row
