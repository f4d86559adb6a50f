"""A store seen through a recipe: which modalities, what joined, which samples are for validation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from neurozoo.core.interfaces import Batch
from neurozoo.data.manifest import Modality, shapes
from neurozoo.data.store import Split, Store
from neurozoo.errors import DataError, nearest

__all__ = ["DataView", "ModalityStatistics", "SplitView", "training_statistics"]


class SplitView:
    """The samples of one split, with the view's modalities; made by :meth:`DataView.split`."""

    def __init__(self, split: Split, parts: Mapping[str, Sequence[str]], places: Tensor | None = None) -> None:
        self._split, self._parts, self._places = split, parts, places
        self._names = list(dict.fromkeys(part for names in parts.values() for part in names))

    def __len__(self) -> int:
        return len(self._split) if self._places is None else len(self._places)

    @property
    def labels(self) -> Tensor:
        """``[N, K]`` float32 of 0 and 1."""
        return self._split.labels if self._places is None else self._split.labels[self._places]

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' names, in order."""
        ids = self._split.ids
        return ids if self._places is None else tuple(ids[place] for place in self._places.tolist())

    def batch(self, indices: Tensor) -> Batch:
        """The samples at these places of this split.

        Args:
            indices: ``[B]`` int64, from 0 to N - 1.

        Raises:
            IndexError: A place is outside of the split.
        """
        raw = self._split.batch(indices if self._places is None else self._places[indices], self._names)
        return Batch(
            {name: _joined(raw.features, parts) for name, parts in self._parts.items()},
            {name: _joined(raw.masks, parts) for name, parts in self._parts.items()},
            raw.labels,
            indices.clone(),
        )


def _joined(tensors: Mapping[str, Tensor], parts: Sequence[str]) -> Tensor:
    return tensors[parts[0]] if len(parts) == 1 else torch.cat([tensors[part] for part in parts], dim=1)


class DataView:
    """What a model sees of a store.

    Args:
        store: The data set.
        spiking: Modalities with a spiking branch, in order.
        context: The one modality without, or None.
        join: Modalities made of several of the store's, one after another along L, which must
            have the same dimension; of one alone it is a new name for it.
        valid: Fraction and seed by which a ``valid`` split is drawn from ``train`` where the
            store has none; None draws none. ``test`` is never touched.
        closed: Splits that this view does not open, whoever asks, such as ``test`` while something is tuned.

    Attributes:
        modalities: Shapes, the context first, then the spiking ones.
        labels: Names of the K labels.
        description: The store's description, with the modalities and splits as they are seen; what is closed is
            not seen.

    Raises:
        DataError: A modality is missing, named twice, or joined with one of another dimension,
            or a ``valid`` split cannot be drawn.
    """

    def __init__(
        self,
        store: Store,
        spiking: Sequence[str],
        context: str | None = None,
        join: Mapping[str, Sequence[str]] | None = None,
        valid: tuple[float, int] | None = None,
        closed: Collection[str] = (),
    ) -> None:
        self._store, self._valid, self._closed = store, valid, frozenset(closed)
        roles = ([context] if context is not None else []) + list(spiking)
        if not roles:
            raise DataError(f"no modality of {store.path} is used; there are: {shapes(store.description.modalities)}")
        twice = sorted({name for name in roles if roles.count(name) > 1})
        if twice:
            raise DataError(f"modality {', '.join(twice)} is used twice; name each once, as context or as spiking")
        self._parts = {name: self._resolve(name, join or {}) for name in roles}
        self.modalities = {name: self._shape(name, parts) for name, parts in self._parts.items()}
        self.labels = store.description.labels
        splits = dict(store.description.splits)
        self._splits: dict[str, SplitView] = {}
        self._drawn: dict[str, Tensor] = {}
        if valid is not None and "valid" not in splits:
            self._drawn = _draw(len(store.split("train")), *valid)
            splits = {name: len(places) for name, places in self._drawn.items()} | {
                name: size for name, size in splits.items() if name != "train"
            }
        splits = {name: size for name, size in splits.items() if name not in self._closed}
        self.description = replace(store.description, modalities=self.modalities, splits=splits)

    def _resolve(self, name: str, join: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """The store's modalities that one of the view is made of."""
        parts = tuple(join.get(name, (name,)))
        if not parts:
            raise DataError(f"modality {name!r} is joined of nothing; name one or more modalities")
        known = self._store.description.modalities
        for part in parts:
            if part not in known:
                guess = nearest(part, [*known, *join])
                inside = f" (joined into {name!r})" if name in join else ""
                raise DataError(
                    f"{self._store.path} has no modality {part!r}{inside}; there are: {shapes(known)}"
                    + (f"; joined: {', '.join(join)}" if join else "")
                    + (f"; did you mean {guess!r}?" if guess else "")
                )
        return parts

    def _shape(self, name: str, parts: Sequence[str]) -> Modality:
        known = {part: self._store.description.modalities[part] for part in parts}
        dims = {shape.dim for shape in known.values()}
        if len(dims) > 1:
            raise DataError(
                f"modality {name!r} joins {shapes(known)} ([L, D]); only modalities of the same dimension can be joined"
            )
        return Modality(dims.pop(), sum(known[part].length for part in parts))

    @property
    def dims(self) -> dict[str, int]:
        """Features D of each modality."""
        return {name: modality.dim for name, modality in self.modalities.items()}

    def split(self, name: str) -> SplitView:
        """The samples of a split.

        Raises:
            DataError: There is no such split, neither stored nor drawn, or it is closed.
        """
        self.check_open(name)
        # Kept, so that an epoch neither opens the shards nor reads the labels again.
        if name not in self._splits:
            stored = self._store.split("train" if name in self._drawn else name)
            self._splits[name] = SplitView(stored, self._parts, self._drawn.get(name))
        return self._splits[name]

    def check_open(self, split: str) -> None:
        """Refuse a split that is closed.

        Raises:
            DataError: It is.
        """
        if split in self._closed:
            raise DataError(
                f"the split {split!r} of {self._store.path} is closed here: tuning may not open it, nor may anything "
                "on the runs of its trials; train the recipe anew with what was found, and measure that run"
            )

    def changed(self, split: str) -> list[str]:
        """The files of a split whose content is not what the store's checksums say.

        Raises:
            DataError: The split is closed.
        """
        self.check_open(split)
        return self._store.changed("train" if split in self._drawn else split)

    def beside(self, *names: str) -> DataView:
        """The same samples and splits with other modalities of the store, which the model does not see.

        Raises:
            DataError: The store has no such modality.
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
            skip: Batches to leave out at the beginning, without reading them.
            share: Which of a batch's samples are wanted, by their number; by default all. None may be left.

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
    """Mean and standard deviation of each feature, ``[D]`` float32; the deviation is never 0."""

    mean: Tensor
    std: Tensor


def training_statistics(view: DataView, batch_size: int = 256) -> dict[str, ModalityStatistics]:
    """Statistics of the training split's valid positions, by modality.

    They are merged batch by batch in float64 (Chan, Golub and LeVeque 1983), so
    that a data set larger than memory has them too. The deviation is the population's. A
    feature that is constant, or has no valid position, gets the deviation 1.

    Args:
        view: The data; only ``train`` is read.
        batch_size: Samples read at once; it does not matter to the result.
    """
    sums = {name: _Moments(modality.dim) for name, modality in view.modalities.items()}
    for batch in view.batches("train", batch_size):
        for name, moments in sums.items():
            moments.add(batch.features[name][batch.masks[name]].double())
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
