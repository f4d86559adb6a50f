"""Events as time surfaces: how long ago each address had its last event."""

from __future__ import annotations

import torch

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.event_arrays import (
    Seconds,
    Steps,
    grid,
    places,
    require_events,
    step_of,
    steps_of_store,
)

__all__ = ["TimeSurface"]


class TimeSurface(Representation):
    """Exponential surfaces at the ends of equal steps, ``[L, *sensor]`` float32, from 0 (never, long ago) to 1.

    ``x[k, a] = exp(-((k + 1) step - T_k(a)) / decay)``, with ``T_k(a)`` the time of the last event of address a before
    ``(k + 1) step``; 0 if there is none (Lagorce et al. 2017, equations 2 and 3).

    Args:
        step: Seconds from one surface to the next.
        decay: Time constant in seconds.
        steps: Number of surfaces; None for as many as the longest sample of the store needs.
    """

    def __init__(self, *, step: Seconds, decay: Seconds, steps: Steps | None = None) -> None:
        self._step, self._decay, self._steps = step, decay, steps

    def shape(self, stored: SignalShape) -> SignalShape:
        sensor, tick = require_events(stored)
        steps = steps_of_store(stored, grid(self._step, tick))
        return SignalShape(sensor, self._steps or steps, "float32", False, self._step)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        (_, tick), length = require_events(stored), self.shape(stored).length
        time, address = signal.values.unbind(2)
        step = step_of(time, grid(self._step, tick))
        place, size = places(step, address, signal.mask & (step < length), length, stored.addresses)
        last = torch.full((size + 1,), -1, dtype=torch.int64, device=time.device)
        last.scatter_reduce_(0, place.flatten().long(), time.flatten().long(), "amax")
        last = last[:-1].view(len(time), length, stored.addresses).cummax(1).values
        end = self._step * torch.arange(1, length + 1, dtype=torch.float64, device=time.device)
        age = end[:, None] - last.double() * tick
        x = torch.exp(-age / self._decay).masked_fill_(last < 0, 0.0).to(torch.float32)
        return Signal(x.view(len(time), length, *(stored.sensor or ())))
