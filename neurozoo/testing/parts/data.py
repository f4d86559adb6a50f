"""What a data set with a name must do: made anywhere, the same each time, and fit to train on."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch

from neurozoo.core.signals import Batch, SignalShape
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.testing.findings import Findings, require
from neurozoo.testing.kits import Kit, cases_of
from neurozoo.testing.parts import parameters

_HOME = "NEUROZOO_DATA"


class DatasetSubject(Findings):
    """A data set under test."""

    @contextmanager
    def made(self) -> Iterator[Store]:
        """Its store, made in an empty data home that is gone afterwards."""
        with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, {_HOME: home}):
            yield self.store()

    def store(self) -> Store:
        """What a new object of it gives.

        Raises:
            ConformanceError: It is no store.
        """
        store = self.candidate.target(**self.candidate.params).store()
        require(isinstance(store, Store), f"store() gives {type(store).__name__}, not neurozoo.data.store.Store")
        return store  # type: ignore[no-any-return]

    def batches(self, store: Store) -> Iterator[tuple[str, int, Batch]]:
        """All samples, in batches, each with its split and the place where it begins there."""
        for name, samples in store.description.splits.items():
            split = store.split(name)
            for first in range(0, samples, 64):
                yield name, first, split.batch(torch.arange(first, min(first + 64, samples)))


def gives_a_store(subject: DatasetSubject) -> None:
    """store() makes a Store, whole, in the data home (``NEUROZOO_DATA``), and finds it there the next time."""
    with subject.made() as store:
        require(
            store.path.resolve().is_relative_to(Path(os.environ[_HOME]).resolve()),
            f"the store is {store.path}, outside of the data home; make it neurozoo.data.locations.data_home() / NAME",
        )
        store.verify()
        written = _times(store)
        again = subject.store()
        unchanged = again.path == store.path and _times(store) == written
        require(unchanged, "a second object makes the store again; use the one that is there")


def made_twice_is_the_same(subject: DatasetSubject) -> None:
    """Made in two data homes it has the same checksum: every value is fixed by its parameters."""
    checksums: list[str] = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(checksums))
            with subject.made() as store:
                checksums.append(store.description.checksum)
    require(
        len(set(checksums)) == 1,
        "made twice, it has two checksums; seed every generator by a parameter, and write neither time nor path",
    )


def has_samples_to_learn_from(subject: DatasetSubject) -> None:
    """Splits train and valid with samples in them; without valid a recipe has to draw it (``data.valid``)."""
    with subject.made() as store:
        splits = store.description.splits
        require(splits.get("train"), f"there is no sample in a split train; there are: {_listed(splits)}")
        if "valid" not in splits:
            subject.refused.append("no split valid: a recipe draws it from train with data.valid")
        empty = [name for name, samples in splits.items() if not samples]
        require(not empty, f"no sample in: {', '.join(empty)}")
        ids = [name for split in splits for name in store.split(split).ids]
        # Ids may also be the places in the split, which repeat.
        own = len(set(ids)) == len(ids) or all(name.isdecimal() for name in ids)
        require(own, "two samples have the same id; ids are unique over all splits")


def targets_are_named_and_vary(subject: DatasetSubject) -> None:
    """One name an output, each once; targets are as wide as that, labels are 0 or 1, and not all targets are equal."""
    with subject.made() as store:
        task = store.description.task
        names = task.outputs
        named = names and all(names) and len(set(names)) == len(names)
        require(named, f"outputs are named {', '.join(names) or 'by nothing'}; give each a name of its own")
        seen: set[float] = set()
        for split in store.description.splits:
            found = store.split(split)
            target = found.target if found.target_valid is None else found.target[found.target_valid]
            if task.name in ("multilabel", "regression"):
                width = target.shape[-1]
                require(width == len(names), f"{split} has {width} columns and there are {len(names)} names")
            seen |= set(target.flatten().tolist())
            subject.compared += target.numel()
        values = _listed(sorted(seen))
        if task.name == "multilabel":
            require(seen <= {0.0, 1.0}, f"labels have the values {values}; they are 0 or 1")
        if task.name == "multiclass":
            require(seen <= set(range(len(names))), f"classes are {values}; they are 0 to {len(names) - 1}")
        require(len(seen) > 1, f"every target of every sample is {values}; there is nothing to learn")


def masks_leave_something(subject: DatasetSubject) -> None:
    """Masks are bool, as long as their sequence, and leave each sample a valid position in some signal."""
    with subject.made() as store:
        for split, first, batch in subject.batches(store):
            some = torch.zeros(len(batch), dtype=torch.bool)
            for name, signal in batch.signals.items():
                mask = signal.mask
                fits = mask.dtype == torch.bool and mask.shape == signal.values.shape[:2]
                require(fits, f"the mask of {name} in {split} is {mask.dtype} {list(mask.shape)}")
                some |= mask.any(1)
                subject.compared += mask.numel()
            without = [store.split(split).ids[first + place] for place in (~some).nonzero().flatten().tolist()]
            names = f"{len(without)} samples of {split}"
            require(not without, f"{names} have no valid position in any signal, such as {''.join(without[:1])}")


def features_are_finite(subject: DatasetSubject) -> None:
    """Every value is finite, none had to be replaced, and padded positions hold zeros."""
    with subject.made() as store:
        replaced = {name: count for name, count in store.non_finite.items() if count}
        require(not replaced, f"values that were NaN or infinite became 0 while writing: {_listed(replaced)}")
        varied: dict[str, bool] = {}
        for split, _, batch in subject.batches(store):
            for name, signal in batch.signals.items():
                x = signal.values
                require(torch.isfinite(x).all(), f"{name} in {split} has values that are not finite")
                require(
                    signal.valid is None or not x[~signal.valid].any(),
                    f"{name} in {split} has other values than 0 in positions that its mask leaves out; "
                    "write zeros there, for models that let padding take part",
                )
                varied[name] = varied.get(name, False) or bool(x.any())
                subject.compared += x.numel()
        empty = [name for name, any_value in varied.items() if not any_value]
        require(not empty, f"nothing but zeros in: {', '.join(empty)}")


def says_what_it_is(subject: DatasetSubject) -> None:
    """origin names source and licence; made-up values are declared synthetic, and the source says so in words."""
    with subject.made() as store:
        synthetic, origin = store.description.synthetic, store.description.origin
        require(isinstance(synthetic, bool), f"description.synthetic is {synthetic!r}; say True or False")
        lacking = [key for key in ("source", "licence") if not origin.get(key)]
        require(not lacking, f"origin has no {', '.join(lacking)}; say where the values come from, for the reports")
        require(
            synthetic == ("synthetic" in str(origin["source"]).lower()),
            f"synthetic is {synthetic} and the source reads {origin['source']!r}; "
            "a made-up data set is declared synthetic, and its source says SYNTHETIC",
        )


def can_be_read_through_a_recipe(subject: DatasetSubject) -> None:
    """A DataView reads batches of the shapes that it names: of all signals, in any order, and of each alone."""
    with subject.made() as store:
        names = tuple(store.description.signals)
        others = ((name, *names[:i], *names[i + 1 :]) for i, name in enumerate(names) if names[1:])
        for chosen in (None, *((name,) for name in names), *others):
            view = DataView(store) if chosen is None else DataView(store, chosen)
            batch = next(view.batches("train", 4))
            for name, shape in view.signals.items():
                x = batch.signals[name].values
                length = min(x.shape[1], shape.length) if store.columns[name].ragged else shape.length
                wanted = SignalShape(shape.shape, length, shape.dtype)
                found = SignalShape(tuple(x.shape[2:]), x.shape[1], str(x.dtype).removeprefix("torch."))
                said = f"said to be {shape.dtype} {shape}"
                require(found == wanted, f"{name} is {found.dtype} {found} in a batch, and {said}")
            subject.compared += 1


def _times(store: Store) -> dict[Path, int]:
    """When each file of a store was written, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in sorted(store.path.iterdir())}


def _listed(values: object) -> str:
    return ", ".join(map(str, values)) or "none"  # type: ignore[call-overload]


DATA = Kit("data", DatasetSubject, cases_of(sys.modules[__name__], parameters), tiny=("gives_a_store",))
