"""A data set on disk: a folder with ``dataset.json`` and safetensors shards, memory-mapped.

A data set larger than memory trains: a batch reads its own rows and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from neurozoo.core.interfaces import Batch
from neurozoo.data.manifest import Description, Manifest, Modality, SplitEntry
from neurozoo.data.shards import Shard, check_shard
from neurozoo.data.writer import StoreWriter
from neurozoo.errors import DataError, nearest

__all__ = ["Description", "Modality", "Split", "Store", "StoreWriter"]


class Split:
    """The samples of one split; made by :meth:`Store.split`."""

    def __init__(self, folder: Path, entry: SplitEntry, modalities: Iterable[str]) -> None:
        self._folder, self._entry = folder, entry
        self._modalities = tuple(modalities)
        sizes = torch.tensor([shard.samples for shard in entry.shards], dtype=torch.int64)
        self._ends = sizes.cumsum(0)
        self._starts = self._ends - sizes

    def __len__(self) -> int:
        return self._entry.samples

    @cached_property
    def _shards(self) -> list[Shard]:
        return [Shard(self._folder / shard.file) for shard in self._entry.shards]

    @cached_property
    def labels(self) -> Tensor:
        """``[N, K]`` float32 of 0 and 1."""
        return torch.cat([shard.tensor("labels").float() for shard in self._shards])

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The samples' names, in order."""
        return tuple(name for shard in self._shards for name in shard.ids)

    def mask(self, modality: str) -> Tensor:
        """Which positions of a modality are valid, of all samples, ``[N, L]`` bool; no feature is read."""
        return torch.cat([shard.tensor(f"mask/{modality}").bool() for shard in self._shards])

    def batch(self, indices: Tensor, modalities: Iterable[str] | None = None) -> Batch:
        """The samples at these places, in this order.

        Args:
            indices: ``[B]`` int64, from 0 to N - 1; repetition is allowed.
            modalities: Which to read; all by default.

        Raises:
            IndexError: A place is outside of the split.
        """
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(
                f"places {int(indices.min())} to {int(indices.max())} were asked of a split of {len(self)} samples"
            )
        names = self._modalities if modalities is None else tuple(modalities)
        homes = torch.searchsorted(self._ends, indices, right=True)
        # Where each shard's rows go in the batch, and which they are there; the same for every tensor.
        plan = [
            (home, where, indices[where] - self._starts[home])
            for home in sorted(set(homes.tolist()))
            for where in [(homes == home).nonzero().flatten()]
        ]
        return Batch(
            {name: self._gather(f"features/{name}", plan, len(indices)) for name in names},
            {name: self._gather(f"mask/{name}", plan, len(indices)).bool() for name in names},
            self.labels[indices],
            indices.clone(),
        )

    def _gather(self, key: str, plan: list[tuple[int, Tensor, Tensor]], size: int) -> Tensor:
        """The rows of a tensor that is spread over the shards, as a copy in memory."""
        if len(plan) == 1:
            home, _, rows = plan[0]
            return self._shards[home].tensor(key).index_select(0, rows)
        like = self._shards[0].tensor(key)
        gathered = like.new_empty((size, *like.shape[1:]))
        for home, where, rows in plan:
            gathered.index_copy_(0, where, self._shards[home].tensor(key).index_select(0, rows))
        return gathered


class Store:
    """A data set on disk, opened for reading.

    Opening reads ``dataset.json`` and each shard's header, no values; :meth:`verify` reads all.

    Args:
        path: The store's folder.

    Attributes:
        path: The folder.
        description: What the data set is.
        non_finite: Values that were NaN or infinite and became 0, by modality.

    Raises:
        DataError: The folder is missing or no store, has an unknown schema, or a shard is
            missing, truncated or of other shapes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._manifest = Manifest.read(self.path)
        self.description = self._manifest.description
        self.non_finite = dict(self._manifest.non_finite)
        for entry in self._manifest.splits.values():
            for shard in entry.shards:
                check_shard(
                    self.path / shard.file, shard.samples, self._manifest.modalities, len(self._manifest.labels)
                )

    def split(self, name: str) -> Split:
        """The samples of a split.

        Raises:
            DataError: The store has no such split.
        """
        splits = self._manifest.splits
        if name not in splits:
            guess = nearest(name, splits)
            raise DataError(
                f"{self.path} has no split {name!r}; there are: {', '.join(splits)}"
                + (f"; did you mean {guess!r}?" if guess else "")
            )
        return Split(self.path, splits[name], self._manifest.modalities)

    def changed(self, *splits: str) -> list[str]:
        """Read every shard, or those of some splits, and name the ones that are not as their checksums say."""
        differ = []
        for name, entry in self._manifest.splits.items():
            for shard in entry.shards if not splits or name in splits else ():
                with (self.path / shard.file).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                        differ.append(shard.file)
        return differ

    def verify(self) -> None:
        """Read every shard and compare it with its checksum.

        Raises:
            DataError: A shard is not as it was written; names each that differs.
        """
        if changed := self.changed():
            raise DataError(
                f"{self.path}: changed since written: {', '.join(changed)}; import the data again, "
                "or copy the store anew and whole"
            )
