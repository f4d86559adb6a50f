"""Sound as mel bands and their level crossings: against the recipe written as loops, pinned, and real stored events."""

from __future__ import annotations

import hashlib
import io
import math
import tarfile
import zlib
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.bins import Bins
from neurozoo.data.representations.mel import LogMel, MelBands, MelLevelCrossing, mel_events, mel_levels
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.data.writer import StoreWriter
from neurozoo.errors import DataError


def sound(samples: int, loudest: int = 2000) -> NDArray[np.int16]:
    """SYNTHETIC: a rising saw tooth that swells and fades; of whole numbers, so that every machine makes the same."""
    i = np.arange(samples)
    swell = np.minimum(i, samples - i) * loudest // samples
    return (((i * i // 40 + 60 * i) % 256 - 128) * swell // 128).astype(np.int16)


def batch(*waveforms: NDArray[np.int16]) -> Signal:
    longest = max(map(len, waveforms))
    values = torch.from_numpy(np.stack([np.pad(x, (0, longest - len(x)), constant_values=77) for x in waveforms]))
    return Signal(values, torch.arange(longest) < torch.tensor([len(x) for x in waveforms])[:, None])


def rows(events: Signal, place: int = 0) -> list[list[int]]:
    found: list[list[int]] = events.values[place][events.mask[place]].tolist()
    return found


def by_the_recipe(waveform: NDArray[np.int16], rate: int) -> NDArray[np.float64]:
    """The docstring's equations, term by term."""
    window, hop = round(0.025 * rate), round(0.01 * rate)
    n = {200: 256, 400: 512}[window]
    x = waveform / np.abs(waveform.astype(int)).max()
    x = np.concatenate([np.zeros(window // 2), x, np.zeros(window // 2)])
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * i / (window - 1)) for i in range(window)]
    low, high = (2595 * math.log10(1 + f / 700) for f in (80, 0.95 * rate / 2))
    corners = [700 * (10 ** ((low + (high - low) * i / 41) / 2595) - 1) for i in range(42)]
    waves = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(window)) / n)
    levels = []
    for first in range(0, len(x) - window + 1, hop):
        power = np.abs(waves @ (hann * x[first : first + window])) ** 2
        bands = []
        for (left, middle), right in zip(pairwise(corners[:-1]), corners[2:], strict=True):
            f = np.arange(n // 2 + 1) * rate / n
            height = np.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clip(0)
            bands.append(math.log(float(height @ power) + 1e-8))
        levels.append(bands)
    return np.array(levels)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_levels_are_those_of_the_recipe(rate: int) -> None:
    waveform = sound(rate // 5)
    levels, valid = mel_levels(batch(waveform), MelBands(rate))
    assert levels.shape == (1, 21, 40)
    assert valid.all()
    np.testing.assert_allclose(levels[0].numpy(), by_the_recipe(waveform, rate), rtol=0, atol=1e-9)


def test_events_of_a_synthetic_sound_are_pinned() -> None:
    found = rows(mel_events(batch(sound(8000)), MelBands(8000)))
    assert found[:3] == [[0, 1], [0, 1], [0, 3]]
    assert len(found) == 3229
    # No level is nearer to a whole number than 0.0004, so that no rounding of the machine's shows.
    assert hashlib.sha256(np.array(found, "<i4").tobytes()).hexdigest()[:16] == "e4722bedf6beb35f"


def test_events_are_those_of_the_recipe() -> None:
    reference, wanted = [-6] * 40, []
    for frame, bands in enumerate(by_the_recipe(sound(1600), 8000).tolist()):
        for band, level in enumerate(bands):
            up, down = max(0, math.floor(level - reference[band])), max(0, math.floor(reference[band] - level))
            reference[band] += up - down
            wanted += [[frame, 2 * band]] * up + [[frame, 2 * band + 1]] * down
    assert rows(mel_events(batch(sound(1600)), MelBands(8000))) == wanted


def test_neither_batch_nor_threads_change_a_bit() -> None:
    waveforms = [sound(n) for n in (400, 1601, 777)]
    bands = MelBands(8000)
    levels, valid = mel_levels(batch(*waveforms), bands)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            for place, waveform in enumerate(waveforms):
                alone, _ = mel_levels(batch(waveform), bands)
                assert torch.equal(levels[place][valid[place]], alone[0])
                assert rows(mel_events(batch(*waveforms), bands), place) == rows(mel_events(batch(waveform), bands))
    finally:
        torch.set_num_threads(threads)


def test_a_long_recording_is_transformed_in_pieces_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    bands = MelBands(8000, duration=None)
    whole = bands.levels(sound(4000).astype(np.float64))
    monkeypatch.setattr("neurozoo.data.representations.mel._FRAMES", 7)
    assert np.array_equal(bands.levels(sound(4000).astype(np.float64)), whole)


def test_loudness_does_not_matter_and_silence_is_allowed() -> None:
    bands = MelBands(8000)
    assert rows(mel_events(batch(sound(800, 500) * 4), bands)) == rows(mel_events(batch(sound(800, 500)), bands))
    silent = rows(mel_events(batch(np.zeros(800, np.int16)), bands))
    # From -6 to ln(1e-8) = -18.4: twelve steps down in each band, at once.
    assert silent == [[0, 2 * band + 1] for band in range(40) for _ in range(12)]


def test_frames_after_the_duration_are_cut() -> None:
    assert MelBands(8000).frames(80_000) == 100
    assert MelBands(8000, duration=None).frames(80_000) == 1001
    assert MelBands(8000, duration=0.5).frames(800) == 11


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"rate": 100}, r"windows of 0\.025 s every 0\.01 s at 100 samples a second are 2 samples every 1|bands from"),
        ({"rate": 10}, r"are 0 samples every 0; give longer ones"),
        ({"rate": 8000, "high": 5000.0}, r"bands from 80 to 5000 Hz at 8000 .* at most 4000 Hz, half the rate"),
        ({"rate": 8000, "low": 3900.0}, r"give low below high"),
    ],
)
def test_rates_that_do_not_carry_the_bands(of: dict[str, float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        MelBands(**of)  # type: ignore[arg-type]


def test_the_stored_events_of_real_words_come_back_bit_by_bit(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "asc"
    if not (folder / "wav_sample.tar.xz").is_file():
        pytest.skip("the folder of NEUROZOO_TEST_DATA has no asc/wav_sample.tar.xz")
    waveforms: dict[tuple[str, int], NDArray[np.int16]] = {}
    with tarfile.open(folder / "wav_sample.tar.xz") as archive:
        for member in archive.getmembers():
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                word, file = member.name.split("/")[-2:]
                # Plain WAV with a header of 44 bytes.
                waveforms[word, int(file.split("_")[0])] = np.frombuffer(content.read()[44:], "<i2")
    assert len(waveforms) == 60
    for split, speaker in (("train", 1), ("valid", 2), ("test", 3)):
        unpacked = zlib.decompress((folder / f"asc_{split}.h5.gz").read_bytes(), wbits=31)
        with h5py.File(io.BytesIO(unpacked)) as file:
            keys = [key.decode() for key in file["extra/keys"]]
            labels, speakers = file["labels"][:], file["extra/speaker"][:]
            chosen = [each for each in waveforms if each[1] == speaker]
            events = mel_events(batch(*(waveforms[each] for each in chosen)), MelBands(16000))
            for place, (word, _) in enumerate(chosen):
                row = int(np.flatnonzero((labels == keys.index(word)) & (speakers == speaker))[0])
                # Seconds in float16: rounded, as half of the multiples of 10 ms lie below themselves.
                times = np.round(file["spikes/times"][row].astype(np.float64) * 100).astype(int)
                stored = np.stack([times, file["spikes/units"][row].astype(int)], axis=1)
                assert rows(events, place) == stored.tolist(), f"{word} of speaker {speaker}"


def test_as_representations_of_a_stored_waveform(tmp_path: Path) -> None:
    waveforms = [sound(n) for n in (3200, 1600, 801)]
    stored = SignalShape((), 3200, "int16", True, 1 / 16_000)
    told = {"task": "multiclass", "outputs": ["a", "b"], "origin": {"format": "test"}}
    with StoreWriter(tmp_path / "store", signals={"audio": stored}, **told) as writer:  # type: ignore[arg-type]
        writer.add("train", {"audio": waveforms}, [0, 1, 0])
    store, coder = Store(tmp_path / "store"), MelLevelCrossing()
    view = DataView(store, represent={"audio": [("mel-level-crossing", coder)]})
    assert (view.signals["audio"].sensor, view.signals["audio"].span, view.signals["audio"].tick) == ((80,), 21, 0.01)
    events = view.split("train").batch(torch.arange(3)).signals["audio"]
    for place, waveform in enumerate(waveforms):
        assert rows(events, place) == rows(mel_events(batch(waveform), MelBands(16_000)))
    binned = DataView(store, represent={"audio": [("mel-level-crossing", coder), ("bins", Bins(step=0.01))]})
    assert binned.signals["audio"] == SignalShape((80,), 21, "float32", False, 0.01)
    steps = binned.split("train").batch(torch.arange(3)).signals["audio"].values
    assert steps.sum((1, 2)).tolist() == events.mask.sum(1).tolist()

    dense = DataView(store, represent={"audio": [("log-mel", LogMel())]})
    assert dense.signals["audio"] == SignalShape((40,), 21, "float32", True, 0.01)
    values = dense.split("train").batch(torch.tensor([1, 0])).signals["audio"]
    wanted, valid = mel_levels(batch(waveforms[1], waveforms[0]), MelBands(16_000))
    assert torch.equal(values.values, wanted.float())
    assert torch.equal(values.mask, valid)


def test_only_waveforms_of_a_known_rate_have_bands() -> None:
    for shape in (SignalShape((), 10, "int16"), SignalShape((2,), 10, tick=0.1), SignalShape.events((3,), 10)):
        with pytest.raises(DataError, match="it needs waveforms, one number a position at a known rate"):
            LogMel().shape(shape)
