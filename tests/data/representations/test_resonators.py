"""A bank of resonators: against its recursion, tones in their bands, and nothing that looks ahead."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.delta import SendOnDelta
from neurozoo.data.representations.resonators import Resonators
from neurozoo.errors import DataError

RATE = 8000
SHAPE = SignalShape((), RATE, "float32", True, 1 / RATE)


def tone(f: float, samples: int = 4000) -> np.ndarray:
    return np.sin(2 * np.pi * f * np.arange(samples) / RATE).astype(np.float32)


def of(*waveforms: np.ndarray) -> Signal:
    longest = max(map(len, waveforms))
    values = torch.from_numpy(np.stack([np.pad(x, (0, longest - len(x)), constant_values=9) for x in waveforms]))
    return Signal(values, torch.arange(longest) < torch.tensor([len(x) for x in waveforms])[:, None])


def test_levels_are_those_of_the_recursion() -> None:
    x = np.random.default_rng(0).normal(size=200).astype(np.float32)
    found = Resonators(bands=3, low=200.0, high=2000.0, hop=0.002)(of(x), SHAPE).values[0]
    low, high = (21.4 * math.log10(1 + 0.00437 * f) for f in (200, 2000))
    for band in range(3):
        f = (10 ** ((low + (high - low) * band / 2) / 21.4) - 1) / 0.00437
        a = cmath.exp((-2 * math.pi * 1.019 * (24.7 + 0.108 * f) + 2j * math.pi * f) / RATE)
        state, levels = [0j] * 4, []
        for i, value in enumerate((x / np.abs(x).max()).tolist()):
            driven = complex(value)
            for n in range(4):
                state[n] = driven = a * state[n] + (1 - abs(a)) * driven
            if i % 16 == 0:
                levels.append(math.log(abs(driven) ** 2 + 1e-8))
        np.testing.assert_allclose(found[:, band], levels, atol=1e-4)


def test_a_tone_is_loudest_in_its_band() -> None:
    bank = Resonators(bands=11, low=100.0, high=3000.0)
    ends = [21.4 * math.log10(1 + 0.00437 * f) for f in (100, 3000)]
    for band in (2, 5, 9):
        f = (10 ** ((ends[0] + (ends[1] - ends[0]) * band / 10) / 21.4) - 1) / 0.00437
        last = bank(of(tone(f)), SHAPE).values[0, -1]
        assert int(last.argmax()) == band
        assert float(last[band]) == pytest.approx(math.log(1 / 4), abs=0.05)


def test_a_frame_depends_on_its_past_alone_and_a_sample_on_itself() -> None:
    bank, x = Resonators(bands=4), tone(500)
    x[0] = 1.0  # the largest from the start, so that cutting changes no scale
    x = x.clip(-1, 1)
    whole, cut = bank(of(x), SHAPE).values[0], bank(of(x[:1001]), SHAPE).values[0]
    assert torch.equal(whole[: len(cut)], cut)
    both = bank(of(x, tone(900, 777)), SHAPE)
    assert torch.equal(both.values[1][both.mask[1]], bank(of(tone(900, 777)), SHAPE).values[0])
    assert both.mask.sum(1).tolist() == [100, 20]


def test_events_of_the_envelopes() -> None:
    bank = Resonators(bands=10)
    events = SendOnDelta(step=1.0, start=-6.0)(bank(of(tone(440)), SHAPE), bank.shape(SHAPE))
    assert bank.shape(SHAPE) == SignalShape((10,), 200, "float32", True, 0.005)
    assert int(events.mask.sum()) > 20


def test_silence_and_what_cannot_be() -> None:
    silent = Resonators(bands=2)(of(np.zeros(80, np.float32)), SHAPE).values
    assert torch.allclose(silent, torch.tensor(math.log(1e-8)))
    with pytest.raises(DataError, match=r"a hop of 1e-05 s has no sample at 8000"):
        Resonators(hop=1e-5).shape(SHAPE)
    with pytest.raises(DataError, match=r"bands from 80 to 5000 Hz"):
        Resonators(high=5000.0).shape(SHAPE)
    with pytest.raises(DataError, match="it needs waveforms"):
        Resonators().shape(SignalShape((3,), 10, tick=0.1))
