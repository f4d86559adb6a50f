"""Parts of a stream: stages between layers, the output so far, how events become steps, and how long steps took."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from neurozoo.core.layer_run import Numbers, Stepper
from neurozoo.core.neuron import State
from neurozoo.errors import DataError
from neurozoo.models.chain import Link
from neurozoo.runs.loading import TrainedModel

__all__ = ["Bins", "Latency", "LinkStepper", "ModuleStepper", "Readout"]

NANOSECONDS = 1_000_000_000
LATEST = 2**60 / NANOSECONDS
"""Largest time of an event, in seconds."""


class ModuleStepper(Stepper):
    """A module without state, such as a pool.

    Args:
        module: Takes rows.
        given: Shape of a row.
    """

    def __init__(self, module: nn.Module, given: tuple[int, ...]) -> None:
        self._module, self._form = module, given

    @property
    def state(self) -> State | None:
        """None."""
        return None

    @state.setter
    def state(self, state: State | None) -> None:
        pass

    @torch.no_grad()
    def step(self, x: Numbers) -> Numbers:
        """As of the base class."""
        made: Numbers = self._module(torch.from_numpy(x).view(1, *self._form)).reshape(-1).numpy()
        return made


class LinkStepper(Stepper):
    """What lies between two stages: outputs of some steps before, and neighbours that are merged to one.

    Args:
        link: How.
        size: Numbers that come in at a step.
    """

    def __init__(self, link: Link, size: int) -> None:
        self._link, self._size = link, size
        self.state = None

    @property
    def state(self) -> State | None:
        """What comes out later, ``[1, steps, size]``."""
        return (torch.from_numpy(np.concatenate((self._kept[self._now :], self._kept[: self._now])))[None],)

    @state.setter
    def state(self, state: State | None) -> None:
        self._now = 0
        empty = np.zeros((self._link.later, self._size), np.float32)
        self._kept = empty if state is None else state[0][0].clone().numpy()

    def step(self, x: Numbers) -> Numbers:
        """As of the base class."""
        if self._link.later:
            kept = self._kept[self._now].copy()
            self._kept[self._now] = x
            self._now = (self._now + 1) % self._link.later
            x = kept
        if self._link.of == 1:
            return x
        parts = x.reshape(-1, self._link.of)
        made: Numbers = parts.sum(1) if self._link.how == "sum" else parts.mean(1)
        return made


class Readout:
    """The output so far, see :func:`neurozoo.nn.steps.read_out`, in memory that does not grow."""

    def __init__(self, how: str, window: int | None, outputs: int, *, zero: bool = False) -> None:
        self._how, self._outputs, self._zero = how, outputs, zero
        self._last = np.empty((window or 0, outputs), np.float32)
        self.reset()

    def reset(self) -> None:
        self._count = 0
        lowest = 0.0 if self._zero or self._how != "max" else -np.inf
        self._total: NDArray[np.float64] = np.full(self._outputs, lowest)

    def add(self, outputs: Numbers) -> Numbers:
        """Take a step's outputs ``[K]``, and return the output after it."""
        if self._how == "softmax":
            outputs = np.exp(outputs - outputs.max())
            outputs = outputs / outputs.sum()
        if len(self._last) and self._how != "last":
            self._last[self._count % len(self._last)] = outputs
        elif self._how == "max":
            np.maximum(self._total, outputs, out=self._total)
        elif self._how == "last":
            self._total[:] = outputs
        else:
            self._total += outputs
        self._count += 1
        return self.value()

    def value(self) -> Numbers:
        """Return the output after the last step, ``[K]``; zeros before the first one."""
        if not self._count:
            return np.zeros(self._outputs, np.float32)
        if len(self._last) and self._how != "last":
            kept = self._last[: self._count]
            found = kept.max(0) if self._how == "max" else kept.sum(0) if self._how == "softmax" else kept.mean(0)
            if self._zero and self._count < len(self._last):
                found = np.maximum(found, 0)
        else:
            found = self._total / self._count if self._how == "mean" else self._total
        made: Numbers = found.astype(np.float32)
        return made

    def copy(self) -> tuple[int, NDArray[np.float64], Numbers]:
        return self._count, self._total.copy(), self._last.copy()

    def restore(self, kept: tuple[int, NDArray[np.float64], Numbers]) -> None:
        self._count, self._total, self._last = kept[0], kept[1].copy(), kept[2].copy()


class Bins:
    """How events become steps: the representation ``bins`` of a model's signal."""

    def __init__(self, ticks: Fraction | None, nearest: bool, bits: bool, most: int, why: str = "") -> None:
        self._ticks, self._nearest, self._bits, self.most, self._why = ticks, nearest, bits, most, why

    @staticmethod
    def of(trained: TrainedModel, name: str) -> Bins:
        chosen = trained.recipe.data.representations.get(name, ())
        last = chosen[-1] if chosen else None
        if last is None or last.name != "bins":
            how = "as they are stored" if last is None else f"by {last.name}"
            return Bins(None, False, False, 0, f"the model sees {name} {how}, and not as events in bins; push steps")
        params = dict(last.params)
        bits = params.get("values", "counts") == "bits"
        dtype = "bool" if bits else str(params.get("dtype", "float32"))
        most = {"uint8": 255, "int16": 2**15 - 1}.get(dtype, 2**24)
        ticks = Fraction(str(params["step"])) * NANOSECONDS
        return Bins(ticks, params.get("rounding", "floor") == "nearest", bits, most)

    def steps(self, times: NDArray[Any]) -> NDArray[np.int64]:
        """Return the step of each time, exact to a nanosecond."""
        if self._ticks is None:
            raise DataError(self._why)
        found = np.asarray(times, np.float64)
        if found.ndim != 1 or not ((found >= 0) & (found < LATEST)).all():
            raise DataError(
                f"times are {list(found.shape)}, and some may be negative, NaN or too late; give [E] seconds from the "
                "beginning of the stream"
            )
        up, down = self._ticks.numerator, self._ticks.denominator
        time = np.rint(found * NANOSECONDS).astype(np.int64)
        if down == 1:
            made: NDArray[np.int64] = (2 * time + up) // (2 * up) if self._nearest else time // up
            return made
        exact = [(2 * int(t) * down + up) // (2 * up) if self._nearest else int(t) * down // up for t in time]
        return np.array(exact, np.int64)

    def values(self, counts: NDArray[np.int64]) -> Numbers:
        """Return a step of these counts."""
        return (np.minimum(counts, 1) if self._bits else counts).astype(np.float32)


class Latency:
    """A histogram of times on a scale of 3 %, in constant memory."""

    FIRST, RATIO, BINS = 100.0, 1.03, 900  # nanoseconds; up to 100 ns * 1.03 ** 900, some hours

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(self.BINS, np.int64)

    def add(self, nanoseconds: int) -> None:
        place = int(math.log(max(nanoseconds / self.FIRST, 1.0)) / math.log(self.RATIO))
        self._counts[min(place, self.BINS - 1)] += 1

    def percentile(self, share: float) -> float:
        """Return the milliseconds below which a percentage of the steps lies; NaN without steps."""
        total = int(self._counts.sum())
        if not total:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self._counts), max(math.ceil(total * share / 100), 1)))
        return float(self.FIRST * self.RATIO ** (place + 1) / 1e6)
