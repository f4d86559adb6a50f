"""Sound as the power of mel bands over time: dense, or as the events of their level crossings.

Each sample is computed separately, in float64, by sums in a fixed order: its values depend neither on the batch nor on
the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.delta import crossings, events_of_counts
from neurozoo.data.representations.event_arrays import Seconds
from neurozoo.errors import DataError

__all__ = [
    "FIRST_LEVEL",
    "LogMel",
    "MelBands",
    "MelLevelCrossing",
    "check_range",
    "mel_events",
    "mel_levels",
    "rate_of",
    "sample_by_sample",
]

Bands = Annotated[int, Field(ge=1, le=1000)]
Hertz = Annotated[float, Field(ge=0, le=1e7)]

FIRST_LEVEL = -6.0
"""Each band's reference before the first frame."""
_FLOOR = 1e-8
_FRAMES = 1024
"""Frames transformed at once, so that a long recording needs no more memory than a short one."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class MelBands:
    """The frames and bands that a waveform is divided into.

    Attributes:
        rate: Samples a second.
        bands: Number of bands.
        window: Length of a frame, in seconds.
        hop: Time from a frame to the next, in seconds.
        low: Lowest corner of the first triangle, in Hz.
        high: Highest corner of the last triangle, in Hz; None for 0.95 of half the rate.
        duration: Frames after so many seconds are cut; None for all.
    """

    rate: float
    bands: int = 40
    window: float = 0.025
    hop: float = 0.01
    low: float = 80.0
    high: float | None = None
    duration: float | None = 1.0

    def __post_init__(self) -> None:
        """Raise a :class:`DataError` if the rate cannot carry these frames and bands."""
        if self.samples < 2 or self.step < 1:
            raise DataError(
                f"windows of {self.window:g} s every {self.hop:g} s at {self.rate:g} samples a second are "
                f"{self.samples} samples every {self.step}; give longer ones"
            )
        check_range(self.low, self.top, self.rate)

    @property
    def samples(self) -> int:
        """Samples of a window."""
        return round(self.window * self.rate)

    @property
    def step(self) -> int:
        """Samples from a frame to the next."""
        return round(self.hop * self.rate)

    @property
    def tick(self) -> float:
        """Seconds from a frame to the next: a whole number of samples."""
        return self.step / self.rate

    @property
    def top(self) -> float:
        """Highest corner, in Hz."""
        return 0.95 * self.rate / 2 if self.high is None else self.high

    def frames(self, samples: int) -> int:
        """Return the number of frames of a waveform."""
        half = self.samples // 2
        count = 1 + max(0, samples + 2 * half - self.samples) // self.step
        return count if self.duration is None else min(count, max(1, round(self.duration / self.hop)))

    def levels(self, waveform: Array) -> Array:
        """Return the levels L of one waveform ``[samples]``, ``[frames, bands]`` float64."""
        largest = np.abs(waveform).max(initial=0.0)
        scaled = waveform / largest if largest else waveform
        half, count = self.samples // 2, self.frames(len(waveform))
        padded = np.pad(scaled, (half, half + self.samples))
        first = np.arange(count)[:, None] * self.step
        hann, inside = np.hanning(self.samples), np.arange(self.samples)
        power = [self._power(padded[first[i : i + _FRAMES] + inside] * hann) for i in range(0, count, _FRAMES)]
        return np.log(np.concatenate(power) + _FLOOR)

    def _power(self, frames: Array) -> Array:
        """Return the power through each triangle, ``[frames, bands]``."""
        n = 1 << (self.samples - 1).bit_length()
        spectrum = np.fft.rfft(frames, n)
        power = np.abs(spectrum) ** 2
        first, weights = _triangles(self.rate, n, self.bands, self.low, self.top)
        total = np.zeros((len(frames), self.bands))
        # Term by term: a matrix product adds in an order that depends on its size and on the threads.
        for k, weight in enumerate(weights):
            total += weight * power[:, np.minimum(first + k, n // 2)]
        return total


@cache
def _triangles(rate: float, n: int, bands: int, low: float, high: float) -> tuple[NDArray[np.intp], Array]:
    """Return each triangle's first bin ``[bands]`` and its heights from there on, ``[bins, bands]``."""
    first_mel, last_mel = 2595 * np.log10(1 + np.array([low, high]) / 700)
    corners = 700 * (10 ** (np.linspace(first_mel, last_mel, bands + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(n, 1 / rate)
    left, middle, right = (corners[i : i + bands, None] for i in range(3))
    heights = np.minimum((frequencies - left) / (middle - left), (right - frequencies) / (right - middle)).clip(0)
    first = (heights > 0).argmax(1)
    widest = max(1, int((heights > 0).sum(1).max()))
    padded = np.pad(heights, ((0, 0), (0, widest)))
    return first, np.stack([padded[np.arange(bands), first + k] for k in range(widest)])


def sample_by_sample(waveforms: Signal, levels: Callable[[Array], Array], bands: int) -> tuple[Tensor, Tensor]:
    """Return the levels of each waveform of ``[B, samples]``, computed separately, and which frames are real.

    So the values of a sample depend on nothing else in the batch.

    Args:
        waveforms: The batch.
        levels: Returns ``[frames, bands]`` of one waveform ``[samples]``, both float64.
        bands: Number of bands.

    Returns:
        ``[B, frames, bands]`` float64 and ``[B, frames]`` bool, on the CPU.
    """
    lengths = waveforms.mask.sum(1).tolist()
    rows = [
        levels(values[:length].astype(np.float64))
        for values, length in zip(waveforms.values.cpu().numpy(), lengths, strict=True)
    ]
    longest = max((len(row) for row in rows), default=1)
    padded, valid = np.zeros((len(rows), longest, bands)), np.zeros((len(rows), longest), bool)
    for place, row in enumerate(rows):
        padded[place, : len(row)], valid[place, : len(row)] = row, True
    return torch.from_numpy(padded), torch.from_numpy(valid)


def check_range(low: float, high: float, rate: float) -> None:
    """Refuse frequencies, in Hz, that a rate in samples a second cannot carry.

    Raises:
        DataError: Not ``0 <= low < high <= rate / 2``.
    """
    if not 0 <= low < high <= rate / 2:
        raise DataError(
            f"bands from {low:g} to {high:g} Hz at {rate:g} samples a second; give low below high, and high at most "
            f"{rate / 2:g} Hz, half the rate"
        )


def mel_levels(waveforms: Signal, bands: MelBands) -> tuple[Tensor, Tensor]:
    """Return the levels of waveforms ``[B, samples]``: ``[B, frames, bands]`` float64, and which frames are real."""
    return sample_by_sample(waveforms, bands.levels, bands.bands)


def mel_events(waveforms: Signal, bands: MelBands, step: float = 1.0, start: float = FIRST_LEVEL) -> Signal:
    """Return the level crossings of the bands of waveforms ``[B, samples]``; times count hops.

    Events ``[B, E, 2]``: rows (frame, 2 x band + (0 rising, 1 falling)).
    """
    levels, valid = mel_levels(waveforms, bands)
    return events_of_counts(crossings(levels, valid, step, start))


def rate_of(stored: SignalShape) -> float:
    """Return the samples a second of a waveform.

    Raises:
        DataError: The signal is none, or of an unknown rate.
    """
    if stored.sensor is not None or stored.shape or stored.tick is None:
        raise DataError(
            f"it needs waveforms, one number a position at a known rate, and the signal is {stored.dtype} {stored}"
        )
    # 1 / (1 / rate) is not always the whole number that it was.
    rate = 1 / stored.tick
    return round(rate) if abs(rate - round(rate)) < 1e-6 * rate else rate


class _Mel(Representation):
    """What both forms share: parameters, and what they need of a signal."""

    def __init__(
        self,
        bands: int,
        window: float,
        hop: float,
        low: float,
        high: float | None,
        duration: float | None,
    ) -> None:
        self.bands, self.window, self.hop = bands, window, hop
        self.low, self.high, self.duration = low, high, duration

    def of(self, stored: SignalShape) -> MelBands:
        """Return frames and bands of a signal of this shape."""
        rate = rate_of(stored)
        return MelBands(rate, self.bands, self.window, self.hop, self.low, self.high, self.duration)


class LogMel(_Mel):
    """The logarithm of the power of mel bands: ``[frames, bands]`` float32, dimensionless.

    A waveform is divided by its largest magnitude and padded by half a window of zeros at both ends. Frame t, one every
    hop, has the power P through a symmetric Hann window w, and the levels L of triangles A:

        P[t, k] = |sum_i w[i] x[t hop + i] exp(-2 pi j i k / n)|^2,   n the next power of two of the window's samples
        L[t, m] = ln(sum_k A[m, k] P[t, k] + 1e-8)

    The triangles have height 1, and corners equally spaced on 2595 log10(1 + f / 700), f in Hz, from low to high.
    Stevens, Volkmann, Newman, JASA 8, 1937; Davis and Mermelstein, IEEE Transactions on ASSP 28, 1980.

    Args:
        bands: Number of bands.
        window: Length of a frame, in seconds.
        hop: Time from a frame to the next, in seconds.
        low: Lowest frequency, in Hz.
        high: Highest frequency, in Hz; None for 0.95 of half the rate.
        duration: Frames after so many seconds are cut; None for all.
    """

    def __init__(
        self,
        *,
        bands: Bands = 40,
        window: Seconds = 0.025,
        hop: Seconds = 0.01,
        low: Hertz = 80.0,
        high: Hertz | None = None,
        duration: Seconds | None = None,
    ) -> None:
        super().__init__(bands, window, hop, low, high, duration)

    def shape(self, stored: SignalShape) -> SignalShape:
        return SignalShape((self.bands,), self.of(stored).frames(stored.length), "float32", True, self.of(stored).tick)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        levels, valid = mel_levels(signal, self.of(stored))
        device = signal.values.device
        return Signal(levels.float().to(device), valid.to(device))


class MelLevelCrossing(_Mel):
    """Events where the level of a mel band rises or falls by a step; with the defaults by a factor e of power.

    Each band has a reference r, at first ``start``. In each frame, with the level L of ``log-mel``,

        up = max(0, floor((L - r) / step)),   down = max(0, floor((r - L) / step)),   r += (up - down) step

    are so many events of the addresses 2 x band (up) and 2 x band + 1 (down), one tick a hop.

    Args:
        bands: Number of bands.
        window: Length of a frame, in seconds.
        hop: Time from a frame to the next, in seconds.
        low: Lowest frequency, in Hz.
        high: Highest frequency, in Hz; None for 0.95 of half the rate.
        duration: Frames after so many seconds are cut; None for all.
        step: Of the levels, dimensionless; 1 is a factor e of power.
        start: The first reference of each band, dimensionless.
    """

    def __init__(
        self,
        *,
        bands: Bands = 40,
        window: Seconds = 0.025,
        hop: Seconds = 0.01,
        low: Hertz = 80.0,
        high: Hertz | None = None,
        duration: Seconds | None = 1.0,
        step: Annotated[float, Field(ge=0.001, le=100)] = 1.0,
        start: Annotated[float, Field(ge=-100, le=100)] = FIRST_LEVEL,
    ) -> None:
        super().__init__(bands, window, hop, low, high, duration)
        self.step, self.start = step, start

    def shape(self, stored: SignalShape) -> SignalShape:
        frames = self.of(stored).frames(stored.length)
        # Between the floor and the loudest sound of the longest window lie fewer than 64 factors of e.
        most = frames * self.bands * round(64 / self.step + 1)
        return replace(SignalShape.events((2 * self.bands,), most, self.of(stored).tick), span=frames)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        events = mel_events(signal, self.of(stored), self.step, self.start)
        return events.to(signal.values.device)
