"""A trained model on samples without targets: from a store, npz or JSON lines, one at a time.

Each sample is predicted alone, from the statistics of the checkpoint, so that its prediction depends neither on the
other samples nor on earlier ones.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.signals import Batch, SignalShape
from neurozoo.data.store import Store
from neurozoo.data.untrusted.npz import read_npz
from neurozoo.errors import DataError, NeurozooError
from neurozoo.files.json_text import parse_json
from neurozoo.files.opening import open_regular
from neurozoo.files.text import as_text, as_texts, text_lines
from neurozoo.models.build import view_of
from neurozoo.runs.loading import TrainedModel, load

__all__ = ["Prediction", "Predictor", "Sample", "predict"]

IDS, MASK = "ids", "mask/"
"""Arrays of an npz that are not signals."""


@dataclass(frozen=True)
class Sample:
    """One sample to predict.

    Attributes:
        id: Its name.
        signals: ``[L, *shape]`` by name, in the data's own units.
        masks: ``[L]`` bool by name, True where valid; see :meth:`~neurozoo.runs.loading.TrainedModel.batch` for
            signals without one.
        split: Split of the sample; empty if there are none.
        steps: ``[L]`` bool, the steps to answer for a task per step; None for the valid ones.
    """

    id: str
    signals: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    split: str = ""
    steps: Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """The prediction of one sample.

    Attributes:
        id: The sample's name.
        answer: See :meth:`neurozoo.core.task.Task.answer`.
        split: Split of the sample; empty if there are none.
    """

    id: str
    answer: Mapping[str, Any]
    split: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON object, without ``split`` if it is empty."""
        split = {"split": self.split} if self.split else {}
        return {"id": self.id, **split, **self.answer}


def predict(
    run: str | Path,
    source: str | Path | Iterable[Sample],
    *,
    split: str | None = None,
    backend: str | None = None,
    engine: str | None = None,
) -> Iterator[Prediction]:
    """Predict samples, one at a time and as they come.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        source: A store, ``.npz`` or file of JSON lines, see :meth:`Predictor.samples`; or samples.
        split: Of a store, the one to take; by default all.
        backend: Another backend than the run's own.
        engine: Who runs its layers, see :func:`neurozoo.runs.loading.load`.

    Raises:
        UserError: The run cannot be used, or a sample is not of the form that its model takes.
    """
    predictor = Predictor(run, backend=backend, engine=engine)
    return predictor.predict(predictor.samples(Path(source), split) if isinstance(source, str | Path) else source)


