"""Events as spike trains or frames: counts, or bits, of equal steps of time or of equal numbers of events."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.event_arrays import (
    CountDtype,
    Rounding,
    Seconds,
    Steps,
    StepsOfSample,
    Values,
    counted,
    grid,
    places,
    require_events,
    step_of,
    steps_of_samples,
    steps_of_store,
)

__all__ = ["Bins", "FramesByCount"]


class Bins(Representation):
    """Events by steps of equal duration: spike trains ``[L, N]`` of channels, frames ``[L, 2, H, W]`` of a camera.

    With the events ``(t_i, a_i)`` of a sample and ``k(t) = floor(t / step)``, or ``floor(t / step + 1/2)``:
    ``x[k, a] = sum over i of [k(t_i) = k and a_i = a]``, or 1 where that is not 0. Events at step ``steps`` and later
    are left out.

    Args:
        step: Duration of a step in seconds.
        steps: Number of steps; None for as many as the longest sample of the store needs.
        rounding: ``floor``: a step holds the events from its beginning on. ``nearest``: for times that lie on a grid
            of that step and were rounded, such as float16 seconds, which ``floor`` puts one step early.
        values: ``counts`` of events, or ``bits``: whether there is any.
        dtype: Of counts. One that cannot hold a count is an error, not a wrong count.
        valid: Which steps a sample has: ``all``, or those up to its last ``event``.
    """

    def __init__(
        self,
        *,
        step: Seconds,
        steps: Steps | None = None,
        rounding: Rounding = "floor",
        values: Values = "counts",
        dtype: CountDtype = "float32",
        valid: StepsOfSample = "all",
    ) -> None:
        self._step, self._steps, self._rounding = step, steps, rounding
        self._dtype, self._valid = "bool" if values == "bits" else dtype, valid

    def shape(self, stored: SignalShape) -> SignalShape:
        sensor, tick = require_events(stored)
        steps = steps_of_store(stored, grid(self._step, tick), self._rounding)
        return SignalShape(sensor, self._steps or steps, self._dtype, self._valid == "event", self._step)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        _, tick = require_events(stored)
        time = signal.values[..., 0]
        return _frames(step_of(time, grid(self._step, tick), self._rounding), signal, stored, self.shape(stored))


class FramesByCount(Representation):
    """Events by equal numbers of them: frame j of a sample's event i is ``floor(i / events)``.

    Or, if ``frames`` alone is given, each sample is cut into that many frames, and of its E events number i is in
    frame ``floor(i frames / E)``. Frames hold counts or bits as those of ``bins``.

    Args:
        events: Events of a frame; the last frame of a sample may have fewer.
        frames: Number of frames; with ``events``, the most that a sample has: later events are left out.
        values: ``counts`` of events, or ``bits``: whether there is any.
        dtype: Of counts. One that cannot hold a count is an error, not a wrong count.
        valid: Which frames a sample has: ``all``, or those up to its last ``event``.
    """

    def __init__(
        self,
        *,
        events: Steps | None = None,
        frames: Steps | None = None,
        values: Values = "counts",
        dtype: CountDtype = "float32",
        valid: StepsOfSample = "all",
    ) -> None:
        self._events, self._frames, self._valid = events, frames, valid
        self._dtype = "bool" if values == "bits" else dtype

    @staticmethod
    def check_params(*, events: int | None, frames: int | None, **_: object) -> Iterator[tuple[str, str]]:
        """Yield (parameter, problem) of parameters that do not go together."""
        if events is None and frames is None:
            yield "events", "nothing says where a frame ends; give events, frames or both"

    def shape(self, stored: SignalShape) -> SignalShape:
        sensor, _ = require_events(stored)
        length = self._frames or -(-stored.length // (self._events or 1))
        return SignalShape(sensor, length, self._dtype, self._valid == "event")

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        number = torch.arange(signal.values.shape[1], device=signal.values.device)
        if self._events is not None:
            frame = number.div(self._events, rounding_mode="floor").expand(signal.values.shape[:2])
        else:
            most = signal.mask.sum(1, keepdim=True).clamp(min=1)
            frame = (number * (self._frames or 1)).div(most, rounding_mode="floor")
        return _frames(frame, signal, stored, self.shape(stored))


def _frames(step: Tensor, signal: Signal, stored: SignalShape, seen: SignalShape) -> Signal:
    """Count events by their steps, ``[B, E]``, in the represented shape."""
    length, there, valid = seen.length, signal.mask, None
    if seen.ragged:
        lengths = steps_of_samples(step, there, length)
        length = max(int(lengths.max()) if len(lengths) else 0, 1)
        valid = torch.arange(length, device=step.device) < lengths[:, None]
    used = there & (step < length)
    place, size = places(step, signal.values[..., 1], used, length, stored.addresses)
    return Signal(counted(place, size, used, seen.dtype).view(len(step), length, *seen.shape), valid)
