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
from torch import Tensor

from neurozoo.core.engine import dense_stepper
from neurozoo.core.layer import SpikingLayer
from neurozoo.core.layer_run import Numbers, Stepper
from neurozoo.core.neuron import State
from neurozoo.errors import DataError, NeurozooError
from neurozoo.models.chain import Link, Stage, chain_of
from neurozoo.runs.loading import TrainedModel
from neurozoo.runs.stream_parts import Bins, Latency, LinkStepper, ModuleStepper, Readout

__all__ = ["Snapshot", "Stream"]


@dataclass(frozen=True)
class Snapshot:
    """The whole state of a stream at a moment; opaque, for :meth:`Stream.restore`.

    Attributes:
        steps: Number of steps so far.
        states: Of each stage.
        readout: Of the readout.
        open: Counts of the step that is open, by address.
        counters: Counts of what was dropped.
        reached: Whether a spike has reached the readout, where it waits for one.
    """

    steps: int
    states: tuple[State | None, ...]
    readout: Any
    open: NDArray[np.int64]
    counters: Mapping[str, int]
    reached: bool


class Stream:
    """Runs a trained model step by step on one stream; several streams of a model share its weights.

    The answer after a step is that of the model for all steps so far, or for the last ones of a ``window``. Memory does
    not grow. In a model with delays some inputs are still on their way then: :attr:`behind` is the number of steps that
    they need, and :meth:`whole` the answer for a signal that ends here.

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
        behind: Steps after the last one of a signal that the model runs for its answer; 0 for most.

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
        self._stages, self.behind = found.stages, found.late
        self._steppers = [_stepper(stage) for stage in found.stages]
        sizes = [self._size, *(math.prod(each.made) for each in found.stages)]
        links = [*(each.link for each in found.stages), found.link]
        self._links = [
            None if link == Link() else LinkStepper(link, size) for link, size in zip(links, sizes, strict=True)
        ]
        self._reading = reading = model.reading
        if window is not None and reading.how == "last":
            raise DataError("the model answers by the last step alone, so that a window changes nothing; leave it out")
        self._readout = Readout(reading.how, window or reading.last, len(trained.outputs), zero=reading.zero)
        self._gate = next((n for n, each in enumerate(found.stages) if each.name == reading.reached), None)
        self._bins = Bins.of(trained, model.name)
        self._scale = None
        if model.name in model.standardise:
            norm = model.standardise[model.name]
            self._scale = tuple(each.float().numpy().reshape(-1) for each in (norm.mean, norm.std))  # type: ignore[operator]
        self._latency = Latency()
        self.reset()

    def reset(self) -> None:
        """Return to the state before the first step; what was measured stays."""
        for stepper, stage in zip(self._steppers, self._stages, strict=True):
            stepper.state = stage.start
        for link in self._linking():
            link.state = None
        self._readout.reset()
        self._reached = self._gate is None
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
        """Return the answer for a signal that ends here as a JSON object, as ``neurozoo predict`` writes it.

        Raises:
            DataError: There was no step yet.
        """
        if not self.steps:
            raise DataError("there was no step yet; push some first")
        return self.answers(self.whole()[None])[0]

    def whole(self) -> Tensor:
        """Return the prediction ``[K]`` for a signal that ends here; the stream does not change.

        It is that after the last step, unless the model is :attr:`behind`: the late steps are then run on a copy of the
        state.
        """
        kept = self.snapshot() if self.behind else None
        for number in range(self.behind):
            self._late_step(number)
        made = self._predict(self._readout.value()[None])[0]
        if kept is not None:
            self.restore(kept)
        return made

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
        states = tuple(each.state for each in (*self._steppers, *self._linking()))
        counters = {"late": self.late}
        return Snapshot(self.steps, states, self._readout.copy(), self._open.copy(), counters, self._reached)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a copy of a state."""
        for stepper, state in zip((*self._steppers, *self._linking()), snapshot.states, strict=True):
            stepper.state = state
        self._reached = snapshot.reached
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
            reached = self._reached
            for n, stepper in enumerate(self._steppers):
                link = self._links[n]
                x = stepper.step(x if link is None else link.step(x))
                if n == self._gate and not self._reached:
                    self._reached = bool((x > 0).any())
            outputs[number] = self._read(x, self.steps, reached)
            self._latency.add(time.perf_counter_ns() - began)
            self.steps += 1
        return self._predict(outputs)

    def _read(self, x: Numbers, step: int, reached: bool) -> Numbers:
        """Take the outputs of the last stage, and return the output after the step."""
        link = self._links[-1]
        x = x if link is None else link.step(x)
        if step < self._reading.first or not reached:
            return self._readout.value()
        return self._readout.add(x)

    def _late_step(self, number: int) -> None:
        """Run a step after the last one of a signal: of each stage that has one, on silence where it gets no more."""
        x, reached, before = np.zeros(self._size, np.float32), self._reached, 0
        for n, (stage, stepper) in enumerate(zip(self._stages, self._steppers, strict=True)):
            if number < stage.late:
                if number >= before:
                    x = np.zeros(math.prod(stage.given), np.float32)
                elif (link := self._links[n]) is not None:
                    x = link.step(x)
                x = stepper.step(x)
                if n == self._gate and not self._reached:
                    self._reached = bool((x > 0).any())
            before = stage.late
        self._read(x, self.steps + number, reached)

    def _linking(self) -> list[LinkStepper]:
        return [each for each in self._links if each is not None]

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


def _stepper(stage: Stage) -> Stepper:
    if not isinstance(stage.module, SpikingLayer):
        return ModuleStepper(stage.module, stage.given)
    if stage.module.runner is None:
        return dense_stepper(stage.module, stage.given, stage.threshold, stage.start)
    return stage.module.runner.stepper(stage.given, stage.threshold, stage.start)
