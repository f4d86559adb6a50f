"""Read recordings: WAV by a reader of its own, FLAC and others by ``soundfile`` where it is installed.

A header is read first, without the samples, so that rates and lengths of a whole folder are known before any is kept.
WAV: Multimedia Programming Interface and Data Specifications 1.0, IBM and Microsoft 1991, chapter 3; extensible form:
Microsoft, Multiple channel audio data and WAVE files, 2001.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.errors import DataError, UserError, install_extra
from neurozoo.files.opening import open_regular

__all__ = ["ENDINGS", "Recording", "open_recording", "read_samples", "resampled"]

ENDINGS = (".wav", ".WAV", ".flac", ".FLAC")
_MOST_BYTES = 2**28
"""Samples of one recording, as they are in the file and as float32; 40 minutes of 16 bit at 48 kHz."""
_MOST_CHUNKS = 1000
_MOST_CHANNELS = 256
_MOST_RATE = 10_000_000
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NO_LENGTH = (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Lengths that programs write to a pipe, where they do not know one."""
_GUID_END = bytes.fromhex("000000001000800000aa00389b71")


@dataclass(frozen=True)
class Recording:
    """What a file of sound holds.

    Attributes:
        path: The file.
        rate: Samples a second.
        channels: Number of channels.
        length: Samples of each channel.
        bits: Bits of a sample.
        is_float: Whether samples are floats instead of whole numbers.
        offset: Where the samples begin in a WAV, in bytes; None of a file that ``soundfile`` reads.
    """

    path: Path
    rate: int
    channels: int
    length: int
    bits: int
    is_float: bool
    offset: int | None

    @property
    def dtype(self) -> str:
        """The dtype that holds its samples: int16 for 8 and 16 bit, else float32."""
        return "int16" if self.bits <= 16 and not self.is_float else "float32"