class Predictor:
    """A trained model with its decision.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        backend: Another backend than the run's own.
        engine: Who runs its layers, see :func:`neurozoo.runs.loading.load`.

    Attributes:
        task: What its outputs mean.
        synthetic: Whether it was trained on made-up data.

    Raises:
        UserError: It is none of these, or its checkpoint cannot be used.
    """

    def __init__(self, run: str | Path, *, backend: str | None = None, engine: str | None = None) -> None:
        self._model: TrainedModel = load(run, backend=backend, engine=engine)
        self.task = self._model.module.problem.task
        self._decision = self._model.decision
        self.synthetic = bool(self._model.source.data.get("synthetic"))

    @property
    def columns(self) -> tuple[str, ...]:
        """Head of a table of predictions, see :meth:`rows`."""
        answer = self.task.answer_of_one(np.full(len(self.task.outputs), 0.5, np.float32), self._decision)
        return ("split", "id", *(("step",) if self.task.per_step else ()), *(name for name, _ in _cells(answer)))

    def rows(self, found: Prediction) -> Iterator[list[Any]]:
        """The lines of a table for a prediction: one, or for a task per step one a step, counted from 0.

        A mapping of the answer gives a column an output, a list is joined by ``;``.
        """
        for step, answer in enumerate(found.answer["steps"] if self.task.per_step else [found.answer]):
            place = [step] if self.task.per_step else []
            yield [found.split, found.id, *place, *(cell for _, cell in _cells(answer))]

    def predict(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """One prediction a sample, as they come.

        Raises:
            DataError: A sample is not of the form that the model takes; names it.
            NeurozooError: A prediction is not finite; names the sample.
        """
        for sample in samples:
            try:
                batch = self._model.batch(_of_one(sample.signals), _of_one(sample.masks))
                predicted = self._model.predict_batch(batch)[0].numpy()
                if self.task.per_step:
                    predicted = predicted[self._steps(batch, sample, len(predicted))]
            except DataError as error:
                raise DataError(f"sample {sample.id!r}: {error}") from error
            if not np.isfinite(predicted).all():
                raise NeurozooError(
                    f"sample {sample.id!r}: the model's predictions are NaN or infinite; scale its values as those it "
                    "was trained on, or use other weights"
                )
            yield Prediction(sample.id, self.task.answer(predicted, self._decision), sample.split)

    def _steps(self, batch: Batch, sample: Sample, length: int) -> NDArray[np.bool_]:
        """Mark the answers ``[L]`` of valid steps: by default those of the first signal of that length."""
        if sample.steps is not None and len(sample.steps) == length:
            chosen: NDArray[np.bool_] = sample.steps.numpy()
            return chosen
        for name in self._model.module.problem.signals:
            signal = batch.signals[name]
            if signal.values.shape[1] == length:
                valid: NDArray[np.bool_] = signal.mask[0].cpu().numpy()
                return valid
        return np.ones(length, dtype=np.bool_)

    def samples(self, source: Path, split: str | None = None) -> Iterator[Sample]:
        """The samples of a store, an npz or a file of JSON lines.

        Args:
            source: A store's folder; or ``.npz`` with an array ``[N, L, *shape]`` a signal, and where there are any
                ``ids`` ``[N]`` and ``mask/NAME`` ``[N, L]``; or JSON lines, see :meth:`lines`.
            split: Of a store, the one to take; by default all.

        Raises:
            DataError: It is of none of these forms, or lacks a signal.
        """
        if split is not None and not os.path.isdir(source):
            raise DataError(f"{source} is no store and has no splits; leave out the split {split!r}")
        if os.path.isdir(source):
            return self._of_store(source, split)
        if source.suffix == ".npz":
            return self._of_arrays(source)
        return self._of_file(source)

    def lines(self, lines: Iterable[str], where: str) -> Iterator[Sample]:
        """The samples of JSON lines: ``{"id": ..., "signals": {NAME: [...]}, "masks": {NAME: [...]}}``.

        A signal is a list with an entry a position, each nested as its shape ``[L, *shape]`` says. ``features`` is
        read as ``signals``.

        Args:
            lines: One sample each; empty ones are skipped. An ``id`` is text or a number; without one, the line's
                number from 0 is its id.
            where: Their source, for errors.

        Raises:
            DataError: A line is not of that form; names it.
        """
        shapes = self._model.module.problem.signals
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{where}:{number}"
            try:
                sample = _sample(parse_json(line, place), place, number - 1, shapes)
            except DataError as error:
                raise DataError(
                    f'{error}; give {{"id": ..., "signals": {{NAME: [...]}}}}, an entry a position'
                ) from error
            for name, x in sample.signals.items():
                axes = ["L", *(map(str, shapes[name].shape) if name in shapes else ("D",))]
                if x.ndim != len(axes):
                    raise DataError(f"{place}: {name} has {x.ndim} axes; give [{', '.join(axes)}]")
            yield sample

    def _of_store(self, source: Path, split: str | None) -> Iterator[Sample]:
        view = view_of(self._model.recipe, Store(source), closed=self._model.source.closed)
        for name in view.description.splits if split is None else (split,):
            ids = view.split(name).ids
            for place, batch in enumerate(view.batches(name, 1)):
                signals = {key: signal.values[0] for key, signal in batch.signals.items()}
                masks = {key: signal.mask[0] for key, signal in batch.signals.items()}
                steps = None if batch.target_valid is None else batch.target_valid[0]
                yield Sample(ids[place], signals, masks, name, steps)

    def _of_arrays(self, source: Path) -> Iterator[Sample]:
        arrays = read_npz(source)
        ids = as_texts(arrays.pop(IDS), f"{source}: {IDS}") if IDS in arrays else None
        masks = {name.removeprefix(MASK): arrays.pop(name) for name in list(arrays) if name.startswith(MASK)}
        every = {**arrays, **{f"{MASK}{name}": mask for name, mask in masks.items()}}
        sizes = {name: len(x) if x.ndim else 0 for name, x in every.items()}
        sizes |= {} if ids is None else {IDS: len(ids)}
        shapes = self._model.module.problem.signals
        wrong = [
            f"{name} {x.dtype} {list(x.shape)}"
            for name, x in arrays.items()
            if x.dtype.kind not in "fiub" or x.ndim < 2 or (name in shapes and x.ndim != 2 + len(shapes[name].shape))
        ]
        if wrong or len(set(sizes.values())) != 1:
            found = ", ".join(wrong or (f"{name} {size}" for name, size in sizes.items())) or "nothing"
            forms = ", ".join(f"{name} [{', '.join(['N', 'L', *map(str, of.shape)])}]" for name, of in shapes.items())
            raise DataError(f"{source} holds {found}; give numbers {forms}, the same N for all")
        for name, x in masks.items():
            if x.ndim != 2:
                raise DataError(f"{source}: {MASK}{name} has the shape {list(x.shape)}; give 0 and 1 of [N, L]")
        for place in range(next(iter(sizes.values()))):
            yield Sample(
                str(place) if ids is None else ids[place],
                {name: _as_tensor(x[place], f"{source}: {name}, sample {place}") for name, x in arrays.items()},
                {name: _as_mask(x[place], f"{source}: {MASK}{name}, sample {place}") for name, x in masks.items()},
            )

    def _of_file(self, source: Path) -> Iterator[Sample]:
        try:
            # A pipe that the user names is waited for, such as that of `<(zcat samples.jsonl.gz)`.
            file = source.open("rb") if _is_pipe(source) else open_regular(source)
        except DataError as error:
            raise DataError(f"{error}: a store, .npz or JSON lines") from error
        with file:
            yield from self.lines(text_lines(file, str(source)), str(source))


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _of_one(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: x[None] for name, x in tensors.items()}


def _cells(answer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """An answer's columns, each with its name and its cell."""
    for name, value in answer.items():
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield name, ";".join(map(str, value)) if isinstance(value, list | tuple) else value


def _sample(given: Any, where: str, number: int, shapes: Mapping[str, SignalShape]) -> Sample:
    """Read the sample of a JSON line."""
    parts = [given.get("signals", given.get("features")), given.get("masks", {})] if isinstance(given, dict) else []
    if not parts or not all(isinstance(part, dict) for part in parts):
        raise DataError(f"{where}: not an object with signals by name")
    signals, masks = ({name: _array(x, f"{where}: {name}") for name, x in part.items()} for part in parts)
    for name, x in parts[0].items():
        if (name not in shapes or shapes[name].dtype != "bool") and _has_truth_values(x):
            raise DataError(f"{where}: {name} has true or false among its numbers")
    return Sample(
        as_text(given["id"], f"{where}: id") if "id" in given else str(number),
        {name: _as_tensor(x, f"{where}: {name}") for name, x in signals.items()},
        {name: _as_mask(x, f"{where}: the mask of {name}") for name, x in masks.items()},
    )


def _has_truth_values(x: Any) -> bool:
    return any(map(_has_truth_values, x)) if isinstance(x, list) else isinstance(x, bool)


def _array(values: Any, where: str) -> NDArray[Any]:
    try:
        array = np.array(values)
    except (ValueError, OverflowError):
        array = np.array(None)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} is not rows of numbers, all of the same length")
    return array


def _as_mask(array: NDArray[Any], where: str) -> Tensor:
    if array.dtype.kind not in "fiub" or not np.isin(array, (0, 1)).all():
        raise DataError(f"{where} has other values than 0 and 1; give 1 for each valid position")
    return torch.from_numpy(array.astype(bool))


def _as_tensor(array: NDArray[Any], where: str) -> Tensor:
    """Convert floats to float32, and whole numbers to int64."""
    kind = {"f": np.float32, "b": np.bool_}.get(array.dtype.kind, np.int64)
    if kind is np.int64 and array.dtype.kind == "u" and (array > np.iinfo(np.int64).max).any():
        raise DataError(
            f"{where} has whole numbers above {np.iinfo(np.int64).max}; give them as floats, or smaller ones"
        )
    # What is too large for float32 becomes infinite, and is refused with what is not finite.
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.ascontiguousarray(array, dtype=kind))
