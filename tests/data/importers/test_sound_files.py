"""Reading WAV and FLAC: every form to the bit, and damaged files in one line."""

from __future__ import annotations

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neurozoo.data.importers.sound_files import open_recording, read_samples, resampled
from neurozoo.errors import DataError, UserError

GUID = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    said = len(content) if length is None else length
    return name + struct.pack("<I", said) + content + b"\0" * (len(content) % 2)


def form(kind: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, block: int | None = None) -> bytes:
    block = channels * bits // 8 if block is None else block
    return struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)


def riff(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def read(path: Path) -> NDArray[Any]:
    return read_samples(open_recording(path))


def samples(dtype: str, count: int = 10) -> NDArray[Any]:
    """The ends of the range, and something between."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.linspace(-1, 1, count, dtype=kind)
    of = np.iinfo(kind)
    return np.linspace(of.min, of.max, count).clip(of.min, of.max).astype(kind)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_scipy_writes_is_read_as_it_was(tmp_path: Path, dtype: str, channels: int) -> None:
    written = np.stack([samples(dtype)] * channels, axis=1)
    scipy.io.wavfile.write(tmp_path / "a.wav", 12_345, written)
    found = open_recording(tmp_path / "a.wav")
    assert (found.rate, found.channels, found.length) == (12_345, channels, 10)
    scale = {"uint8": lambda x: (x.astype(np.int16) - 128) * 256, "int32": lambda x: (x / 2**31).astype(np.float32)}
    wanted = scale.get(dtype, lambda x: x if dtype == "int16" else x.astype(np.float32))(written)
    read = read_samples(found)
    assert read.dtype == wanted.dtype == found.dtype
    np.testing.assert_array_equal(read, wanted)


def test_24_bits_of_pythons_own_writer(tmp_path: Path) -> None:
    values = [-(2**23), -1, 0, 1, 2**23 - 1]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, 44_100, 0, "NONE", ""))
        file.writeframes(b"".join(value.to_bytes(3, "little", signed=True) for value in values))
    assert (read(tmp_path / "a.wav")[:, 0].astype(np.float64) * 2**23).tolist() == values


def test_other_chunks_and_the_extensible_form(tmp_path: Path) -> None:
    extended = form(0xFFFE) + struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + GUID
    data = np.array([1, -2, 3], "<i2").tobytes()
    (tmp_path / "a.wav").write_bytes(
        riff(chunk(b"LIST", b"odd"), chunk(b"fmt ", extended), chunk(b"fact", b"0000"), chunk(b"data", data), b"more")
    )
    assert read(tmp_path / "a.wav")[:, 0].tolist() == [1, -2, 3]


DATA = b"\1\0\2\0"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin as a WAV file"),
        (b"ID3" + b"\0" * 50, "does not begin as a WAV file"),
        (b"RF64" + b"\0" * 50, "is RF64, which is not read; save it as plain WAV"),
        (riff(chunk(b"fmt ", form())), r"ends before its samples \(a data chunk\); it is cut off"),
        (riff(chunk(b"LIST", b"1234")), r"ends before its format \(a fmt chunk\)"),
        (riff(chunk(b"data", DATA)), r"its samples come before their format"),
        (riff(chunk(b"fmt ", form()[:10])), "its fmt chunk has 10 bytes, and 16 are the least"),
        (riff(chunk(b"fmt ", form(), 2**31)), r"the chunk b'fmt ' says 2,147,483,648 bytes, and 16 follow; it is cut"),
        (riff(chunk(b"fmt ", form()), chunk(b"data", DATA, 6)), "says 6 bytes, 2 a sample, and 4 follow; it is cut"),
        (riff(chunk(b"fmt ", form()), chunk(b"data", DATA[:3])), "says 3 bytes, 2 a sample"),
        (riff(chunk(b"fmt ", form()), chunk(b"data", DATA, 2**32 - 1)), "as programs do that write to a pipe, and 4"),
        (riff(chunk(b"fmt ", form()), chunk(b"data", DATA, 0)), "its data chunk says 0 bytes, as programs do that"),
        (riff(chunk(b"fmt ", form()), chunk(b"data", b"")), "has no samples; leave it out"),
        (riff(chunk(b"fmt ", form(kind=2, bits=4))), "format 2 of 4 bits; PCM of 8, 16, 24 or 32 and floats"),
        (riff(chunk(b"fmt ", form(kind=7, bits=8))), "format 7 of 8 bits"),
        (riff(chunk(b"fmt ", form(kind=3, bits=16))), "format 3 of 16 bits"),
        (riff(chunk(b"fmt ", form(0xFFFE))), "its extensible format is of no kind that is read"),
        (riff(chunk(b"fmt ", form(channels=0, block=2))), "says 0 channels, 8000 samples a second and 2 bytes"),
        (riff(chunk(b"fmt ", form(rate=0))), "1 channels, 0 samples a second"),
        (riff(chunk(b"fmt ", form(block=3))), "3 bytes for 16 bits of each, which do not go together"),
        (riff(*[chunk(b"junk", b"")] * 1001), "has more than 1,000 chunks before its samples"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read(tmp_path / "a.wav")
    assert "\n" not in str(error.value)


def test_a_length_beyond_the_limit_is_refused_before_any_sample_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with path.open("wb") as file:
        file.write(riff(chunk(b"fmt ", form(bits=8)), b"data" + struct.pack("<I", 2**27)))
        file.truncate(2**27 + 100)  # a hole: no disk is used
    with pytest.raises(DataError, match=r"134,217,728 samples of 1 channels, more than .*; cut it into shorter ones"):
        open_recording(path)


@given(st.data())
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(riff(chunk(b"LIST", b"odd"), chunk(b"fmt ", form(bits=24)), chunk(b"data", bytes(range(30)))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.wav"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        found = open_recording(path)
    except DataError:
        return
    assert read_samples(found).shape == (found.length, found.channels)


def test_a_tone_keeps_its_frequency_and_height_at_another_rate() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    found = resampled(tone / 2, 16_000, 8000)
    assert found.dtype == np.float32
    assert len(found) == 8000
    middle = slice(1000, 7000)  # the filter knows nothing beyond the ends
    np.testing.assert_allclose(found[middle], tone[::2][middle] / 2, atol=2e-3)


def test_flac_is_read_to_the_bit(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="FLAC needs the extra audio")
    path, written = tmp_path / "a.flac", samples("int16", 1000)
    soundfile.write(path, written, 8000)
    np.testing.assert_array_equal(read(path)[:, 0], written)
    soundfile.write(path, written.astype(np.float64) / 2**15, 8000, subtype="PCM_24")
    assert read(path).dtype == np.float32
    np.testing.assert_array_equal(read(path)[:, 0] * 2**15, written)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"a\.flac (cannot be read as FLAC|says 1,000 samples)"):
        read(path)
    path.write_bytes(b"fLaC" + b"\0" * 100)
    with pytest.raises(DataError, match=r"a\.flac cannot be read as FLAC"):
        read(path)


def test_flac_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    with pytest.raises(UserError, match=r"pip install 'neurozoo-toolkit\[audio\]', or convert it to WAV"):
        open_recording(tmp_path / "a.flac")
