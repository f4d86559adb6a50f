"""A store seen through a recipe: which signals, what joined, which samples are for validation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from neurozoo.core.signals import Batch, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.data.manifest import TaskEntry, shapes
from neurozoo.data.store import Split, Store
from neurozoo.errors import DataError, suggestion

__all__ = ["DataView", "ModalityStatistics", "SplitView", "training_statistics"]


class SplitView:
    """The samples of one split, with the view's signals; made by :meth:`DataView.split`."""

    def __init__(self, split: Split, parts: Mapping[str, Sequence[str]], places: Tensor | None = None) -> None:
        self._split, self._parts, self._places = split, parts, places
        self._names = list(dict.fromkeys(part for names in parts.values() for part in names))

    def __len__(self) -> int:
        return len(self._split) if self._places is None else len(self._places)

    @property
    def target(self) -> Tensor:
        """The targets of all samples, ``[N, *shape]``, per step ``[N, L, *shape]``; see :class:`Split`."""
        return self._split.target if self._places is None else self._split.target[self._places]

    @property
    def target_valid(self) -> Tensor | None:
        """``[N, L]`` bool, which steps of a per-step target count; None where all do."""
        valid = self._split.target_valid
        return valid if valid is None or self._places is None else valid[self._places]

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' names, in order."""
        ids = self._split.ids
        return ids if self._places is None else tuple(ids[place] for place in self._places.tolist())

    def batch(self, indices: Tensor) -> Batch:
        """The samples at these places of this split, ``[B]`` int64 from 0 to N - 1.

        Raises:
            IndexError: A place is outside of the split.
        """
        raw = self._split.batch(indices if self._places is None else self._places[indices], self._names)
        signals = {name: _joined([raw.signals[part] for part in parts]) for name, parts in self._parts.items()}
        return replace(raw, signals=signals, index=indices.clone())


def _joined(parts: Sequence[Signal]) -> Signal:
    """Concatenate along L; ``valid`` is None only if it is None for all."""
    if len(parts) == 1:
        return parts[0]
    masked = any(part.valid is not None for part in parts)
    valid = torch.cat([part.mask for part in parts], dim=1) if masked else None
    return Signal(torch.cat([part.values for part in parts], dim=1), valid)