def open_recording(path: Path) -> Recording:
    """Read the header of a WAV or FLAC file.

    Raises:
        DataError: It is no such file, cut off, of a form that is not read, without samples or too long.
        UserError: FLAC needs ``soundfile``.
    """
    recording = _flac(path) if path.suffix.lower() == ".flac" else _wav(path)
    if not recording.length:
        raise DataError(f"{path} has no samples; leave it out")
    if recording.length * recording.channels * max(4, recording.bits // 8) > _MOST_BYTES:
        raise DataError(
            f"{path} has {recording.length:,} samples of {recording.channels} channels, more than {_MOST_BYTES:,} "
            "bytes; cut it into shorter ones"
        )
    return recording


def read_samples(recording: Recording) -> NDArray[Any]:
    """Return all samples, ``[samples, channels]``: int16, or float32 in -1..1.

    8 bit becomes 16 bit, 24 and 32 bit are divided by 2^23 and 2^31; floats stay as they are.

    Raises:
        DataError: The file was changed since its header was read.
    """
    if recording.offset is None:
        return _flac_samples(recording)
    wanted = recording.length * recording.channels * (recording.bits // 8)
    with open_regular(recording.path) as file:
        file.seek(recording.offset)
        raw = file.read(wanted)
    if len(raw) < wanted:
        raise DataError(f"{recording.path} became shorter while it was read; import it again when it is complete")
    samples: NDArray[Any]
    if recording.bits == 24:
        # Three bytes into the upper three of four.
        whole = np.zeros((len(raw) // 3, 4), np.uint8)
        whole[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        samples = (whole.view("<i4")[:, 0] / 2**31).astype(np.float32)
    elif recording.is_float:
        samples = np.frombuffer(raw, f"<f{recording.bits // 8}").astype(np.float32)
    elif recording.bits == 32:
        samples = (np.frombuffer(raw, "<i4") / 2**31).astype(np.float32)
    elif recording.bits == 16:
        samples = np.frombuffer(raw, "<i2").astype(np.int16)
    else:
        samples = (np.frombuffer(raw, np.uint8).astype(np.int16) - 128) * np.int16(256)
    return samples.reshape(-1, recording.channels)


def resampled(samples: NDArray[Any], rate: int, wanted: int) -> NDArray[np.float32]:
    """Return samples ``[samples]`` at another rate, float32: a polyphase filter, of scipy."""
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(samples.astype(np.float64), wanted // common, rate // common), np.float32)


def _wav(path: Path) -> Recording:
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(12)
        if head[:4] in (b"RF64", b"RIFX", b"FORM"):
            raise DataError(f"{path} is {head[:4].decode()}, which is not read; save it as plain WAV")
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise DataError(f"{path} does not begin as a WAV file (RIFF, WAVE); is it one, and whole?")
        form: tuple[int, int, int, int] | None = None
        for _ in range(_MOST_CHUNKS):
            chunk = file.read(8)
            if len(chunk) < 8:
                missing = "samples (a data chunk)" if form else "format (a fmt chunk)"
                raise DataError(f"{path} ends before its {missing}; it is cut off: get it again")
            name, length = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            left = size - file.tell()
            if name == b"data":
                return _data(path, form, length, left, file.tell())
            if length > left:
                raise DataError(
                    f"{path}: the chunk {name!r} says {length:,} bytes, and {left:,} follow; it is cut off or damaged: "
                    "get it again"
                )
            if name == b"fmt ":
                form = _form(path, file, length)
            else:
                file.seek(length, 1)
            if length % 2:
                file.seek(1, 1)
    raise DataError(f"{path} has more than {_MOST_CHUNKS:,} chunks before its samples; it is damaged: get it again")


def _form(path: Path, file: IO[bytes], length: int) -> tuple[int, int, int, int]:
    """Return kind, channels, rate and bits of a ``fmt`` chunk."""
    raw = file.read(min(length, 40))
    file.seek(length - len(raw), 1)
    if len(raw) < 16:
        raise DataError(f"{path}: its fmt chunk has {length} bytes, and 16 are the least; it is damaged: get it again")
    kind, channels, rate, _, block, bits = struct.unpack("<HHIIHH", raw[:16])
    if kind == _EXTENSIBLE:
        if len(raw) < 40 or raw[26:] != _GUID_END:
            raise DataError(f"{path}: its extensible format is of no kind that is read; save it as PCM")
        kind = struct.unpack("<H", raw[24:26])[0]
    if bits not in {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(kind, ()):
        raise DataError(
            f"{path}: format {kind} of {bits} bits; PCM of 8, 16, 24 or 32 and floats of 32 or 64 bits are read: save "
            "it as one of them"
        )
    if not 1 <= channels <= _MOST_CHANNELS or not 1 <= rate <= _MOST_RATE or block != channels * bits // 8:
        raise DataError(
            f"{path}: its header says {channels} channels, {rate} samples a second and {block} bytes for {bits} bits "
            "of each, which do not go together; it is damaged: get it again"
        )
    return kind, channels, rate, bits


def _data(path: Path, form: tuple[int, int, int, int] | None, length: int, left: int, offset: int) -> Recording:
    if form is None:
        raise DataError(f"{path}: its samples come before their format (a fmt chunk); it is damaged: get it again")
    kind, channels, rate, bits = form
    block = channels * bits // 8
    if length in _NO_LENGTH and length != left:
        raise DataError(
            f"{path}: its data chunk says {length:,} bytes, as programs do that write to a pipe, and {left:,} follow; "
            "write it to a file, or convert it to one that says its length"
        )
    if length > left or length % block:
        raise DataError(
            f"{path}: its data chunk says {length:,} bytes, {block} a sample, and {left:,} follow; it is cut off or "
            "damaged: get it again"
        )
    return Recording(path, rate, channels, length // block, bits, kind == _FLOAT, offset)


def _soundfile(path: Path) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the C library is missing
        raise UserError(
            f"{path} is FLAC, which soundfile reads ({error}); {install_extra('audio')}, or convert it to WAV"
        ) from error
    return soundfile


def _flac(path: Path) -> Recording:
    soundfile = _soundfile(path)
    with open_regular(path) as raw:
        try:
            with soundfile.SoundFile(raw) as file:
                bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(file.subtype)
                rate, channels, length, form = file.samplerate, file.channels, file.frames, file.format
        except soundfile.LibsndfileError as error:
            raise DataError(f"{path} cannot be read as FLAC ({error}); get it again") from error
    if form != "FLAC" or bits is None:
        raise DataError(f"{path} holds {form}, not FLAC of 8, 16 or 24 bits; give it the ending of what it is")
    return Recording(path, rate, channels, length, bits, False, None)


def _flac_samples(recording: Recording) -> NDArray[Any]:
    soundfile = _soundfile(recording.path)
    with open_regular(recording.path) as raw:
        try:
            with soundfile.SoundFile(raw) as file:
                samples: NDArray[Any] = file.read(recording.length, dtype=recording.dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DataError(f"{recording.path} cannot be read as FLAC ({error}); get it again") from error
    if len(samples) != recording.length:
        raise DataError(
            f"{recording.path} says {recording.length:,} samples and has {len(samples):,}; it is cut off: get it again"
        )
    return samples
