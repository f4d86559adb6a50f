"""A data set on disk: a folder with ``dataset.json`` and safetensors shards, memory-mapped.

A batch reads its own rows only, so that a data set may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from neurozoo.core.signals import Batch, Signal
from neurozoo.data.manifest import Column, Description, Manifest, SplitEntry, TaskEntry, feature_shape
from neurozoo.data.shards import TARGET, Keys, Shard, read_back, signal_keys, unpacked
from neurozoo.data.writer import StoreWriter
from neurozoo.errors import DataError, suggestion
from neurozoo.files.opening import sha256_of

__all__ = ["Description", "Split", "Store", "StoreWriter", "TaskEntry", "feature_shape"]


_LONG = 256
"""Positions of a batch's longest sample from which samples are copied one by one."""


class _Rows(NamedTuple):
    """Samples of a batch in one shard: the shard's number, their places in the batch and in the shard."""

    home: int
    where: Tensor
    rows: Tensor


class Split:
    """The samples of one split; made by :meth:`Store.split`."""

    def __init__(self, folder: Path, entry: SplitEntry, manifest: Manifest) -> None:
        self._folder, self._entry, self._manifest = folder, entry, manifest
        sizes = torch.tensor([shard.samples for shard in entry.shards], dtype=torch.int64)
        self._ends = sizes.cumsum(0)
        self._starts = self._ends - sizes

    def __len__(self) -> int:
        return self._entry.samples

    @property
    def task(self) -> TaskEntry:
        """What the targets are."""
        return self._manifest.task

    @cached_property
    def _shards(self) -> list[Shard]:
        shards = [Shard(self._folder / shard.file) for shard in self._entry.shards]
        for shard in shards:
            shard.check(self._manifest)
        return shards

    @cached_property
    def _targets(self) -> Signal:
        """All targets; ``valid`` is None if there is one per sample, or every step counts."""
        if self._manifest.task.per_step:
            return self._steps(self._plan(torch.arange(len(self))), len(self))
        values = torch.cat([shard.tensor(TARGET.values) for shard in self._shards])
        return Signal(self._as_target(unpacked(self._manifest.target, values)))

    @property
    def target(self) -> Tensor:
        """The targets of all samples, ``[N, *shape]``; per step ``[N, L, *shape]``. Of 0 and 1 they are float32."""
        return self._targets.values

    @property
    def target_valid(self) -> Tensor | None:
        """``[N, L]`` bool, which steps of a per-step target count; None where all do."""
        return self._targets.valid

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The samples' names, in order."""
        return tuple(name for shard in self._shards for name in shard.ids)

    def lengths(self, signal: str) -> Tensor:
        """Return each sample's number of valid positions, ``[N]`` int64; no values are read."""
        column, keys = self._manifest.signals[signal], signal_keys(signal)
        if not column.masked and not column.ragged:
            return torch.full((len(self),), column.length)
        found = []
        for shard in self._shards:
            if column.ragged and column.masked:
                counted = torch.cat([torch.zeros(1, dtype=torch.int64), shard.tensor(keys.mask).long().cumsum(0)])
                found.append(counted[shard.tensor(keys.offsets)].diff())
            elif column.ragged:
                found.append(shard.tensor(keys.offsets).diff())
            else:
                found.append(shard.tensor(keys.mask).sum(1, dtype=torch.int64))
        return torch.cat(found)

    def batch(self, indices: Tensor, signals: Iterable[str] | None = None) -> Batch:
        """Return the samples at these places, in this order; ragged signals are padded at the end with zeros.

        Args:
            indices: ``[B]`` int64, from 0 to N - 1; repetition is allowed.
            signals: Which to read; all by default.

        Raises:
            IndexError: A place is outside of the split.
        """
        known = self._manifest.signals
        names = known if signals is None else tuple(signals)
        plan = self._plan(indices)
        read = {name: self._signal(name, indices, plan) for name in names}
        if self._manifest.task.per_step:
            steps = self._steps(plan, len(indices))
            return Batch(read, steps.values, steps.valid, indices.clone())
        return Batch(read, self.target[indices], index=indices.clone())

    def signal(self, name: str, indices: Tensor) -> Signal:
        """Return one signal of the samples at these places; see :meth:`batch`."""
        return self._signal(name, indices, self._plan(indices))

    def _signal(self, name: str, indices: Tensor, plan: list[_Rows]) -> Signal:
        column = self._manifest.signals[name]
        read = self._column(signal_keys(name), column, plan, len(indices))
        if column.sensor is not None:
            self._check_events(name, read, indices)
        return read

    def _check_events(self, name: str, events: Signal, indices: Tensor) -> None:
        """Check what the checksums of a stranger's store say nothing about: order and range of the events of a batch.

        Padding is 0 and in range; that time falls to it is no mistake.
        """
        column, times, valid = self._manifest.signals[name], events.values[..., 0], events.mask
        if not len(times):
            return
        least, most = (x.tolist() for x in events.values.flatten(0, 1).aminmax(dim=0))
        falls = (times[:, 1:] < times[:, :-1]) & valid[:, 1:]
        limits = [column.span or 0, column.seen.addresses]
        if min(least) >= 0 and most[0] < limits[0] and most[1] < limits[1] and not bool(falls.any()):
            return
        wrong = ((events.values < 0) | (events.values >= torch.tensor(limits))).any(2)
        wrong[:, 1:] |= falls
        sample, place = (int(x) for x in wrong.nonzero()[0])
        time, address = events.values[sample, place].tolist()
        raise DataError(
            f"{self._folder}, sample {self.ids[int(indices[sample])]!r}: event {place} of {name!r} has the time "
            f"{time} and the address {address}; times do not fall and are below {column.span}, addresses of "
            f"{list(column.sensor or ())} are below {column.seen.addresses}; import the data again"
        )

    def _plan(self, indices: Tensor) -> list[_Rows]:
        """Find the samples of a batch in the shards."""
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(
                f"places {int(indices.min())} to {int(indices.max())} were asked of a split of {len(self)} samples"
            )
        homes = torch.searchsorted(self._ends, indices, right=True)
        return [
            _Rows(home, where, indices[where] - self._starts[home])
            for home in sorted(set(homes.tolist()))
            for where in [(homes == home).nonzero().flatten()]
        ]

    def _column(self, keys: Keys, column: Column, plan: list[_Rows], size: int) -> Signal:
        """A signal, or a target per step, of a batch."""
        if column.ragged:
            return self._ragged(keys, column, plan, size)
        values = unpacked(column, self._gather(keys.values, plan, size))
        return Signal(values, self._gather(keys.mask, plan, size).bool() if column.masked else None)

    def _gather(self, key: str, plan: list[_Rows], size: int) -> Tensor:
        """Copy the rows of a tensor that is spread over the shards."""
        if len(plan) == 1:
            return self._shards[plan[0].home].tensor(key).index_select(0, plan[0].rows)
        like = self._shards[0].tensor(key)
        gathered = like.new_empty((size, *like.shape[1:]))
        for home, where, rows in plan:
            gathered.index_copy_(0, where, self._shards[home].tensor(key).index_select(0, rows))
        return gathered

    def _ragged(self, keys: Keys, column: Column, plan: list[_Rows], size: int) -> Signal:
        """Pad samples to the longest of the batch."""
        lengths = torch.zeros(size, dtype=torch.int64)
        starts = torch.zeros(size, dtype=torch.int64)
        for home, where, rows in plan:
            offsets = self._shards[home].tensor(keys.offsets)
            starts[where] = offsets[rows]
            lengths[where] = offsets[rows + 1] - offsets[rows]
        longest = max(int(lengths.max()) if size else 0, 1)
        there = torch.arange(longest) < lengths[:, None]
        values = self._shards[0].tensor(keys.values).new_zeros((size * longest, *column.stored_shape))
        mask = torch.zeros(size * longest, dtype=torch.uint8) if column.masked else None
        for home, where, _ in plan:
            if mask is None and longest >= _LONG:
                # A copy a sample; an index for each position would cost more than the values.
                rows = self._shards[home].tensor(keys.values)
                goals = values.view(size, longest, *column.stored_shape)
                for sample, first, count in zip(
                    *(x.tolist() for x in (where, starts[where], lengths[where])), strict=True
                ):
                    goals[sample, :count] = rows[first : first + count]
                continue
            samples, position = there[where].nonzero(as_tuple=True)  # [R], in the order of the samples
            samples = where[samples]
            stored, goal = starts[samples] + position, samples * longest + position
            values.index_copy_(0, goal, self._shards[home].tensor(keys.values).index_select(0, stored))
            if mask is not None:
                mask.index_copy_(0, goal, self._shards[home].tensor(keys.mask).index_select(0, stored))
        valid = there if mask is None else mask.view(size, longest).bool()
        return Signal(unpacked(column, values.view(size, longest, *column.stored_shape)), valid)

    def _steps(self, plan: list[_Rows], size: int) -> Signal:
        """Targets per step."""
        steps = self._column(TARGET, self._manifest.target, plan, size)
        return Signal(self._as_target(steps.values), steps.valid)

    def _as_target(self, values: Tensor) -> Tensor:
        """Targets of 0 and 1 are float32, as losses take them."""
        return values.float() if self._manifest.target.dtype == "uint8" else values


