"""What a data set with a name must do: made anywhere, the same each time, and fit to train on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from neurozoo.core.signals import Batch, SignalShape
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.testing.findings import ConformanceError, Findings
from neurozoo.testing.parts.parameters import check_declared
from neurozoo.testing.report import Kit

__all__ = ["DATA", "DatasetSubject"]

_HOME = "NEUROZOO_DATA"


class DatasetSubject(Findings):
    """A data set under test."""

    @contextmanager
    def made(self) -> Iterator[Store]:
        """Its store, made in an empty data home that is gone afterwards."""
        before = os.environ.get(_HOME)
        with tempfile.TemporaryDirectory() as home:
            os.environ[_HOME] = home
            try:
                yield self.store()
            finally:
                if before is None:
                    del os.environ[_HOME]
                else:
                    os.environ[_HOME] = before

    def store(self) -> Store:
        """What a new object of it gives.

        Raises:
            ConformanceError: It is no store.
        """
        store = self.candidate.target(**self.candidate.params).store()
        if not isinstance(store, Store):
            raise ConformanceError(f"store() gives {type(store).__name__}, not neurozoo.data.store.Store")
        return store

    def batches(self, store: Store) -> Iterator[tuple[str, int, Batch]]:
        """All samples, in batches, each with its split and the place where it begins there."""
        for name, samples in store.description.splits.items():
            split = store.split(name)
            for first in range(0, samples, 64):
                yield name, first, split.batch(torch.arange(first, min(first + 64, samples)))


def gives_a_store(subject: DatasetSubject) -> None:
    """store() makes a Store, whole, in the data home (``NEUROZOO_DATA``), and finds it there the next time."""
    with subject.made() as store:
        home = Path(os.environ[_HOME]).resolve()
        if not store.path.resolve().is_relative_to(home):
            raise ConformanceError(
                f"the store is {store.path}, outside of the data home; "
                "make it neurozoo.data.locations.data_home() / NAME"
            )
        store.verify()
        written = {path: path.stat().st_mtime_ns for path in sorted(store.path.iterdir())}
        again = subject.store()
        if again.path != store.path or {p: p.stat().st_mtime_ns for p in sorted(store.path.iterdir())} != written:
            raise ConformanceError("a second object makes the store again; use the one that is there")


def made_twice_is_the_same(subject: DatasetSubject) -> None:
    """Made in two data homes it has the same checksum: every value is fixed by its parameters."""
    checksums: list[str] = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(checksums))
            with subject.made() as store:
                checksums.append(store.description.checksum)
    if len(set(checksums)) > 1:
        raise ConformanceError(
            "made twice, it has two checksums; seed every generator by a parameter, and write neither time nor path"
        )


def has_samples_to_learn_from(subject: DatasetSubject) -> None:
    """Splits train and valid with samples in them; without valid a recipe has to draw it (``data.valid``)."""
    with subject.made() as store:
        splits = store.description.splits
        if not splits.get("train"):
            raise ConformanceError(f"there is no sample in a split train; there are: {_listed(splits)}")
        if "valid" not in splits:
            subject.refused.append("no split valid: a recipe draws it from train with data.valid")
        empty = [name for name, samples in splits.items() if not samples]
        if empty:
            raise ConformanceError(f"no sample in: {', '.join(empty)}")
        ids = [name for split in splits for name in store.split(split).ids]
        if len(set(ids)) < len(ids) and _named(ids):
            raise ConformanceError("two samples have the same id; ids are unique over all splits")


def targets_are_named_and_vary(subject: DatasetSubject) -> None:
    """One name an output, each once; targets are as wide as that, labels are 0 or 1, and not all targets are equal."""
    with subject.made() as store:
        task = store.description.task
        names = task.outputs
        if not names or not all(names) or len(set(names)) < len(names):
            raise ConformanceError(f"outputs are named {', '.join(names) or 'by nothing'}; give each a name of its own")
        seen: set[float] = set()
        for split in store.description.splits:
            found = store.split(split)
            target = found.target if found.target_valid is None else found.target[found.target_valid]
            if task.name in ("multilabel", "regression") and target.shape[-1] != len(names):
                raise ConformanceError(f"{split} has {target.shape[-1]} columns and there are {len(names)} names")
            seen |= set(target.flatten().tolist())
            subject.compared += target.numel()
        if task.name == "multilabel" and not seen <= {0.0, 1.0}:
            raise ConformanceError(f"labels have the values {_listed(sorted(seen))}; they are 0 or 1")
        if task.name == "multiclass" and not seen <= set(range(len(names))):
            raise ConformanceError(f"classes are {_listed(sorted(seen))}; they are 0 to {len(names) - 1}")
        if len(seen) < 2:
            raise ConformanceError(f"every target of every sample is {seen.pop():g}; there is nothing to learn")


def masks_leave_something(subject: DatasetSubject) -> None:
    """Masks are bool, as long as their sequence, and leave each sample a valid position in some signal."""
    with subject.made() as store:
        for split, first, batch in subject.batches(store):
            some = torch.zeros(len(batch), dtype=torch.bool)
            for name, signal in batch.signals.items():
                mask = signal.mask
                if mask.dtype != torch.bool or mask.shape != signal.values.shape[:2]:
                    raise ConformanceError(f"the mask of {name} in {split} is {mask.dtype} {list(mask.shape)}")
                some |= mask.any(1)
                subject.compared += mask.numel()
            if not bool(some.all()):
                without = [store.split(split).ids[first + place] for place in (~some).nonzero().flatten().tolist()]
                raise ConformanceError(
                    f"{len(without)} samples of {split} have no valid position in any signal, such as {without[0]}"
                )


def features_are_finite(subject: DatasetSubject) -> None:
    """Every value is finite, none had to be replaced, and padded positions hold zeros."""
    with subject.made() as store:
        replaced = {name: count for name, count in store.non_finite.items() if count}
        if replaced:
            raise ConformanceError(f"values that were NaN or infinite became 0 while writing: {_listed(replaced)}")
        varied: dict[str, bool] = {}
        for split, _, batch in subject.batches(store):
            for name, signal in batch.signals.items():
                x = signal.values
                if not bool(torch.isfinite(x).all()):
                    raise ConformanceError(f"{name} in {split} has values that are not finite")
                if signal.valid is not None and bool(x[~signal.valid].any()):
                    raise ConformanceError(
                        f"{name} in {split} has other values than 0 in positions that its mask leaves out; "
                        "write zeros there, for models that let padding take part"
                    )
                varied[name] = varied.get(name, False) or bool(x.any())
                subject.compared += x.numel()
        empty = [name for name, any_value in varied.items() if not any_value]
        if empty:
            raise ConformanceError(f"nothing but zeros in: {', '.join(empty)}")


def says_what_it_is(subject: DatasetSubject) -> None:
    """origin names source and licence; made-up values are declared synthetic, and the source says so in words."""
    with subject.made() as store:
        found = store.description
        if not isinstance(found.synthetic, bool):
            raise ConformanceError(f"description.synthetic is {found.synthetic!r}; say True or False")
        lacking = [key for key in ("source", "licence") if not found.origin.get(key)]
        if lacking:
            raise ConformanceError(
                f"origin has no {', '.join(lacking)}; say where the values come from, for the reports"
            )
        if found.synthetic != ("synthetic" in str(found.origin["source"]).lower()):
            raise ConformanceError(
                f"synthetic is {found.synthetic} and the source reads {found.origin['source']!r}; "
                "a made-up data set is declared synthetic, and its source says SYNTHETIC"
            )


def can_be_read_through_a_recipe(subject: DatasetSubject) -> None:
    """A DataView reads batches of the shapes that it names: of all signals, in any order, and of each alone."""
    with subject.made() as store:
        names = tuple(store.description.signals)
        views = [partial(DataView, store)]
        views += [partial(DataView, store, (name,)) for name in names]
        views += [
            partial(DataView, store, (name, *names[:i], *names[i + 1 :])) for i, name in enumerate(names) if names[1:]
        ]
        for make in views:
            view = make()
            batch = next(view.batches("train", 4))
            for name, shape in view.signals.items():
                x = batch.signals[name].values
                length = min(x.shape[1], shape.length) if store.columns[name].ragged else shape.length
                wanted = SignalShape(shape.shape, length, shape.dtype)
                found = SignalShape(tuple(x.shape[2:]), x.shape[1], str(x.dtype).removeprefix("torch."))
                if found != wanted:
                    raise ConformanceError(
                        f"{name} is {found.dtype} {found} in a batch, and said to be {shape.dtype} {shape}"
                    )
            subject.compared += 1


def parameters_fit_a_recipe(subject: DatasetSubject) -> None:
    """Keyword-only parameters, annotated, each default within its own bounds; those given are accepted."""
    check_declared(subject)


def _named(ids: list[str]) -> bool:
    """Whether samples have names of their own, and not their places in the split."""
    return not all(name.isdecimal() for name in ids)


def _listed(values: object) -> str:
    return ", ".join(map(str, values)) or "none"  # type: ignore[call-overload]


_CASES: tuple[Callable[[DatasetSubject], None], ...] = (
    gives_a_store,
    made_twice_is_the_same,
    has_samples_to_learn_from,
    targets_are_named_and_vary,
    masks_leave_something,
    features_are_finite,
    says_what_it_is,
    can_be_read_through_a_recipe,
    parameters_fit_a_recipe,
)
DATA = Kit("data", DatasetSubject, {case.__name__: case for case in _CASES}, tiny=("gives_a_store",))
