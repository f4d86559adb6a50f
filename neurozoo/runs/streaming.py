"""A trained model that takes a signal as it comes, and answers at each step: state is carried from call to call."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neurozoo.core.engine import Dense
from neurozoo.core.layer import SpikingLayer
from neurozoo.core.layer_run import LayerRun, Numbers, Stepper
from neurozoo.core.neuron import State
from neurozoo.errors import DataError, NeurozooError
from neurozoo.models.chain import Stage, chain_of
from neurozoo.runs.loading import TrainedModel
from neurozoo.runs.stream_parts import Bins, Latency, Readout

__all__ = ["Snapshot", "Stream"]


@dataclass(frozen=True)
class Snapshot:
    """The whole state of a stream at a moment; opaque, for :meth:`Stream.restore`.

    Attributes:
        steps: Number of steps so far.
        states: Of each layer.
        readout: Of the readout.
        open: Counts of the step that is open, by address.
        counters: Counts of what was dropped.
    """

    steps: int
    states: tuple[State | None, ...]
    readout: Any
    open: NDArray[np.int64]
    counters: Mapping[str, int]


class Stream:
    """Runs a trained model step by step on one stream; several streams of a model share its weights.

    The answer after a step is that of the model for all steps so far, or for the last ones of a ``window``. Memory does
    not grow.

    **Steps** are pushed as they are, by :meth:`push`. **Events** with times, by :meth:`push_events`, are counted in
    steps as the representation ``bins`` counts them; a step is run when an event of a later one comes, or at
    :meth:`finish`. What order means:

    - within the open step, and between events of one call, none: events are sorted;
    - late events, of a step that has been run, are dropped and counted in :attr:`late`;
    - equal events are several events, as in a store; with ``values: bits`` a step has an address once;
    - in a gap, the steps without an event are run as silence; one of more than ``longest_gap`` steps is refused.

    Args:
        trained: A model whose positions are steps, loaded with an engine or without.
        window: Number of the last steps that answer; None for what the model does, all by default. Not of a model that
            answers by the last step alone.
        longest_gap: Steps.

    Attributes:
        steps: Number of steps so far.
        late: Number of late events, which were dropped.

    Raises:
        SpikingError: The model cannot run step by step; says what stands in the way.
        DataError: There is no such window.

    Example:
        >>> stream = Stream(neurozoo.load("qtdb", engine="events"))
        >>> probabilities = stream.push(steps)  # [L, 4] to [L, 6]
    """

    def __init__(self, trained: TrainedModel, *, window: int | None = None, longest_gap: int = 100_000) -> None:
        if window is not None and window < 1:
            raise DataError(f"a window of {window} steps answers nothing; give 1 or more")
        found = chain_of(trained.module)
        model = found.model
        self._trained, self._longest_gap = trained, longest_gap
        self._shape = model.problem.signals[model.name]
        self._size = math.prod(self._shape.shape)
        self._steppers = [_stepper(stage) for stage in found.stages]
        self._starts = [each.start if isinstance(each.module, SpikingLayer) else None for each in found.stages]
        how = "last" if model.problem.task.per_step else model.readout
        if window is not None and how == "last":
            raise DataError("the model answers by the last step alone, so that a window changes nothing; leave it out")
        self._readout = Readout(how, window or model.answering, len(trained.outputs))
        self._bins = Bins.of(trained, model.name)
        self._scale = None
        if model.name in model.standardise:
            norm = model.standardise[model.name]
            self._scale = tuple(each.float().numpy().reshape(-1) for each in (norm.mean, norm.std))  # type: ignore[operator]
        self._latency = Latency()
        self.reset()

    def reset(self) -> None:
        """Return to the state before the first step; what was measured stays."""
        for stepper, start in zip(self._steppers, self._starts, strict=True):
            stepper.state = start
        self._readout.reset()
        self.steps, self.late = 0, 0
        self._open: NDArray[np.int64] = np.zeros(self._size, np.int64)

    def push(self, steps: Tensor | NDArray[Any]) -> Tensor:
        """Run some steps.

        Args:
            steps: ``[L, *shape]`` in the data's units, as the model's representation gives them; L may be 0.

        Returns:
            The predictions after each step, ``[L, K]``.

        Raises:
            DataError: They have another shape, or are not finite; no step was run.
        """
        x = torch.as_tensor(steps)
        if tuple(x.shape[1:]) != self._shape.shape or not x.dim():
            raise DataError(
                f"steps are {list(x.shape)}; the model takes [L, {', '.join(map(str, self._shape.shape))}], L of them"
            )
        rows = np.ascontiguousarray(x.detach().float().cpu().numpy().reshape(len(x), self._size))
        if not np.isfinite(rows).all():
            raise DataError("steps have values that are NaN or infinite; fill them in, such as with 0")
        return self._run(rows, len(rows))

    def push_events(self, times: NDArray[Any], addresses: NDArray[Any]) -> Tensor:
        """Count events in steps, and run the steps that are complete.

        Args:
            times: ``[E]`` in seconds from the beginning of the stream, in any order.
            addresses: ``[E]``, whole numbers, places in the flattened shape of a step.

        Returns:
            The predictions after each step that was run, ``[n, K]``; n may be 0.

        Raises:
            DataError: The model's steps are no counts of events, or an event cannot be counted; nothing was changed.
        """
        number, place = self._bins.steps(times), self._places(addresses, len(times))
        order = np.argsort(number, kind="stable")
        number, place = number[order], place[order]
        fresh = int(np.searchsorted(number, self.steps))
        late, number, place = fresh, number[fresh:], place[fresh:]
        bounds = self._complete(number, place)
        self.late += late
        made = []
        for start, stop in bounds:
            step = int(number[start])
            made.append(self._until(step))
            self._open += np.bincount(place[start:stop], minlength=self._size)
        return torch.cat(made) if made else self._run((), 0)

    def finish(self) -> Tensor:
        """Run the open step; the next one is then open.

        Returns:
            The prediction after it, ``[1, K]``.
        """
        return self._until(self.steps + 1)

    def answer(self) -> dict[str, Any]:
        """Return the answer after the last step as a JSON object, as ``neurozoo predict`` writes it.

        Raises:
            DataError: There was no step yet.
        """
        if not self.steps:
            raise DataError("there was no step yet; push some first")
        return self.answers(self._predict(self._readout.value()[None]))[0]

    def answers(self, predictions: Tensor) -> list[dict[str, Any]]:
        """Return the answer of each step's predictions ``[n, K]`` likewise.

        Raises:
            NeurozooError: A prediction is not finite.
        """
        if not bool(predictions.isfinite().all()):
            raise NeurozooError(
                "the model's predictions are NaN or infinite; scale the values as those it was trained on, or reset"
            )
        task, decision = self._trained.task, self._trained.decision
        return [task.answer_of_one(each, decision) for each in predictions.numpy()]

    def snapshot(self) -> Snapshot:
        """Return a copy of the state, to go on from it later, in this stream or another one of the same model."""
        states = tuple(each.state for each in self._steppers)
        return Snapshot(self.steps, states, self._readout.copy(), self._open.copy(), {"late": self.late})

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a copy of a state."""
        for stepper, state in zip(self._steppers, snapshot.states, strict=True):
            stepper.state = state
        self._readout.restore(snapshot.readout)
        self.steps, self.late = snapshot.steps, snapshot.counters["late"]
        self._open = snapshot.open.copy()

    def latency(self, *shares: float) -> dict[float, float]:
        """Return percentiles of the time that a step took, in milliseconds, each to 3 %; by default 50, 95, 99, 100.

        Args:
            shares: Percentages between 0 and 100.
        """
        return {share: self._latency.percentile(share) for share in shares or (50.0, 95.0, 99.0, 100.0)}

    def _until(self, step: int) -> Tensor:
        """Run the open step and the silent ones after it, up to and without ``step``."""
        count = step - self.steps
        if not count:
            return self._run((), 0)
        first = self._bins.values(self._open)
        self._open[:] = 0
        return self._run(chain([first], repeat(np.zeros(self._size, np.float32), count - 1)), count)

    def _run(self, rows: Iterable[Numbers], count: int) -> Tensor:
        outputs = np.empty((count, len(self._trained.outputs)), np.float32)
        for number, row in enumerate(rows):
            began = time.perf_counter_ns()
            x = row if self._scale is None else (row - self._scale[0]) / self._scale[1]
            for stepper in self._steppers:
                x = stepper.step(x)
            outputs[number] = self._readout.add(x)
            self._latency.add(time.perf_counter_ns() - began)
            self.steps += 1
        return self._predict(outputs)

    def _predict(self, outputs: Numbers) -> Tensor:
        return self._trained.task.predict(torch.from_numpy(outputs))

    def _places(self, addresses: NDArray[Any], count: int) -> NDArray[np.int64]:
        found = np.asarray(addresses)
        if found.shape != (count,) or found.dtype.kind not in "iu":
            raise DataError(f"addresses are {found.dtype} {list(found.shape)}; give {count} whole numbers, one a time")
        if count and (int(found.min()) < 0 or int(found.max()) >= self._size):
            raise DataError(f"addresses are {found.min()} to {found.max()}; the model has 0 to {self._size - 1}")
        return found.astype(np.int64)

    def _complete(self, number: NDArray[np.int64], place: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return where the events of each step begin and end, after a check of gaps and counts."""
        if not len(number):
            return []
        starts = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
        bounds = list(zip(starts.tolist(), [*starts[1:].tolist(), len(number)], strict=True))
        gaps = np.diff(number[starts], prepend=self.steps)
        if int(gaps.max()) > self._longest_gap:
            raise DataError(
                f"there is a gap of {int(gaps.max()):,} steps before an event, and the longest is "
                f"{self._longest_gap:,}; reset the stream, or allow longer gaps"
            )
        most = self._bins.most
        for start, stop in bounds:
            counts = np.bincount(place[start:stop], minlength=self._size)
            if int(number[start]) == self.steps:
                counts = counts + self._open
            if int(counts.max()) > most:
                raise DataError(f"an address has {int(counts.max()):,} events in a step, and the model takes {most}")
        return bounds


class _Module(Stepper):
    """A module without state, such as a pool."""

    def __init__(self, module: nn.Module, given: tuple[int, ...]) -> None:
        self._module, self._form = module, given

    @property
    def state(self) -> State | None:
        return None

    @state.setter
    def state(self, state: State | None) -> None:
        pass

    @torch.no_grad()
    def step(self, x: Numbers) -> Numbers:
        made: Numbers = self._module(torch.from_numpy(x).view(1, *self._form)).reshape(-1).numpy()
        return made


def _stepper(stage: Stage) -> Stepper:
    if not isinstance(stage.module, SpikingLayer):
        return _Module(stage.module, stage.given)
    run: LayerRun = stage.module.runner or Dense().layer(stage.module)
    return run.stepper(stage.given, stage.threshold, stage.start)
