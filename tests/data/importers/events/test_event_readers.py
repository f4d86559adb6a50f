"""Readers of the formats of event cameras: each event, and each trap, on files made here byte by byte."""

from __future__ import annotations

import builtins
import io
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurozoo.data.importers.events.aedat import read_aedat2, read_aedat3
from neurozoo.data.importers.events.aedat4 import read_aedat4
from neurozoo.data.importers.events.blocks import BLOCK, Events, Unwrap, event_rows
from neurozoo.data.importers.events.packed import LONGEST_HEADER, read_bin, read_dat
from neurozoo.errors import DataError

Made = SimpleNamespace
Reader = Callable[[BinaryIO, str], Iterator[Events]]

FORMATS: dict[str, Reader] = {
    "bin": read_bin,
    "dat": read_dat,
    "aedat2": read_aedat2,
    "aedat3": read_aedat3,
    "aedat4": read_aedat4,
}


def events(reader: Reader, raw: bytes) -> list[tuple[int, ...]]:
    blocks = list(reader(io.BytesIO(raw), "a file"))
    return [
        event for b in blocks for event in zip(*(np.asarray(a).tolist() for a in (b.t, b.x, b.y, b.p)), strict=True)
    ]


def refusal(reader: Reader, raw: bytes) -> str:
    with pytest.raises(DataError) as error:
        events(reader, raw)
    text = str(error.value)
    assert text.startswith("a file")
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize("name", FORMATS)
def test_every_event_comes_back(name: str, made: Made) -> None:
    given = made.some(start=5)
    assert events(FORMATS[name], getattr(made, name)(given)) == given
    assert events(FORMATS[name], getattr(made, name)([])) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_file_is_refused_wherever_it_is_cut(name: str, made: Made) -> None:
    whole = getattr(made, name)(made.some(4))
    size = {"bin": 5, "dat": 8, "aedat2": 8}.get(name)
    start = len(getattr(made, name)([])) if size else 0
    for end in range(1, len(whole)):
        cut = whole[:end]
        if size and end >= start and (end - start) % size == 0:
            assert len(events(FORMATS[name], cut)) == (end - start) // size  # nothing can tell that these were cut
        elif name == "aedat2" and cut.endswith(b"\n"):
            assert events(read_aedat2, cut) == []
        elif name == "aedat3" and _ends_at_a_packet(cut, made):
            continue
        elif name == "aedat4" and end >= len(whole) - 24:
            continue  # in the table of contents, which is not needed
        else:
            assert refusal(FORMATS[name], cut)


def _ends_at_a_packet(cut: bytes, made: Made) -> bool:
    first = len(made.aedat3_header) + 28 + 2 * 8
    return len(cut) in (len(made.aedat3_header), first, first + 28 + 24)


def test_bin_rows_with_y_240_are_overflows_of_the_clock_and_no_events(made: Made) -> None:
    raw = made.bin([(10, 1, 2, 1), (0, 0, 240, 0), (20, 3, 4, 0), (0, 0, 240, 1), (30, 5, 6, 1)])
    assert events(read_bin, raw) == [(10, 1, 2, 1), (8192 + 20, 3, 4, 0), (2 * 8192 + 30, 5, 6, 1)]
    filler = made.bin([(0, 0, 0, 0)]) * (BLOCK - 1)
    far = events(read_bin, made.bin([(0, 0, 240, 0)]) + filler + made.bin([(7, 1, 1, 1)]))
    assert far[-1] == (8192 + 7, 1, 1, 1), "an overflow counts for the blocks after it"


def test_bin_times_have_23_bits(made: Made) -> None:
    last = (2**23 - 1, 33, 33, 1)
    assert events(read_bin, made.bin([last])) == [last]


def test_aedat2_bit_0_is_darker_and_the_picture_may_be_turned(made: Made) -> None:
    raw = made.aedat2_header + struct.pack(">II", 5 << 8 | 3 << 1 | 1, 9)
    assert events(read_aedat2, raw) == [(9, 3, 5, 0)]
    turned = list(read_aedat2(io.BytesIO(raw), "a file", turned=True))
    assert [int(a[0]) for a in (turned[0].x, turned[0].y)] == [127 - 5, 127 - 3]


