"""A trained model on samples that have no labels: from a store, npz or JSON lines, one at a time.

Each sample is predicted by itself, from the statistics of the checkpoint. So what is said of it does not depend on what
else is asked, or on what was asked before, and each takes the time that it takes alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurozoo.data.foreign.npz import read_npz
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.runs.loading import TrainedModel, load

__all__ = ["Prediction", "Predictor", "Sample", "predict"]

IDS, MASK = "ids", "mask/"
"""Arrays of an npz that are not features."""


@dataclass(frozen=True)
class Sample:
    """What is to be predicted.

    Attributes:
        id: Its name.
        features: ``[L, D]`` by modality, in the data's own units.
        masks: ``[L]`` by modality, True where valid; where there is none, rows of zeros at the ends are padding.
        split: Where it is from; empty where there are no splits.
    """

    id: str
    features: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    split: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a model says of a sample.

    Attributes:
        id: The sample's name.
        probabilities: By label.
        labels: Those whose probability is above the run's decision threshold.
        split: Where the sample is from; empty where there are no splits.
    """

    id: str
    probabilities: Mapping[str, float]
    labels: tuple[str, ...]
    split: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the split alone where there is one."""
        split = {"split": self.split} if self.split else {}
        return {"id": self.id, **split, "probabilities": dict(self.probabilities), "labels": list(self.labels)}


def predict(
    run: str | Path, source: str | Path | Iterable[Sample], *, split: str | None = None, backend: str | None = None
) -> Iterator[Prediction]:
    """Predict the labels of samples, one at a time and as they come.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        source: A store, ``.npz`` or file of JSON lines, see :meth:`Predictor.samples`; or samples.
        split: Of a store, the one to take; by default all.
        backend: Another backend than the run's own.

    Raises:
        UserError: The run cannot be used, or a sample is not of the form that its model takes.
    """
    predictor = Predictor(run, backend=backend)
    return predictor.predict(predictor.samples(Path(source), split) if isinstance(source, str | Path) else source)


class Predictor:
    """A trained model with the threshold it decided by.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        backend: Another backend than the run's own.

    Attributes:
        labels: Names of the K labels.
        synthetic: Whether it was trained on made-up data.

    Raises:
        UserError: It is none of these, or its checkpoint cannot be used.
    """

    def __init__(self, run: str | Path, *, backend: str | None = None) -> None:
        self._model: TrainedModel = load(run, backend=backend)
        self._recipe, self.labels = self._model.recipe, self._model.labels
        decided = np.asarray(self._model.decision_threshold, dtype=np.float64)
        self._cut = np.broadcast_to(decided, len(self.labels))
        self.synthetic = bool(self._model.source.data.get("synthetic"))

    def predict(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """One prediction a sample, as they come.

        Raises:
            DataError: A sample is not of the form that the model takes; names it.
        """
        for sample in samples:
            try:
                features = {name: x[None] for name, x in sample.features.items()}
                found = self._model.predict(features, {name: x[None] for name, x in sample.masks.items()})
            except DataError as error:
                raise DataError(f"sample {sample.id!r}: {error}") from error
            values = found[0].tolist()
            there = tuple(name for name, p, cut in zip(self.labels, values, self._cut, strict=True) if p > cut)
            yield Prediction(sample.id, dict(zip(self.labels, values, strict=True)), there, sample.split)

    def samples(self, source: Path, split: str | None = None) -> Iterator[Sample]:
        """The samples of a store, an npz or a file of JSON lines.

        Args:
            source: A store's folder; or ``.npz`` with an array ``[N, L, D]`` a modality, and where there are any
                ``ids`` ``[N]`` and ``mask/NAME`` ``[N, L]``; or JSON lines, see :meth:`lines`.
            split: Of a store, the one to take; by default all.

        Raises:
            DataError: It is of none of these forms, or lacks a modality.
        """
        if split is not None and not source.is_dir():
            raise DataError(f"{source} is no store and has no splits; leave out the split {split!r}")
        if source.is_dir():
            return self._of_store(source, split)
        if source.suffix == ".npz":
            return self._of_arrays(source)
        return self._of_file(source)

    def lines(self, lines: Iterable[str], where: str) -> Iterator[Sample]:
        """The samples of JSON lines: ``{"id": ..., "features": {NAME: [[...], ...]}, "masks": {NAME: [...]}}``.

        Args:
            lines: One sample each; empty ones are passed over. Without ``id`` its number from 0 is its name.
            where: What has them, for the errors.

        Raises:
            DataError: A line is not of that form; names it.
        """
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            with _told(f"{where}:{number}"):
                given = json.loads(line)
                parts = [given, given.get("features"), given.get("masks", {})] if isinstance(given, dict) else [given]
                if not all(isinstance(part, dict) for part in parts):
                    raise ValueError("not an object with features by modality")
                features = {name: _tensor(name, x, np.float32) for name, x in given["features"].items()}
                masks = {name: _tensor(name, x, np.bool_) for name, x in given.get("masks", {}).items()}
                sample = Sample(str(given.get("id", number - 1)), features, masks)
            for name, x in features.items():
                if x.ndim != 2:
                    raise DataError(f"{where}:{number}: {name} has {x.ndim} axes; give rows of numbers, [L, D]")
            yield sample

    def _of_store(self, source: Path, split: str | None) -> Iterator[Sample]:
        data = self._recipe.data
        closed = self._model.source.closed
        view = DataView(Store(source), spiking=data.spiking, context=data.context, join=data.join, closed=closed)
        for name in view.description.splits if split is None else (split,):
            ids = view.split(name).ids
            for place, batch in enumerate(view.batches(name, 1)):
                features = {key: x[0] for key, x in batch.features.items()}
                yield Sample(ids[place], features, {key: x[0] for key, x in batch.masks.items()}, name)

    def _of_arrays(self, source: Path) -> Iterator[Sample]:
        arrays = read_npz(source)
        ids = arrays.pop(IDS, None)
        masks = {name.removeprefix(MASK): arrays.pop(name) for name in list(arrays) if name.startswith(MASK)}
        sizes = {name: len(x) if x.ndim else 0 for name, x in {**arrays, **masks}.items()}
        sizes |= {} if ids is None else {IDS: len(np.atleast_1d(ids))}
        wrong = [
            f"{name} {x.dtype} {list(x.shape)}"
            for name, x in arrays.items()
            if x.ndim != 3 or x.dtype.kind not in "fiub"
        ]
        if wrong or len(set(sizes.values())) != 1:
            told = ", ".join(wrong or (f"{name} {size}" for name, size in sizes.items())) or "nothing"
            raise DataError(f"{source} holds {told}; give numbers [N, L, D] by modality, the same N for all")
        for place in range(next(iter(sizes.values()))):
            yield Sample(
                str(place if ids is None else ids[place]),
                {name: torch.from_numpy(x[place].astype(np.float32)) for name, x in arrays.items()},
                {name: torch.from_numpy(x[place].astype(bool)) for name, x in masks.items()},
            )

    def _of_file(self, source: Path) -> Iterator[Sample]:
        try:
            with source.open(encoding="utf-8") as file:
                yield from self.lines(file, str(source))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{source} cannot be read as JSON lines ({error}); give a store, .npz or JSON lines"
            ) from error


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Whatever is wrong with a line, named by its place."""
    try:
        yield
    except ValueError as error:
        what = str(error).splitlines()[0]
        raise DataError(
            f'{where}: {what}; give {{"id": ..., "features": {{NAME: [[...], ...]}}}}, a row of numbers a position'
        ) from error


def _tensor(name: str, values: Any, dtype: type[np.generic]) -> Tensor:
    try:
        # What is too large for float32 becomes infinite, and is refused with what is not finite.
        with np.errstate(over="ignore"):
            array = np.array(values)
            if array.dtype.kind not in "fiub":
                raise ValueError
            return torch.from_numpy(array.astype(dtype))
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name} is not rows of numbers, all of the same length") from None
