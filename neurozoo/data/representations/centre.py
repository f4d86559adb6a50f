"""Dense values less a mean: what stays the same where a recording is louder, or a sensor has an offset."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.errors import DataError

__all__ = ["Centre"]


class Centre(Representation):
    """Each value less a mean of its own sample: ``x'[t, n] = x[t, n] - m``.

    Of ``channel``, m is the mean of x[t, n] over the valid t, one for each channel: a channel's offset is lost, as in
    cepstral mean normalisation of speech (Atal, Journal of the Acoustical Society of America 55, 1974). Of
    ``position`` it is the mean over n, one for each t: of log powers the loudness and its course are lost, and the
    shape of the spectrum stays. Of ``sample`` it is one number, the mean over both. Padding becomes 0.

    Of ``position`` it reads no other position; of the others a position's value depends on later ones.

    Args:
        over: What has a mean of its own: each ``channel``, each ``position``, or the whole ``sample``.
    """

    keeps_positions = True

    def __init__(self, *, over: Literal["channel", "position", "sample"]) -> None:
        self._over = over

    def shape(self, stored: SignalShape) -> SignalShape:
        if stored.sensor is not None:
            raise DataError("it needs dense values, and the signal is events; represent them by bins first")
        if not stored.shape and stored.tick is None:
            raise DataError(f"a mean of the {stored.dtype} numbers of tokens means nothing; leave it out")
        if not stored.shape and self._over == "position":
            raise DataError("a position is one number here, and would become 0; give over: channel")
        return replace(stored, dtype="float32")

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        values = signal.values.double()
        axes = {"channel": (1,), "position": (*range(2, values.dim()),), "sample": (*range(1, values.dim()),)}
        counted = signal.mask.reshape(*signal.mask.shape, *[1] * (values.dim() - 2)).expand_as(values)
        over = axes[self._over]
        total = values.where(counted, 0.0).sum(over, keepdim=True)
        centred = values - total / counted.sum(over, keepdim=True).clamp(min=1)
        return Signal(centred.where(counted, 0.0).to(torch.float32), signal.valid)