class Store:
    """A data set on disk, opened for reading.

    Opening reads ``dataset.json`` and each shard's header, no values; :meth:`verify` reads all.

    Masks and targets of a split are checked when the split is first read.

    Args:
        path: The store's folder.
        name: Its registered name; by default the folder's.

    Attributes:
        path: The folder.
        description: What the data set is.
        non_finite: Values that were NaN or infinite and became 0, by signal.
        columns: How each signal is stored.
        target: How the targets are stored.

    Raises:
        DataError: The folder is missing or no store, has an unknown schema, or a shard is
            missing, truncated or of other shapes.
    """

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        self.path = Path(path)
        self._manifest = read_back(self.path)
        self.description = replace(self._manifest.description, name=name or self.path.resolve().name)
        self.non_finite = dict(self._manifest.non_finite)
        self.columns = dict(self._manifest.signals)
        self.target = self._manifest.target

    def split(self, name: str) -> Split:
        """The samples of a split.

        Raises:
            DataError: The store has no such split.
        """
        splits = self._manifest.splits
        if name not in splits:
            raise DataError(
                f"{self.path} has no split {name!r}; there are: {', '.join(splits)}{suggestion(name, splits)}"
            )
        return Split(self.path, splits[name], self._manifest)

    def changed(self, *splits: str) -> list[str]:
        """Read every shard, or those of some splits, and return the files that differ from their checksums.

        Raises:
            DataError: The checksum of a shard is right, and its masks or targets are not.
        """
        differ = []
        for name, entry in self._manifest.splits.items():
            for shard in entry.shards if not splits or name in splits else ():
                if sha256_of(self.path / shard.file) != shard.sha256:
                    differ.append(shard.file)
                else:
                    Shard(self.path / shard.file).check(self._manifest)
        return differ

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises:
            DataError: Names each shard that differs.
        """
        if changed := self.changed():
            raise DataError(
                f"{self.path}: changed since written: {', '.join(changed)}; import the data again, "
                "or copy the whole store again"
            )