def test_an_aedat2_header_ends_at_the_first_line_without_a_mark(made: Made) -> None:
    looks_like_a_header = (0x23230A0A, 0, 0, 0)  # its time begins with '##'
    given = [(3, 1, 2, 0), looks_like_a_header]
    assert events(read_aedat2, made.aedat2(given)) == given
    first_byte = made.aedat2_header + struct.pack(">II", 0x2300, 5)
    assert events(read_aedat2, first_byte) == [(5, 0, 0x23, 1)], "an address may hold the mark where it is not first"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\0" * 16, "does not begin with #!AER-DAT2.0"),
        (b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis346red\n", "Davis346red.*addresses of a DVS128"),
        (b"#!AER-DAT2.0\r\n" + struct.pack(">II", 0x8000, 0), "event 0 has the address 0x8000"),
        (b"#!AER-DAT2.0\r\n" + b"#" * (LONGEST_HEADER + 10), "a header of"),
    ],
)
def test_aedat2_that_is_none(raw: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        events(read_aedat2, raw)


def test_an_aedat2_of_a_dvs128_says_so(made: Made) -> None:
    header = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
    assert events(read_aedat2, made.aedat2([(1, 2, 3, 1)], header)) == [(1, 2, 3, 1)]


@pytest.mark.parametrize("name", ["aedat2", "dat"])
def test_a_clock_of_32_bits_overflows(name: str, made: Made) -> None:
    given = [(2**32 - 5, 1, 1, 1), (2**32 + 3, 2, 2, 0), (2**32 + 9, 3, 3, 1)]
    raw = getattr(made, name)([(t % 2**32, *rest) for t, *rest in given])
    assert events(FORMATS[name], raw) == given
    rows = event_rows(FORMATS[name](io.BytesIO(raw), "a file"), (2, 8, 8), "a file", from_first=True)
    assert rows[:, 0].tolist() == [0, 8, 14]


def test_overflows_go_from_block_to_block_and_small_falls_stay() -> None:
    unwrap = Unwrap(8)
    parts = [unwrap(np.array(part, np.uint8)) for part in ([250], [], [3, 255], [2, 1])]
    assert np.concatenate(parts).tolist() == [250, 259, 511, 514, 513]


def test_aedat3_counts_overflows_in_packets_and_leaves_out_what_is_not_valid(made: Made) -> None:
    raw = made.aedat3_header + made.aedat3_packet([(5, 1, 2, 1)], overflow=3)
    assert events(read_aedat3, raw) == [(3 << 31 | 5, 1, 2, 1)]
    raw = made.aedat3_header + made.aedat3_packet([(5, 1, 2, 1)], valid=0) + made.aedat3_packet([(6, 1, 2, 1)])
    assert events(read_aedat3, raw) == [(6, 1, 2, 1)]


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, 1, 2**31 - 1, 1),
        struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, 1, -1, 1),
        struct.pack("<hhiiiiii", 1, 0, -8, 4, 0, 1, 1, 1),
        struct.pack("<hhiiiiii", 1, 0, 8, 0, 0, 1, 1, 1),
        struct.pack("<hhiiiiii", 1, 0, 8, 4, -1, 1, 1, 1),
        struct.pack("<hhiiiiii", 1, 0, 0, 4, 0, 1, 2**31 - 1, 1),
        struct.pack("<hhiiiiii", 7, 0, 2**31 - 1, 4, 0, 1, 2**31 - 1, 1),
    ],
)
def test_an_aedat3_packet_that_announces_nonsense(header: bytes, made: Made) -> None:
    assert "announces" in refusal(read_aedat3, made.aedat3_header + header + bytes(64))


@pytest.mark.parametrize(
    "raw", [b"", b"#!AER-DAT3.1\r\n#no end\r\n", b"#!AER-DAT3.1\r\n" + bytes(99), b"#!AER-DAT2.0\r\n#!END-HEADER\r\n"]
)
def test_an_aedat3_header_needs_its_end(raw: bytes) -> None:
    assert "AEDAT 3.1" in refusal(read_aedat3, raw)


def test_dat_types_and_headers(made: Made) -> None:
    given = made.some(3)
    assert events(read_dat, made.dat(given, kind=0)) == given
    assert events(read_dat, made.dat(given, header=b"")) == given, "a file without lines has no type either"
    assert "type 0x0e" in refusal(read_dat, made.dat(given, kind=0x0E))
    assert "12 bytes" in refusal(read_dat, made.dat(given, size=12))
    assert "ends after its header" in refusal(read_dat, b"% Version 2\n")


def _lz4(raw: bytes) -> bytes:
    frame = pytest.importorskip("lz4.frame")
    return bytes(frame.compress(raw))


