"""Files of event formats, made of events (t, x, y, p) byte by byte as their descriptions say."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neurozoo.data.store import Store

Event = tuple[int, int, int, int]

AEDAT2_HEADER = b"#!AER-DAT2.0\r\n# created by a test\r\n"
AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"


def some(n: int = 40, *, size: int = 30, start: int = 0, seed: int = 0) -> list[Event]:
    """SYNTHETIC: events of a camera of ``size`` x ``size`` pixels, their times rising from ``start``."""
    rng = np.random.default_rng(seed)
    times = start + np.sort(rng.integers(0, 100_000, n))
    return [(int(t), *map(int, rng.integers(0, (size, size, 2)))) for t in times]


def bin_bytes(events: Iterable[Event]) -> bytes:
    return b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, p in events)


def aedat2_bytes(events: Iterable[Event], header: bytes = AEDAT2_HEADER) -> bytes:
    """Bit 0 is 1 for darker."""
    return header + b"".join(struct.pack(">II", y << 8 | x << 1 | (1 - p), t % 2**32) for t, x, y, p in events)


def aedat3_packet(events: Sequence[Event], overflow: int = 0, kind: int = 1, valid: int = 1) -> bytes:
    header = struct.pack("<hhiiiiii", kind, 0, 8, 4, overflow, len(events), len(events), len(events))
    return header + b"".join(struct.pack("<Ii", x << 17 | y << 2 | p << 1 | valid, t) for t, x, y, p in events)


def aedat3_bytes(events: Sequence[Event]) -> bytes:
    """Two packets of events with one of another type between."""
    half = len(events) // 2
    other = struct.pack("<hhiiiiii", 0, 0, 12, 4, 0, 2, 2, 2) + bytes(24)
    return AEDAT3_HEADER + aedat3_packet(events[:half]) + other + aedat3_packet(events[half:])


def dat_bytes(
    events: Iterable[Event], kind: int = 0x0C, size: int = 8, header: bytes = b"% Data file\n% Version 2\n"
) -> bytes:
    start = header + bytes([kind, size]) if header else b""
    return start + b"".join(struct.pack("<II", t, p << 28 | y << 14 | x) for t, x, y, p in events)


def aedat4_bytes(
    events: Sequence[Event],
    compression: int = 0,
    pack: Callable[[bytes], bytes] = lambda raw: raw,
    *,
    table: bool = True,
) -> bytes:
    """A header with two fields, a packet of another type, two packets of events, and a table that follows them."""

    def sized(raw: bytes) -> bytes:
        return struct.pack("<I", len(raw)) + raw

    def packet(rows: Sequence[Event]) -> bytes:
        body = b"".join(struct.pack("<qhhB3x", t, x, y, p) for t, x, y, p in rows)
        # Root at 16: its vtable, 6 bytes, lies at 8; one field, 4 bytes into the table.
        return struct.pack("<I4sHHHHiII", 16, b"EVTS", 6, 8, 4, 0, 8, 4, len(rows)) + body

    def packets() -> bytes:
        half = len(events) // 2
        made = b""
        for raw in (packet(events[:half]), struct.pack("<I4s8x", 16, b"IMUS"), packet(events[half:])):
            packed = pack(sized(raw))
            made += struct.pack("<ii", 0, len(packed)) + packed
        return made

    body = packets()
    # Root at 20: its vtable of 8 bytes lies at 12; int64 position of the table at 4, int32 compression at 12.
    head = struct.pack(
        "<I4s4xHHHHiqi", 20, b"IOHE", 8, 16, 12, 4, 8, 14 + 4 + 36 + len(body) if table else -1, compression
    )
    return b"#!AER-DAT4.0\r\n" + sized(head) + body + (sized(b"FTAB" * 5) if table else b"")


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def rows_of(store: Store, split: str, signal: str = "events") -> dict[str, list[list[int]]]:
    """Return the rows of each sample of a split by its id."""
    view = store.split(split)
    values = view.batch(torch.arange(len(view.ids))).signals[signal]
    return {
        name: rows[valid].tolist()
        for name, rows, valid in zip(view.ids, values.values, values.mask.bool(), strict=True)
    }


def address(event: Event, height: int, width: int) -> int:
    _, x, y, p = event
    return (p * height + y) * width + x


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """Makers of files, by format."""
    return SimpleNamespace(
        some=some,
        bin=bin_bytes,
        aedat2=aedat2_bytes,
        aedat3=aedat3_bytes,
        aedat3_packet=aedat3_packet,
        aedat3_header=AEDAT3_HEADER,
        aedat2_header=AEDAT2_HEADER,
        aedat4=aedat4_bytes,
        dat=dat_bytes,
        zipped=zipped,
        write=write,
        rows_of=rows_of,
        address=address,
    )
