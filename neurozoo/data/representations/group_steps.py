"""Several positions as one: coarser steps of a signal that is stored step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.errors import DataError

__all__ = ["GroupSteps"]


class GroupSteps(Representation):
    """Groups of ``count`` neighbouring positions: ``x'[k] = sum of x[k count], ..., x[(k + 1) count - 1]``.

    Or their mean, or whether any is not 0. A group is valid if its last position is; what is not valid in it counts as
    0. Positions behind the last whole group are left out. The target of a group is that of its ``last`` position, which
    a model that reads the past alone has seen.

    Args:
        count: Positions of a group.
        values: ``sum`` and ``mean`` are float32, ``any`` is bool.
        targets: Which target of each position becomes that of the group.
    """

    def __init__(
        self,
        *,
        count: Annotated[int, Field(ge=2, le=65_536)],
        values: Literal["sum", "mean", "any"] = "sum",
        targets: Literal["last"] = "last",
    ) -> None:
        self._count, self._values, self._targets = count, values, targets

    def shape(self, stored: SignalShape) -> SignalShape:
        if stored.sensor is not None:
            raise DataError("it groups positions, and events have none yet; represent them by bins first")
        if not stored.shape and stored.tick is None:
            raise DataError(f"sums of the {stored.dtype} numbers of tokens mean nothing; leave it out")
        length, tick = max(stored.length // self._count, 1), stored.tick
        dtype = "bool" if self._values == "any" else "float32"
        return replace(stored, length=length, dtype=dtype, tick=None if tick is None else tick * self._count)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        x, valid = self._grouped(signal.values), signal.valid
        if valid is not None:
            grouped = self._grouped(valid)
            x = x.masked_fill(~grouped.reshape(*grouped.shape, *[1] * (x.dim() - 3)), 0)
            valid = grouped[:, :, -1]
        if self._values == "any":
            return Signal((x != 0).any(2), valid)
        x = x.to(torch.float32)
        return Signal(x.sum(2) if self._values == "sum" else x.mean(2), valid)

    def steps(self, target: Signal, stored: SignalShape) -> Signal:
        valid = None if target.valid is None else self._grouped(target.valid)[:, :, -1]
        return Signal(self._grouped(target.values)[:, :, -1], valid)

    def _grouped(self, x: Tensor) -> Tensor:
        """Return ``[B, L, ...]`` as ``[B, groups, count, ...]``; fewer positions than one group are filled with 0."""
        groups = max(x.shape[1] // self._count, 1)
        x = x[:, : groups * self._count]
        if x.shape[1] < self._count:
            x = torch.cat([x, x.new_zeros((len(x), self._count - x.shape[1], *x.shape[2:]))], 1)
        return x.reshape(len(x), groups, self._count, *x.shape[2:])
