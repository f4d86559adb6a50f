"""Means and deviations over time next to each channel's values: what a whole recording is like, at each position."""

from __future__ import annotations

from dataclasses import replace

import torch

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.errors import DataError

__all__ = ["Statistics"]


class Statistics(Representation):
    """Each channel's value, and its mean and deviation over the sample: ``x'[t] = (x[t, n], m[n], d[n])`` for each n.

        m[n] = mean of x[t, n],   d[n] = sqrt(mean of (x[t, n] - m[n])^2)

    over the valid t, the same at each position. Each number of a position is a channel, axes are taken flat. So a model
    that reads step by step has at its first step what a model on averages has, as the functionals of a recording that
    classify emotions in speech (Schuller, Steidl, Batliner, The Interspeech 2009 emotion challenge). Padding is 0.

    A position's value depends on later ones: it is nothing for answers while a recording runs.

    Args:
        keep_values: Whether the value stays before its mean and deviation, ``[L, 3 N]``: 3 x channel is the value, then
            the mean, then the deviation. Else ``[L, 2 N]``.
    """

    keeps_positions = True

    def __init__(self, *, keep_values: bool = True) -> None:
        self._keep = keep_values

    def shape(self, stored: SignalShape) -> SignalShape:
        if stored.sensor is not None:
            raise DataError("it needs dense values, and the signal is events; represent them by bins first")
        if not stored.shape and stored.tick is None:
            raise DataError(f"a mean of the {stored.dtype} numbers of tokens means nothing; leave it out")
        return replace(stored, shape=((3 if self._keep else 2) * stored.dim,), dtype="float32")

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        values = signal.values.reshape(*signal.values.shape[:2], stored.dim).double()
        counted = signal.mask[..., None]
        values = values.where(counted, 0.0)
        number = counted.sum(1, keepdim=True).clamp(min=1)
        mean = values.sum(1, keepdim=True) / number
        deviation = ((values - mean).where(counted, 0.0).square().sum(1, keepdim=True) / number).sqrt()
        parts = [mean.expand_as(values), deviation.expand_as(values)]
        parts = [values, *parts] if self._keep else parts
        found = torch.stack(parts, dim=-1).flatten(2).where(counted, 0.0)
        return Signal(found.to(torch.float32), signal.valid)
