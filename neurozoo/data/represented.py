"""Represented samples that are kept in memory, so that each is computed once and not in every epoch.

A batch has the same bits whether its samples were kept or not: values of padding are 0, and a batch is as long as the
last valid position of its samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.errors import UserError

__all__ = ["CACHE", "Budget", "RepresentedCache", "trimmed"]

CACHE = "NEUROZOO_CACHE_MIB"
"""Variable of the environment: the most that the represented samples of one view may take, in MiB."""
_DEFAULT_MIB = 1024


class Budget:
    """Bytes that the caches of a view may still take, all together.

    Args:
        most: At the beginning; None for those of :data:`CACHE`.

    Raises:
        UserError: The variable is no number.
    """

    def __init__(self, most: int | None = None) -> None:
        if most is None:
            given = os.environ.get(CACHE) or str(_DEFAULT_MIB)
            if not given.isdecimal():
                raise UserError(f"{CACHE} is {given!r}; give a number of MiB, 0 to keep nothing")
            most = int(given) * 2**20
        self.left = most


class RepresentedCache:
    """The represented signal of a split's samples, as many as the budget allows, in the order in which they come.

    Whole numbers up to 255 are kept as bytes, whatever their dtype.

    Args:
        samples: Number of the split's samples.
        shape: Of the represented signal.
        budget: Is charged when the first samples come.
    """

    def __init__(self, samples: int, shape: SignalShape, budget: Budget) -> None:
        self._shape, self._budget = shape, budget
        self._slots = torch.full((samples,), -1, dtype=torch.int64)
        self._used = 0
        self._values: Tensor | None = None
        self._valid: Tensor | None = None

    def get(self, places: Tensor, make: Callable[[Tensor], Signal]) -> Signal:
        """Return the samples at these places, ``[B]``; ``make`` represents those that are not kept."""
        missing = self._slots[places] < 0
        if not bool(missing.any()) and len(places):
            return self._kept(places)
        fresh = make(places[missing])
        if len(fresh) and (fresh.valid is not None or not self._shape.ragged):
            self._keep(places[missing], fresh)
        if bool(missing.all()):
            return fresh
        kept = self._kept(places[~missing])
        length = max(kept.values.shape[1], fresh.values.shape[1])
        values = fresh.values.new_zeros((len(places), length, *fresh.values.shape[2:]))
        valid = torch.zeros(len(places), length, dtype=torch.bool)
        for where, each in ((missing, fresh), (~missing, kept)):
            values[where, : each.values.shape[1]] = each.values
            valid[where, : each.values.shape[1]] = each.mask
        return Signal(values, valid if fresh.valid is not None else None)

    def _kept(self, places: Tensor) -> Signal:
        assert self._values is not None
        slots, length, valid = self._slots[places], self._values.shape[1], None
        if self._valid is not None:
            valid = self._valid.index_select(0, slots)
            length = extent(valid)
            valid = valid[:, :length].contiguous()
        values = self._values[:, :length].index_select(0, slots)
        return Signal(values.to(getattr(torch, self._shape.dtype)), valid)

    def _keep(self, places: Tensor, fresh: Signal) -> None:
        if self._values is None:
            self._open(fresh.values)
        assert self._values is not None
        room = len(self._values) - self._used
        compact = fresh.values[:room].to(self._values.dtype)
        same = compact if compact.dtype == fresh.values.dtype else compact.to(fresh.values.dtype)
        if not room or not torch.equal(same, fresh.values[:room]):
            return
        rows = slice(self._used, self._used + len(compact))
        self._values[rows, : compact.shape[1]] = compact
        if self._valid is not None:
            self._valid[rows, : compact.shape[1]] = fresh.mask[:room]
        self._slots[places[:room]] = torch.arange(rows.start, rows.stop)
        self._used = rows.stop

    def _open(self, first: Tensor) -> None:
        """Reserve memory; the system commits its pages when they are written."""
        small = first.dtype != torch.bool and torch.equal(first.to(torch.uint8).to(first.dtype), first)
        dtype = torch.uint8 if small else first.dtype
        length = max(self._shape.length, first.shape[1])
        sample = length * (self._shape.dim * dtype.itemsize + self._shape.ragged)
        capacity = min(len(self._slots), self._budget.left // max(sample, 1))
        self._budget.left -= capacity * sample
        self._values = torch.zeros((capacity, length, *first.shape[2:]), dtype=dtype)
        if self._shape.ragged:
            self._valid = torch.zeros(capacity, length, dtype=torch.bool)


def extent(valid: Tensor) -> int:
    """Return the number of positions up to the last one that is valid in any sample; at least 1."""
    used = valid.any(0).nonzero()
    return int(used[-1]) + 1 if len(used) else 1


def trimmed(signal: Signal) -> Signal:
    """Return a signal that ends with the last valid position of its batch, and is 0 where nothing is valid."""
    if signal.valid is None:
        return signal
    length = extent(signal.valid)
    values, valid = signal.values[:, :length], signal.valid[:, :length]
    return Signal(values.masked_fill(~valid.reshape(*valid.shape, *[1] * (values.dim() - 2)), 0), valid)
