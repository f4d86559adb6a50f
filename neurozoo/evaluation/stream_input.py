"""What a stream reads: lines of steps or events, an npz of either, or a recording that becomes steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.representation import Chain
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.importers.sound_files import ENDINGS, Recording, open_recording, read_samples, resampled
from neurozoo.data.untrusted.npz import read_npz
from neurozoo.errors import DataError
from neurozoo.files.json_text import parse_json
from neurozoo.registry.registry import default_registry
from neurozoo.runs.loading import TrainedModel
from neurozoo.runs.streaming import Stream

__all__ = ["of_file", "of_lines"]

SOUND = SignalShape((), 2**20, "int16", tick=1 / 48_000)
"""A recording so long and at such a rate that only a representation of something else than sound refuses it."""


def of_lines(stream: Stream, lines: Iterable[str], where: str) -> Iterator[Tensor]:
    """Push lines of JSON as they come: ``{"steps": [[...], ...]}``, or ``{"events": [[SECONDS, ADDRESS], ...]}``.

    Events' last step is run at the end of the lines.

    Yields:
        The predictions after the steps that a line completes, ``[n, K]``.

    Raises:
        DataError: A line is neither; names it.
    """
    counted = False
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{where}:{number}"
        content = parse_json(line, place)
        given = content if isinstance(content, dict) else {}
        if given.keys() not in ({"steps"}, {"events"}):
            raise DataError(f'{place}: give {{"steps": [[...], ...]}}, or {{"events": [[SECONDS, ADDRESS], ...]}}')
        try:
            if "steps" in given:
                yield stream.push(_numbers(given["steps"]))
            else:
                counted = True
                yield stream.push_events(*_events(given["events"]))
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
    if counted:
        yield stream.finish()


def of_file(stream: Stream, trained: TrainedModel, path: Path, rate: int | None = None) -> Iterator[Tensor]:
    """Push a file: a recording, or an npz of ``times`` and ``addresses`` ``[E]`` or of the signal ``[L, *shape]``.

    A recording, WAV or FLAC, is represented whole, as the model was trained on, and then pushed step by step.

    Args:
        stream: Of the model.
        trained: The model.
        path: The file.
        rate: Samples a second to which a recording is resampled; by default its own. Either has to be that of the
            recordings that the model was trained on, and has to be given if the model does not know it.

    Yields:
        The predictions after each step, ``[n, K]``.

    Raises:
        DataError: The file is of another form, or does not fit the model.
    """
    if path.suffix in ENDINGS:
        for step in _of_recording(trained, path, rate).split(1):  # type: ignore[no-untyped-call]
            yield stream.push(step)
        return
    if path.suffix != ".npz":
        raise DataError(f"{path} is none of {', '.join(ENDINGS[::2])} and .npz; give one, or - for lines of JSON")
    arrays = read_npz(path)
    (name,) = trained.module.problem.signals
    if arrays.keys() == {"times", "addresses"}:
        yield stream.push_events(arrays["times"], arrays["addresses"])
        yield stream.finish()
    elif arrays.keys() == {name} and arrays[name].dtype.kind in "fiub":
        yield stream.push(arrays[name])
    else:
        found = ", ".join(f"{key} {each.dtype} {list(each.shape)}" for key, each in arrays.items())
        raise DataError(f"{path} has {found or 'nothing'}; give times and addresses, or {name} [L, ...] of numbers")


def _numbers(given: Any) -> NDArray[Any]:
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("the steps are no rows of numbers of one length") from error
    return found


def _events(given: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    pairs: list[Any] = given if isinstance(given, list) else [None]
    whole = all(
        isinstance(each, list)
        and len(each) == 2
        and isinstance(each[0], int | float)
        and isinstance(each[1], int)
        and not any(isinstance(number, bool) for number in each)
        and max(abs(each[0]), abs(each[1])) < 2**62
        for each in pairs
    )
    if not whole:
        raise DataError("an event is no pair [SECONDS, ADDRESS]")
    return np.array([each[0] for each in pairs], np.float64), np.array([each[1] for each in pairs], np.int64)


def _of_recording(trained: TrainedModel, path: Path, rate: int | None) -> Tensor:
    """Return a recording as the model sees it, ``[L, *shape]``."""
    ((name, seen),) = trained.module.problem.signals.items()
    refs = trained.recipe.data.representations.get(name, ())
    if not refs:
        raise DataError(f"the model reads {name} as it is stored, and not recordings of sound; give an npz of it")
    registry = default_registry()
    steps = [(ref.name, registry.resolve("representation", ref.name)(**ref.params)) for ref in refs]
    try:
        Chain(name, steps[:1], SOUND)
    except DataError as error:
        raise DataError(
            f"{path} is sound, and the model was not trained on sound: {refs[0].name}, which represents its {name}, "
            "does not take a waveform; give an npz of times and addresses, or of steps"
        ) from error
    recording, known = open_recording(path), trained.source.data.get("stored", {}).get(name, {})
    wanted = _rate(recording, known.get("tick"), rate)
    x = _waveform(recording, wanted, known.get("dtype", recording.dtype))
    chain = Chain(name, steps, SignalShape((), len(x), str(x.dtype), tick=1 / wanted))
    if chain.shape.shape != seen.shape:
        raise DataError(
            f"{path} becomes steps of {list(chain.shape.shape)}, and the model takes {list(seen.shape)}; give a "
            "recording of the kind that it was trained on"
        )
    signal = chain(Signal(torch.from_numpy(x.copy())[None]))
    return signal.values[0] if signal.valid is None else signal.values[0][signal.valid[0]]


def _rate(recording: Recording, tick: float | None, wanted: int | None) -> int:
    """Return the samples a second that the model takes: those of the recordings that it was trained on.

    Args:
        recording: Of any rate.
        tick: Seconds between samples of the recordings that the model was trained on; None if they are not known.
        wanted: Samples a second to resample to; None to leave the recording as it is.

    Raises:
        DataError: The recording would have another rate than these, or they are not known.
    """
    if tick is None:
        if wanted is None:
            raise DataError(
                f"the model did not record the rate of its recordings; give the one that they had by --rate; "
                f"{recording.path} has {recording.rate:,} samples a second"
            )
        return wanted
    known = round(1 / tick)
    if (wanted or recording.rate) != known:
        has = f"would be resampled to {wanted:,}" if wanted else f"has {recording.rate:,}"
        raise DataError(
            f"{recording.path} {has} samples a second, and the model was trained on {known:,}; give --rate {known} to "
            "resample it"
        )
    return known


def _waveform(recording: Recording, rate: int, dtype: str) -> NDArray[Any]:
    """Return one channel ``[samples]`` at a rate; int16, or float32 in -1..1, as the model's recordings were stored."""
    samples = read_samples(recording)
    if samples.dtype == np.int16 and dtype == "int16" and recording.channels == 1 and recording.rate == rate:
        return samples[:, 0]
    scaled = samples.astype(np.float64) / (2**15 if samples.dtype == np.int16 else 1)
    mixed = scaled.mean(axis=1)
    whole = mixed if recording.rate == rate else resampled(mixed, recording.rate, rate)
    if dtype != "int16":
        return whole.astype(np.float32)
    return np.rint(whole * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
