"""Read PhysioNet's records: ``.hea`` headers, ``.dat`` samples of formats 16 and 212, and annotations.

Formats: Moody, WFDB Applications Guide, header(5), signal(5) and annot(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular, read_bytes
from neurozoo.files.text import read_text

__all__ = ["BEATS", "Record", "open_record", "read_annotations", "read_millivolts"]

BEATS = "NLRBAaJSVrFejnE/fQ?"
"""Symbols of annotations that mark a heart beat."""
_SYMBOLS = dict(enumerate('NLRaVFJASEj/Q~', 1)) | {
    16: "|", 18: "s", 19: "T", 20: "*", 21: "D", 22: '"', 23: "=", 24: "p", 25: "B", 26: "^", 27: "t", 28: "+",
    29: "u", 30: "?", 31: "!", 32: "[", 33: "]", 34: "e", 35: "n", 36: "@", 37: "x", 38: "f", 39: "(", 40: ")", 41: "r",
}  # fmt: skip
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63
_MOST_BYTES = 2**28
_MOST_TEXT = 2**20
_MOST_LEADS = 256
_GAIN = 200.0
"""ADC units a millivolt where a header says none or 0."""
_INVALID = {16: -(2**15), 212: -(2**11)}
_RECORD_LINE = re.compile(r"(\S+?)(/\d+)?\s+(\d+)(?:\s+([\d.]+)\S*(?:\s+(\d+))?.*)?")
_GAIN_FIELD = re.compile(r"([-+\d.eE]+)(?:\(([-+]?\d+)\))?(?:/(\S+))?")


@dataclass(frozen=True)
class Record:
    """What a header says.

    Attributes:
        path: The ``.hea`` file.
        rate: Samples a second.
        length: Samples of each lead.
        leads: Names.
        data: The ``.dat`` file.
        format: 16 or 212.
        gains: ADC units a unit of each lead, usually a millivolt.
        baselines: ADC value of 0 of each lead.
        checksums: Sum of each lead's ADC values modulo 2^16; None where the header has none.
    """

    path: Path
    rate: float
    length: int
    leads: tuple[str, ...]
    data: Path
    format: int
    gains: tuple[float, ...]
    baselines: tuple[int, ...]
    checksums: tuple[int | None, ...]


def open_record(path: Path) -> Record:
    """Read a ``.hea`` file.

    Raises:
        DataError: It is malformed, or of a form that is not read: several segments, files or formats.
    """
    lines = [line.strip() for line in read_text(path, limit=_MOST_TEXT).split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    match = _RECORD_LINE.fullmatch(lines[0]) if lines else None
    if match is None:
        raise DataError(f"{path}: its first line is no record line (NAME LEADS RATE SAMPLES); is it a WFDB header?")
    if match[2]:
        raise DataError(f"{path} is of several segments, which are not read; import the segments")
    leads = int(match[3][:6])
    if not 1 <= leads <= _MOST_LEADS or len(lines) <= leads:
        raise DataError(f"{path} says {match[3]} leads and describes {len(lines) - 1}; it is damaged: get it again")
    rows = [_lead(path, line) for line in lines[1 : leads + 1]]
    files, formats = {row[0] for row in rows}, {row[1] for row in rows}
    if len(files) > 1 or len(formats) > 1 or not formats <= {"16", "212"}:
        raise DataError(
            f"{path} has the files {', '.join(sorted(files))} of format {', '.join(sorted(formats))}; one file of "
            "format 16 or 212 is read"
        )
    name, format = files.pop(), int(formats.pop())
    if name != Path(name).name or "\\" in name or name in (".", ".."):
        raise DataError(f"{path}: {name!r} is not the name of a file next to it")
    try:
        rate = float(match[4] or 250)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e9:
        raise DataError(f"{path}: the rate {match[4]!r} is no number of samples a second")
    data = path.parent / name
    with open_regular(data) as file:
        size = file.seek(0, 2)
    held = (size // 2 if format == 16 else size // 3 * 2 + (size % 3 == 2)) // leads
    length = int((match[5] or "0")[:15]) or held
    if not 0 < length <= held:
        raise DataError(
            f"{data} has {held:,} samples of {leads} leads, and {path.name} says {length:,}; it is cut off: get it "
            "again"
        )
    return Record(
        path,
        rate,
        length,
        tuple(row[5] or f"lead{place}" for place, row in enumerate(rows)),
        data,
        format,
        tuple(row[2] for row in rows),
        tuple(row[3] for row in rows),
        tuple(row[4] for row in rows),
    )


def _lead(path: Path, line: str) -> tuple[str, str, float, int, int | None, str]:
    """Return file, format, gain, baseline, checksum and name of a lead's line."""
    fields = line.split(maxsplit=8)
    format = fields[1] if len(fields) > 1 else ""
    if not format.isdecimal():  # 212x2 has several samples a frame, 16:3 a skew, 16+24 bytes before the first
        raise DataError(f"{path}: {line[:60]!r} has the format {format!r}; 16 and 212 are read")
    gain, baseline = _GAIN, None
    if len(fields) > 2:
        match = _GAIN_FIELD.fullmatch(fields[2])
        try:
            gain = (float(match[1]) if match else float("nan")) or _GAIN
        except ValueError:
            gain = float("nan")
        if match is None or not np.isfinite(gain):
            raise DataError(f"{path}: {line[:60]!r} has the gain {fields[2]!r}; it is a number such as 200")
        baseline = int(match[2][:8]) if match[2] else None
    numbers = []
    for place in (4, 6):
        text = fields[place] if len(fields) > place else ""
        if text and not re.fullmatch(r"[-+]?\d{1,9}", text):
            raise DataError(f"{path}: {line[:60]!r} has {text!r} where a whole number belongs; it is damaged")
        numbers.append(int(text) if text else None)
    zero, checksum = numbers
    return fields[0], format, gain, (zero or 0) if baseline is None else baseline, checksum, "".join(fields[8:9])


