"""Sound as the envelopes of a bank of resonators, as the cochlea divides it: causal, with the time of each band."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.event_arrays import Seconds
from neurozoo.data.representations.mel import Bands, Hertz, check_range, rate_of, sample_by_sample
from neurozoo.errors import DataError

__all__ = ["Resonators"]

_FLOOR = 1e-8


class Resonators(Representation):
    """The log power of a gammatone filter bank's envelopes: ``[frames, bands]`` float32, dimensionless.

    A waveform x, divided by its largest magnitude, drives in each band four equal resonators one after another, the
    first by z_0 = x:

        z_n[i] = a z_n[i-1] + (1 - |a|) z_(n-1)[i],   a = exp((-2 pi b + 2 pi j f) / rate),   n = 1..4
        L[t] = ln(|z_4[t hop]|^2 + 1e-8)

    Centre frequencies f, in Hz, are equally spaced on 21.4 log10(1 + 0.00437 f) from low to high; the bandwidths are
    b = 1.019 (24.7 + 0.108 f) Hz. A tone of height 1 at f has L = ln(1/4). A frame depends on what came before it
    alone. With ``send-on-delta`` of the step 1 and the start -6 it becomes events.
    Patterson, Nimmo-Smith, Holdsworth, Rice 1987; Glasberg and Moore, Hearing Research 47, 1990; Hohmann, Acustica 88,
    2002.

    Args:
        bands: Number of resonators.
        hop: Time from a frame to the next, in seconds.
        low: Lowest centre frequency, in Hz.
        high: Highest centre frequency, in Hz; None for 0.8 of half the rate.
        duration: Frames after so many seconds are cut; None for all.
    """

    def __init__(
        self,
        *,
        bands: Annotated[Bands, Field(ge=2)] = 40,
        hop: Seconds = 0.005,
        low: Hertz = 80.0,
        high: Hertz | None = None,
        duration: Seconds | None = 1.0,
    ) -> None:
        self.bands, self.hop, self.low, self.high, self.duration = bands, hop, low, high, duration

    def shape(self, stored: SignalShape) -> SignalShape:
        rate, step = self._grid(stored)
        return SignalShape((self.bands,), self._frames(stored.length, rate, step), "float32", True, step / rate)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        rate, step = self._grid(stored)
        levels, valid = sample_by_sample(signal, lambda waveform: self._levels(waveform, rate, step), self.bands)
        device = signal.values.device
        return Signal(levels.float().to(device), valid.to(device))

    def _grid(self, stored: SignalShape) -> tuple[float, int]:
        """Return the rate, and the samples of a hop."""
        rate = rate_of(stored)
        step = round(self.hop * rate)
        if step < 1:
            raise DataError(f"a hop of {self.hop:g} s has no sample at {rate:g} samples a second; give a longer one")
        check_range(self.low, self._top(rate), rate)
        return rate, step

    def _top(self, rate: float) -> float:
        return 0.8 * rate / 2 if self.high is None else self.high

    def _frames(self, samples: int, rate: float, step: int) -> int:
        count = max(1, -(-samples // step))
        return count if self.duration is None else min(count, max(1, round(self.duration * rate / step)))

    def _levels(self, waveform: NDArray[np.float64], rate: float, step: int) -> NDArray[np.float64]:
        """Return the levels of one waveform ``[samples]``, ``[frames, bands]``."""
        from scipy.signal import lfilter  # a second to import

        largest = np.abs(waveform).max(initial=0.0)
        count = self._frames(len(waveform), rate, step)
        # Later samples reach no frame that is kept.
        used = waveform[: (count - 1) * step + 1]
        driven = used / largest if largest else np.zeros(max(1, len(used)))
        ends = 21.4 * np.log10(1 + 0.00437 * np.array([self.low, self._top(rate)]))
        centres = (10 ** (np.linspace(ends[0], ends[1], self.bands) / 21.4) - 1) / 0.00437
        levels = np.empty((count, self.bands))
        for band, f in enumerate(centres.tolist()):
            pole = np.exp((-2 * np.pi * 1.019 * (24.7 + 0.108 * f) + 2j * np.pi * f) / rate)
            z = driven.astype(np.complex128)
            for _ in range(4):
                z = lfilter([1 - abs(pole)], [1, -pole], z)
            levels[:, band] = np.log(np.abs(z[::step]) ** 2 + _FLOOR)
        return levels
