"""A store seen through a recipe: which signals, what joined, which samples are for validation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from neurozoo.core.representation import Chain, Representation
from neurozoo.core.signals import Batch, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.data.manifest import TaskEntry, shapes
from neurozoo.data.represented import Budget, RepresentedCache, trimmed
from neurozoo.data.shuffled import shuffled_steps
from neurozoo.data.store import Split, Store
from neurozoo.errors import DataError, suggestion

__all__ = ["DataView", "ModalityStatistics", "SplitView", "training_statistics"]


class SplitView:
    """The samples of one split, with the view's signals; made by :meth:`DataView.split`."""

    def __init__(
        self,
        split: Split,
        parts: Mapping[str, Sequence[str]],
        places: Tensor | None = None,
        chains: Mapping[str, Chain] | None = None,
        along: Chain | None = None,
        budget: Budget | None = None,
        shuffle: int | None = None,
    ) -> None:
        self._split, self._parts, self._places = split, parts, places
        self._chains, self._along, self._shuffle = chains or {}, along, shuffle
        self._caches = {
            name: RepresentedCache(len(self), chain.shape, budget)
            for name, chain in self._chains.items()
            if budget is not None and not self._keeps_length(chain)
        }
        self._names = list(dict.fromkeys(part for names in parts.values() for part in names))

    def __len__(self) -> int:
        return len(self._split) if self._places is None else len(self._places)

    @property
    def target(self) -> Tensor:
        """The targets of all samples, ``[N, *shape]``, per step ``[N, L, *shape]``; see :class:`Split`."""
        return self._targets.values if self._places is None else self._targets.values[self._places]

    @property
    def target_valid(self) -> Tensor | None:
        """``[N, L]`` bool, which steps of a per-step target count; None where all do."""
        valid = self._targets.valid
        return valid if valid is None or self._places is None else valid[self._places]

    @cached_property
    def _targets(self) -> Signal:
        """The targets of the whole stored split, as they follow the positions of the represented signal."""
        stored = Signal(self._split.target, self._split.target_valid)
        return stored if self._along is None else self._along.steps(stored)

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' names, in order."""
        ids = self._split.ids
        return ids if self._places is None else tuple(ids[place] for place in self._places.tolist())

    def batch(self, indices: Tensor | Sequence[int], change: Callable[[Batch], Batch] | None = None) -> Batch:
        """The samples at these places of this split, ``[B]`` int64 from 0 to N - 1.

        Args:
            indices: The places, such as ``range(32)``.
            change: Changes the stored signals before they are represented, such as by augmentations of events.

        Raises:
            IndexError: A place is outside of the split.
        """
        indices = torch.as_tensor(indices, dtype=torch.int64)
        places = indices if self._places is None else self._places[indices]
        kept = self._caches if change is None else {}
        raw = self._split.batch(places, [name for name in self._names if name not in kept])
        raw = raw if change is None else change(raw)
        seen = {name: self._represented(name, each) for name, each in raw.signals.items()}
        for name, cache in kept.items():
            if name in self._names:
                seen[name] = cache.get(indices, partial(self._read, name))
        signals = {name: _joined([seen[part] for part in parts]) for name, parts in self._parts.items()}
        batch = replace(raw, signals=signals, index=indices.clone())
        if self._along is not None and raw.target is not None:
            target = self._along.steps(Signal(raw.target, raw.target_valid))
            batch = replace(batch, target=target.values, target_valid=target.valid)
        if self._shuffle is None:
            return batch
        ids = self.ids
        names = [ids[place] for place in indices.tolist()]
        return shuffled_steps(batch, names, self._shuffle, per_step=self._split.task.per_step)

    def _read(self, name: str, indices: Tensor) -> Signal:
        places = indices if self._places is None else self._places[indices]
        return self._represented(name, self._split.signal(name, places))

    def _represented(self, name: str, signal: Signal) -> Signal:
        if name not in self._chains:
            return signal
        found = self._chains[name](signal)
        return found if self._keeps_length(self._chains[name]) else trimmed(found)

    def _keeps_length(self, chain: Chain) -> bool:
        """Whether a batch must stay as long as its targets per step, and cannot end with its last valid position."""
        return self._split.task.per_step and chain.shape.ragged


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
        represent: By signal of the store, its representations with their registered names, in order. Targets per step
            follow those of the first input that has as many positions as they have.
        join: Signals made of several of the store's, one after another along L, which must
            have the same shape and dtype; of one alone it is a new name for it.
        valid: Fraction and seed by which a ``valid`` split is drawn from ``train`` where the
            store has none; None draws none. ``test`` is never touched.
        closed: Splits that this view refuses to open, such as ``test`` during tuning.
        shuffle: Seed by which the valid positions of each sample are put in another order, see
            :func:`~neurozoo.data.shuffled.shuffled_steps`; None keeps them in order.

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
        represent: Mapping[str, Sequence[tuple[str, Representation]]] | None = None,
        join: Mapping[str, Sequence[str]] | None = None,
        valid: tuple[float, int] | None = None,
        closed: Collection[str] = (),
        shuffle: int | None = None,
    ) -> None:
        self._store, self._valid, self._closed, self._shuffle = store, valid, frozenset(closed), shuffle
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
        known = store.description.signals
        for name in represent or {}:
            if name not in known:
                raise DataError(
                    f"data.represent names {name!r}, and {store.path} has: {shapes(known)}{suggestion(name, known)}"
                )
        self._budget = Budget()
        self._chains = {name: Chain(name, steps, known[name]) for name, steps in (represent or {}).items() if steps}
        self._known = known | {name: chain.shape for name, chain in self._chains.items()}
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
        known = {part: self._known[part] for part in parts}
        if len({(each.shape, each.dtype) for each in known.values()}) > 1:
            dtypes = {each.dtype for each in known.values()}
            raise DataError(
                f"signal {name!r} joins {shapes(known)} ([L, *shape])"
                + (f" of the dtypes {', '.join(sorted(dtypes))}" if len(dtypes) > 1 else "")
                + "; only signals of the same shape and dtype can be joined"
            )
        length, ragged = sum(each.length for each in known.values()), any(each.ragged for each in known.values())
        return replace(known[parts[0]], length=length, ragged=ragged)

    def _along(self) -> Chain | None:
        """Return the representations that targets per step follow; None if they stay as they are stored."""
        if not self.task.per_step:
            return None
        target = self._store.target
        inputs = dict.fromkeys(part for parts in self._parts.values() for part in parts)
        moved = [part for part in inputs if part in self._chains and not self._chains[part].keeps_positions]
        stored = [part for part in inputs if self._store.columns[part].length == target.length]
        if moved and not stored:
            raise DataError(
                f"{self._store.path}: there is a target for each of up to {target.length} positions, and "
                f"data.represent moves those of {', '.join(moved)}; use a representation that keeps them"
            )
        return self._chains[stored[0]] if moved and stored[0] in moved else None

    @property
    def stored(self) -> dict[str, SignalShape]:
        """The signals that are represented, with their shapes in the store."""
        inputs = dict.fromkeys(part for parts in self._parts.values() for part in parts)
        return {part: self._chains[part].stored for part in inputs if part in self._chains}

    @property
    def events(self) -> dict[str, SignalShape]:
        """The signals that are stored as events and represented, with their shapes in the store."""
        return {part: shape for part, shape in self.stored.items() if shape.sensor is not None}

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
            chains, along = self._chains, self._along()
            found = SplitView(stored, self._parts, self._drawn.get(name), chains, along, self._budget, self._shuffle)
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

    def shuffled(self, seed: int) -> DataView:
        """Return a view of the same samples, each with its valid positions in another order."""
        other = copy.copy(self)
        other._shuffle, other._splits = seed, {}
        return other

    def batches(
        self,
        split: str,
        batch_size: int,
        generator: torch.Generator | None = None,
        *,
        skip: int = 0,
        share: Callable[[int], slice] = slice,
        change: Callable[[Batch], Batch] | None = None,
    ) -> Iterator[Batch]:
        """All samples of a split, batch by batch; the last one may be smaller.

        Args:
            split: Name of the split.
            batch_size: Samples of a batch, at least 1.
            generator: Shuffles the samples; without it they come in order.
            skip: Batches to skip at the beginning, without reading them.
            share: Slice of a batch's samples to read, by their number; may be empty. By default all.
            change: Changes the stored signals of each batch before they are represented.

        Raises:
            DataError: There is no such split.
        """
        samples = self.split(split)
        order = torch.arange(len(samples)) if generator is None else torch.randperm(len(samples), generator=generator)
        whole = (order[i : i + batch_size] for i in range(skip * batch_size, len(order), batch_size))
        return (samples.batch(places[share(len(places))], change) for places in whole)


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
