"""Events as a voxel grid: each event shared between the two nearest points of time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.event_arrays import Seconds, Steps, places, require_events
from neurozoo.errors import DataError

__all__ = ["VoxelGrid"]


class VoxelGrid(Representation):
    """Events by bilinear weights in time, ``[L, *sensor]`` float32.

    ``x[k, a] = sum over i of [a_i = a] max(0, 1 - |u_i - k|)``, with ``u_i = t_i / step``; without a step the grid
    covers each sample from its first to its last event: ``u_i = (points - 1)(t_i - t_first) / (t_last - t_first)``
    (Zhu et al. 2019, equations 1 and 2).

    Args:
        points: Number of points of time L. What lies behind the last one is left out.
        step: Seconds from one point to the next; None for a grid of each sample's own duration.
        polarity: ``channels`` keeps both polarities of a camera apart; ``signed`` subtracts darker from brighter
            events, and frames have one channel.
    """

    def __init__(
        self, *, points: Steps, step: Seconds | None = None, polarity: Literal["channels", "signed"] = "channels"
    ) -> None:
        self._points, self._step, self._signed = points, step, polarity == "signed"

    @staticmethod
    def check_params(*, points: int, step: float | None, **_: object) -> Iterator[tuple[str, str]]:
        """Yield (parameter, problem) of parameters that do not go together."""
        if points < 2 and step is None:
            yield "points", "one point has no duration; give two or more, or a step"

    def shape(self, stored: SignalShape) -> SignalShape:
        sensor, _ = require_events(stored)
        if self._signed and (len(sensor) != 3 or sensor[0] != 2):
            raise DataError(f"signs are of a camera's polarities, and the sensor is {list(sensor)}; use channels")
        axes = (1, *sensor[1:]) if self._signed else sensor
        return SignalShape(axes, self._points, "float32", False, self._step)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        seen, valid = self.shape(stored), signal.mask
        time, address = signal.values.to(torch.int64).unbind(2)
        u, weight = self._position(time, valid, stored), valid.to(torch.float32)
        if self._signed:
            brighter, address = address.div(seen.dim, rounding_mode="floor"), address % seen.dim
            weight = weight * (2 * brighter - 1)
        low = u.floor()
        share = (u - low).to(torch.float32)
        step = low.to(torch.int64)
        size = len(time) * self._points * seen.dim
        x = torch.zeros(size + 1, device=time.device)
        for place, part in ((step, (1 - share) * weight), (step + 1, share * weight)):
            flat, _ = places(place, address, valid & (place < self._points), self._points, seen.dim)
            x.index_add_(0, flat.flatten(), part.flatten())
        return Signal(x[:-1].view(len(time), self._points, *seen.shape))

    def _position(self, time: Tensor, valid: Tensor, stored: SignalShape) -> Tensor:
        """Return where each event is on the grid, ``[B, E]`` float64 in points."""
        if self._step is not None:
            _, tick = require_events(stored)
            return (time.double() * (tick / self._step)).clamp(max=self._points)
        first = time.masked_fill(~valid, 2**31).amin(1, keepdim=True)
        last = time.masked_fill(~valid, -1).amax(1, keepdim=True)
        return (self._points - 1) * (time - first).clamp(min=0).double() / (last - first).clamp(min=1)