def _zstd(raw: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    return bytes(zstandard.ZstdCompressor().compress(raw))


@pytest.mark.parametrize(("code", "pack"), [(1, _lz4), (2, _lz4), (3, _zstd), (4, _zstd)])
def test_aedat4_packets_are_unpacked(code: int, pack: Callable[[bytes], bytes], made: Made) -> None:
    given = made.some(20)
    raw = made.aedat4(given, code, pack)
    assert events(read_aedat4, raw) == given
    assert events(read_aedat4, made.aedat4(given, code, pack, table=False)) == given
    assert "cannot be unpacked" in refusal(read_aedat4, made.aedat4(given, code, lambda raw: bytes(range(1, 40))))


@pytest.mark.parametrize("code", [1, 3])
def test_aedat4_without_its_extra_says_what_to_install(code: int, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def importing(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] in ("lz4", "zstandard"):
            raise ImportError(name)
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.split(".")[0] in ("lz4", "zstandard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", importing)
    assert "pip install 'neurozoo-toolkit[aedat4]'" in refusal(read_aedat4, made.aedat4([], code))


def test_aedat4_that_makes_no_sense(made: Made) -> None:
    raw = made.aedat4(made.some(4))
    at = raw.index(b"EVTS") - 4
    assert "announces 4294967295 events" in refusal(read_aedat4, raw[: at + 24] + b"\xff" * 4 + raw[at + 28 :])
    assert "points outside" in refusal(read_aedat4, raw[:at] + b"\xff\xff\xff\x7f" + raw[at + 4 :])
    assert "compression 9" in refusal(read_aedat4, made.aedat4([], 9))
    assert "AEDAT 4.0" in refusal(read_aedat4, b"#!AER-DAT2.0\r\n" + bytes(50))
    assert "damaged" in refusal(read_aedat4, raw[:14] + b"\xff\xff\xff\xff" + raw[18:])


def test_hostile_counts_take_little_memory(made: Made) -> None:
    hostile = {
        read_aedat3: made.aedat3_header + struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, 1, 2**25, 1),
        read_aedat4: b"#!AER-DAT4.0\r\n" + struct.pack("<I", 2**26),
        read_dat: b"%" * 2**21,
    }
    tracemalloc.start()
    try:
        for reader, raw in hostile.items():
            refusal(reader, raw)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_bytes_give_events_or_one_line(name: str, made: Made, data: st.DataObject) -> None:
    raw = bytearray(getattr(made, name)(made.some(8)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    problem = ""
    try:
        for block in FORMATS[name](io.BytesIO(bytes(raw)), "a file"):
            assert len(block.t) == len(block.x)
    except DataError as error:
        problem = str(error)
    assert len(problem.splitlines()) <= 1


def camera(*given: tuple[int, int, int, int]) -> list[Events]:
    return [Events(*(np.array(column, np.int64) for column in zip(*given, strict=True)))]


def test_rows_are_times_and_flat_addresses() -> None:
    rows = event_rows(camera((7, 2, 1, 0), (9, 0, 0, 1)), (2, 3, 4), "a file", from_first=False)
    assert rows.dtype == np.int32
    assert rows.tolist() == [[7, 1 * 4 + 2], [9, 1 * 12]]
    assert event_rows(camera((7, 2, 1, 0)), (2, 3, 4), "a file", from_first=True).tolist() == [[0, 6]]
    assert event_rows([], (2, 3, 4), "a file", from_first=True).shape == (0, 2)
    channels = [Events(np.array([1, 2]), np.array([5, 0]))]
    assert event_rows(channels, (6,), "a file", from_first=False).tolist() == [[1, 5], [2, 0]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([(0, 4, 0, 0)], "x of event 0 is 4, and the sensor has 4"),
        ([(0, 0, 0, 0), (0, 0, 3, 0)], "y of event 1 is 3"),
        ([(0, 0, -1, 0)], "y of event 0 is -1"),
        ([(0, 0, 0, 2)], "p of event 0 is 2"),
        ([(5, 0, 0, 0), (4, 0, 0, 0)], "the times fall 1 times, first at event 1, from 5 to 4.*--unordered sort"),
        ([(-1, 0, 0, 0)], "the first event is at -1"),
        ([(0, 0, 0, 0), (3, 0, 0, 0), (2**40, 0, 0, 0)], "its clock jumps after event 1, from 3 to 1099511627776"),
        ([(0, 0, 0, 0)] * 9, "more than 8 events"),
    ],
)
def test_events_that_are_refused(given: list[tuple[int, int, int, int]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        event_rows(camera(*given), (2, 3, 4), "a file", from_first=False, most=8)


def test_unordered_events_are_sorted_on_request_and_equal_times_keep_their_order() -> None:
    given = camera((5, 0, 0, 0), (4, 1, 0, 0), (5, 2, 0, 0), (4, 3, 0, 0))
    rows = event_rows(given, (2, 3, 4), "a file", from_first=False, unordered="sort")
    assert rows.tolist() == [[4, 1], [4, 3], [5, 0], [5, 2]]


def test_a_camera_needs_y_and_polarity() -> None:
    with pytest.raises(DataError, match="no y or no polarity"):
        event_rows([Events(np.array([1]), np.array([0]))], (2, 3, 4), "a file", from_first=False)