def read_millivolts(record: Record) -> NDArray[np.float32]:
    """Return all samples, ``[samples, leads]``, in the header's units: (ADC value - baseline) / gain.

    Samples that were marked as missing are NaN.

    Raises:
        DataError: The record is too long, or its sums are not those of the header.
    """
    leads, wanted = len(record.leads), record.length * len(record.leads)
    raw = np.frombuffer(read_bytes(record.data, limit=_MOST_BYTES), np.uint8)
    if record.format == 16:
        values = raw[: wanted * 2].view("<i2").astype(np.int32)
    else:
        padded = np.zeros(-(-wanted // 2) * 3, np.uint8)
        padded[: min(len(raw), len(padded))] = raw[: len(padded)]
        low, high, last = padded.reshape(-1, 3).astype(np.int32).T
        pairs = np.stack([low | (high & 15) << 8, last | (high >> 4) << 8], axis=1).reshape(-1)[:wanted]
        values = np.where(pairs >= 2**11, pairs - 2**12, pairs)
    values = values.reshape(-1, leads)
    for place, wanted_sum in enumerate(record.checksums):
        if wanted_sum is not None and (int(values[:, place].sum(dtype=np.int64)) - wanted_sum) % 2**16:
            raise DataError(f"{record.data}: the sum of lead {record.leads[place]} is not the header's; get it again")
    scaled: NDArray[np.float64] = (values - np.array(record.baselines)) / np.array(record.gains)
    scaled[values == _INVALID[record.format]] = np.nan
    return np.asarray(scaled, np.float32)


def read_annotations(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the sample number and symbol of each annotation; ``N`` is a normal beat, see :data:`BEATS`.

    Raises:
        DataError: The file is cut off or damaged.
    """
    raw = read_bytes(path, limit=_MOST_BYTES)
    words = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2")
    time = place = 0
    while place < len(words):
        code, value = int(words[place]) >> 10, int(words[place]) & 1023
        place += 1
        if code == value == 0:
            return
        if code == _SKIP:
            if place + 2 > len(words):
                break
            ahead = int(words[place]) << 16 | int(words[place + 1])  # the higher half comes first
            time, place = time + (ahead - 2**32 if ahead >= 2**31 else ahead), place + 2
        elif code == _AUX:
            place += (value + 1) // 2
        elif code not in (_NUM, _SUB, _CHN):
            time += value
            if time < 0:
                raise DataError(f"{path}: annotation {place} is before the record; it is damaged: get it again")
            if code:
                yield time, _SYMBOLS.get(code, "Q")
    raise DataError(f"{path} ends before its end mark; it is cut off: get it again")