class DataView:
    """What a model sees of a store.

    Args:
        store: The data set.
        inputs: Signals to read, in order; by default all of the store, or all that ``join`` makes and does not use.
        join: Signals made of several of the store's, one after another along L, which must
            have the same shape and dtype; of one alone it is a new name for it.
        valid: Fraction and seed by which a ``valid`` split is drawn from ``train`` where the
            store has none; None draws none. ``test`` is never touched.
        closed: Splits that this view refuses to open, such as ``test`` during tuning.

    Attributes:
        signals: Shapes, in order.
        description: The store's description, with the signals and splits as they are seen; what is closed is
            not seen.

    Raises:
        DataError: A signal is missing, named twice, or joined with one of another shape,
            or a ``valid`` split cannot be drawn.
    """

    def __init__(
        self,
        store: Store,
        inputs: Sequence[str] | None = None,
        *,
        join: Mapping[str, Sequence[str]] | None = None,
        valid: tuple[float, int] | None = None,
        closed: Collection[str] = (),
    ) -> None:
        self._store, self._valid, self._closed = store, valid, frozenset(closed)
        join = join or {}
        if inputs is None:
            used = {part for parts in join.values() for part in parts}
            inputs = [*join, *(name for name in store.description.signals if name not in used and name not in join)]
        names = list(inputs)
        if not names:
            raise DataError(f"no signal of {store.path} is used; there are: {shapes(store.description.signals)}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"signal {', '.join(twice)} is used twice; name each once")
        self._parts = {name: self._resolve(name, join) for name in names}
        self.signals = {name: self._shape(name, parts) for name, parts in self._parts.items()}
        splits = dict(store.description.splits)
        self._splits: dict[str, SplitView] = {}
        self._task: Task | None = None
        self._drawn: dict[str, Tensor] = {}
        if valid is not None and "valid" not in splits:
            self._drawn = _draw(len(store.split("train")), *valid)
            splits = {name: len(places) for name, places in self._drawn.items()} | {
                name: size for name, size in splits.items() if name != "train"
            }
        splits = {name: size for name, size in splits.items() if name not in self._closed}
        self.description = replace(store.description, signals=self.signals, splits=splits)

    def _resolve(self, name: str, join: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Return the store's signals that make up one of the view."""
        parts = tuple(join.get(name, (name,)))
        if not parts:
            raise DataError(f"signal {name!r} is joined of nothing; name one or more signals")
        known = self._store.description.signals
        for part in parts:
            if part not in known:
                inside = f" (joined into {name!r})" if name in join else ""
                raise DataError(
                    f"{self._store.path} has no signal {part!r}{inside}; there are: {shapes(known)}"
                    + (f"; joined: {', '.join(join)}" if join else "")
                    + suggestion(part, [*known, *join])
                )
        return parts

    def _shape(self, name: str, parts: Sequence[str]) -> SignalShape:
        known = {part: self._store.description.signals[part] for part in parts}
        if len({(each.shape, each.dtype) for each in known.values()}) > 1:
            dtypes = {each.dtype for each in known.values()}
            raise DataError(
                f"signal {name!r} joins {shapes(known)} ([L, *shape])"
                + (f" of the dtypes {', '.join(sorted(dtypes))}" if len(dtypes) > 1 else "")
                + "; only signals of the same shape and dtype can be joined"
            )
        length, ragged = sum(each.length for each in known.values()), any(each.ragged for each in known.values())
        return replace(known[parts[0]], length=length, ragged=ragged)

    @property
    def task(self) -> TaskEntry:
        """What the targets are."""
        return self._store.description.task

    def split(self, name: str) -> SplitView:
        """The samples of a split.

        Raises:
            DataError: There is no such split, neither stored nor drawn, or it is closed.
        """
        self.check_open(name)
        # Kept, so that an epoch neither opens the shards nor reads the labels again.
        if name not in self._splits:
            stored = self._store.split("train" if name in self._drawn else name)
            found = SplitView(stored, self._parts, self._drawn.get(name))
            if self._task is not None:
                valid = found.target_valid
                try:
                    self._task.check_target(found.target.numpy(), None if valid is None else valid.numpy())
                except DataError as error:
                    raise DataError(f"{self._store.path}, split {name!r}: {error}") from error
            self._splits[name] = found
        return self._splits[name]

    def check_by(self, task: Task) -> None:
        """Check the targets of each split by a task's own rule, when the split is first opened."""
        self._task = task

    def check_open(self, split: str) -> None:
        """Raise a :class:`DataError` if a split is closed."""
        if split in self._closed:
            raise DataError(
                f"the split {split!r} of {self._store.path} is closed here: tuning may not open it, nor may anything "
                "on the runs of its trials; train the recipe again with the parameters found, and measure that run"
            )

    def check_samples(self, split: str) -> None:
        """Raise a :class:`DataError` if a split is closed or has no samples."""
        self.check_open(split)
        if not self.description.splits.get(split):
            has = ", ".join(f"{name} ({n})" for name, n in self.description.splits.items() if n)
            raise DataError(f"the data has no samples in the split {split!r}; it has: {has}; name one of them")

    def changed(self, split: str) -> list[str]:
        """The files of a split whose content is not what the store's checksums say.

        Raises:
            DataError: The split is closed.
        """
        self.check_open(split)
        return self._store.changed("train" if split in self._drawn else split)

    def beside(self, *names: str) -> DataView:
        """Return a view of the same samples with other signals of the store, which the model does not see.

        Raises:
            DataError: The store has no such signal.
        """
        return DataView(self._store, names, valid=self._valid, closed=self._closed)

    def batches(
        self,
        split: str,
        batch_size: int,
        generator: torch.Generator | None = None,
        *,
        skip: int = 0,
        share: Callable[[int], slice] = slice,
    ) -> Iterator[Batch]:
        """All samples of a split, batch by batch; the last one may be smaller.

        Args:
            split: Name of the split.
            batch_size: Samples of a batch, at least 1.
            generator: Shuffles the samples; without it they come in order.
            skip: Batches to skip at the beginning, without reading them.
            share: Slice of a batch's samples to read, by their number; may be empty. By default all.

        Raises:
            DataError: There is no such split.
        """
        samples = self.split(split)
        order = torch.arange(len(samples)) if generator is None else torch.randperm(len(samples), generator=generator)
        whole = (order[i : i + batch_size] for i in range(skip * batch_size, len(order), batch_size))
        return (samples.batch(places[share(len(places))]) for places in whole)


def _draw(samples: int, fraction: float, seed: int) -> dict[str, Tensor]:
    """Places of ``train`` and ``valid`` within the stored ``train``, each in order."""
    if not 0 < fraction < 1:
        raise DataError(f"the fraction of train that becomes valid is {fraction}; give one between 0 and 1")
    if samples < 2:
        raise DataError(f"train has {samples} sample; a valid split can be drawn from 2 or more")
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    size = min(max(1, round(fraction * samples)), samples - 1)
    return {"train": order[size:].sort().values, "valid": order[:size].sort().values}


class ModalityStatistics(NamedTuple):
    """Mean and standard deviation of each number of a position, ``[D]`` float32, flat; the deviation is never 0."""

    mean: Tensor
    std: Tensor


def training_statistics(
    view: DataView, batch_size: int = 256, names: Collection[str] | None = None
) -> dict[str, ModalityStatistics]:
    """Statistics of the training split's valid positions, by signal; of frames, those of each pixel.

    They are merged batch by batch in float64 (Chan, Golub and LeVeque 1983), so
    that a data set larger than memory has them too. The deviation is the population's. A
    number that is constant, or has no valid position, gets the deviation 1. How many samples are read at once does not
    affect the result; ``names`` are the signals to measure, by default all of the view.
    """
    sums = {name: _Moments(shape.dim) for name, shape in view.signals.items() if names is None or name in names}
    for batch in view.batches("train", batch_size):
        for name, moments in sums.items():
            values, valid = batch.signals[name].values, batch.signals[name].valid
            rows = values.flatten(0, 1) if valid is None else values[valid]
            moments.add(rows.reshape(len(rows), view.signals[name].dim).double())
    return {name: moments.statistics() for name, moments in sums.items()}


class _Moments:
    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.squares = torch.zeros(dim, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Merge in rows ``[n, D]``."""
        n = len(rows)
        if n == 0:
            return
        mean = rows.mean(0)
        shift = mean - self.mean
        total = self.count + n
        self.squares += (rows - mean).square().sum(0) + shift.square() * (self.count * n / total)
        self.mean += shift * (n / total)
        self.count = total

    def statistics(self) -> ModalityStatistics:
        std = (self.squares / max(self.count, 1)).sqrt()
        # Below float32's resolution a deviation is rounding, not signal.
        constant = std <= torch.finfo(torch.float32).eps * self.mean.abs()
        return ModalityStatistics(self.mean.float(), std.where(~constant, 1.0).float())
