"""Windows of PhysioNet records: both formats to the bit, annotations, and damaged files in one line."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.importers.wfdb_files import open_record, read_annotations, read_millivolts
from neurozoo.data.store import Store
from neurozoo.errors import DataError

CODES = {"N": 1, "V": 5, "~": 14, "+": 28}


def packed_212(values: Sequence[int]) -> bytes:
    """Two values in three bytes, in two's complement of 12 bits; an odd last one takes two."""
    found = bytearray()
    for i in range(0, len(values), 2):
        first = values[i] & 4095
        if i + 1 == len(values):
            found += bytes([first & 255, first >> 8])
        else:
            second = values[i + 1] & 4095
            found += bytes([first & 255, first >> 8 | second >> 8 << 4, second & 255])
    return bytes(found)


def annotations(*beats: tuple[int, str]) -> bytes:
    words, before = b"", 0
    for time, symbol in beats:
        step = time - before
        if step > 1023:
            words += struct.pack("<HHH", 59 << 10, step >> 16, step & 65535)
            step = 0
        words += struct.pack("<H", CODES[symbol] << 10 | step)
        before = time
    return words + b"\0\0"


def write(
    folder: Path, name: str, values: Any, beats: Sequence[tuple[int, str]] = (), *, format: int = 212, rate: int = 100
) -> None:
    folder.mkdir(exist_ok=True)
    values = np.asarray(values)
    flat = values.reshape(-1).tolist()
    raw = packed_212(flat) if format == 212 else struct.pack(f"<{len(flat)}h", *flat)
    (folder / f"{name}.dat").write_bytes(raw)
    lines = [f"{name} {values.shape[1]} {rate} {len(values)}", "# a comment"]
    for lead in range(values.shape[1]):
        total = int(values[:, lead].sum()) % 65536
        total -= 65536 if total >= 32768 else 0
        lines.append(f"{name}.dat {format} 200 11 1024 {values[0, lead]} {total} 0 L{lead}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.atr").write_bytes(annotations(*beats))


def wave(samples: int, number: int = 0) -> Any:
    """SYNTHETIC: two leads; the first counts from the record's number."""
    i = np.arange(samples)
    return np.stack([(i + 100 * number) % 2000 - 1000, -(i % 7)], axis=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three records of 400 samples with beats at the same places."""
    for number in range(3):
        beats = [(5, "N"), (100, "N"), (150, "~"), (200, "V"), (300, "N"), (399, "V")]
        write(tmp_path / "in", f"r{number}", wave(400, number), beats, format=16 if number == 1 else 212)
    return tmp_path / "in"


@pytest.mark.parametrize("format", [16, 212])
@pytest.mark.parametrize("samples", [1, 4, 5])
def test_samples_of_both_formats(tmp_path: Path, format: int, samples: int) -> None:
    ends = np.array([[-2047, 2047, 0], [-1, 1, 1024], [5, -5, 77], [8, 9, -10], [3, 2, 1]])[:samples]
    write(tmp_path, "a", ends, format=format)
    record = open_record(tmp_path / "a.hea")
    assert (record.rate, record.length, record.leads) == (100.0, samples, ("L0", "L1", "L2"))
    np.testing.assert_array_equal(read_millivolts(record), ((ends - 1024) / 200).astype(np.float32))


def test_the_first_bytes_of_a_well_known_record(tmp_path: Path) -> None:
    """Record 100 of MIT-BIH begins with the ADC values 995 and 1011, and a beat after the rhythm's mark."""
    leads = ["100.dat 212 200 11 1024 995 995 0 MLII", "100.dat 212 200 11 1024 1011 1011 0 V5"]
    (tmp_path / "100.hea").write_text("\n".join(["100 2 360 1", *leads]))
    (tmp_path / "100.dat").write_bytes(bytes.fromhex("e333f3"))
    (tmp_path / "100.atr").write_bytes(bytes.fromhex("1270 03fc 284e0000 3b04 0000"))
    record = open_record(tmp_path / "100.hea")
    np.testing.assert_allclose(read_millivolts(record), [[-0.145, -0.065]], rtol=1e-6)
    assert list(read_annotations(tmp_path / "100.atr")) == [(18, "+"), (77, "N")]


def test_missing_samples_gains_and_baselines(tmp_path: Path) -> None:
    (tmp_path / "a.hea").write_text("a 2 500 2\na.dat 16 100(10)/mV 16 0\na.dat 16 0 16 5\n")
    (tmp_path / "a.dat").write_bytes(struct.pack("<4h", 10, 5, -(2**15), 205))
    found = read_millivolts(open_record(tmp_path / "a.hea"))
    np.testing.assert_array_equal(found, np.array([[0, 0], [np.nan, 1]], np.float32))


def test_a_window_around_each_beat(folder: Path, tmp_path: Path) -> None:
    assert detect_format(folder).format == "wfdb"
    given = {"window": 0.4, "train": ["r0"], "valid": ["r1"], "test": ["r2"]}
    store = import_data("wfdb", folder, tmp_path / "store", **given)
    assert store.description.signals["ecg"] == SignalShape((2,), 40, "float32", False, 0.01)
    assert store.description.task.outputs == ("N", "V")
    assert store.description.splits == {"train": 3, "valid": 3, "test": 3}
    assert store.description.origin["left_out"] == 6
    for number, split in enumerate(("train", "valid", "test")):
        view = store.split(split)
        assert view.ids == tuple(f"r{number}[{start}]" for start in (80, 180, 280))
        assert view.target.tolist() == [0, 1, 0]
        x = view.batch(torch.arange(3)).signals["ecg"].values.numpy()
        whole = ((wave(400, number) - 1024) / 200).astype(np.float32)
        np.testing.assert_array_equal(x, np.stack([whole[start : start + 40] for start in (80, 180, 280)]))


def test_classes_leads_and_drawn_records(folder: Path, tmp_path: Path) -> None:
    store = import_data("wfdb", folder, tmp_path / "store", window=0.4, classes=["odd=V", "usual=N"], leads=["L1"])
    assert store.description.task.outputs == ("odd", "usual")
    assert store.description.signals["ecg"].shape == (1,)
    records = {split: {id.partition("[")[0] for id in store.split(split).ids} for split in store.description.splits}
    assert sorted(map(len, records.values())) == [1, 1, 1]
    assert set.union(*records.values()) == {"r0", "r1", "r2"}


def test_windows_of_a_table(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("record,start,label,split\nr0,0.5,a,train\nr1,0,b,val\nr2,3.6,a,test\nr2,3.7,a,test\n")
    store = import_data("wfdb", folder, tmp_path / "store", window=0.4, table=str(table))
    assert {split: store.split(split).ids for split in store.description.splits} == {
        "train": ("r0[50]",),
        "valid": ("r1[0]",),
        "test": ("r2[360]",),
    }
    table.write_text("record,label\nr0,a\nr1,b\nr2,a\n")
    whole = import_data("wfdb", folder, tmp_path / "whole", window=1.5, table=str(table))
    assert sum(whole.description.splits.values()) == 6
    assert isinstance(whole, Store)


HEADER = "a 1 100 4\na.dat 16 200 11 0 1 10 0 L\n"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "its first line is no record line"),
        ("a/3 1 100 4\n", "is of several segments, which are not read"),
        ("a 2 100 4\na.dat 16\n", "says 2 leads and describes 1"),
        ("a 0 100 4\na.dat 16\n", "says 0 leads"),
        ("a 2 100 4\na.dat 16\nb.dat 16\n", r"has the files a\.dat, b\.dat of format 16; one file"),
        ("a 1 100 4\na.dat 80\n", "of format 80; one file of format 16 or 212 is read"),
        ("a 1 100 4\na.dat 212x2\n", "has the format '212x2'; 16 and 212 are read"),
        ("a 1 100 4\n../a.dat 16\n", r"'\.\./a\.dat' is not the name of a file next to it"),
        ("a 1 0 4\na.dat 16\n", "the rate '0' is no number"),
        ("a 1 100 5\na.dat 16\n", r"a\.dat has 4 samples of 1 leads, and a\.hea says 5; it is cut off"),
        ("a 1 100 4\nb.dat 16\n", r"b\.dat cannot be read"),
        ("a 1 100 4\na.dat 16 x\n", "has the gain 'x'"),
        ("a 1 100 4\na.dat 16 200 11 zero\n", "has 'zero' where a whole number belongs"),
        (HEADER.replace(" 10 0 L", " 11 0 L"), "the sum of lead L is not the header's"),
    ],
)
def test_malformed_headers(tmp_path: Path, header: str, said: str) -> None:
    (tmp_path / "a.hea").write_text(header)
    (tmp_path / "a.dat").write_bytes(struct.pack("<4h", 1, 2, 3, 4))
    with pytest.raises(DataError, match=said) as error:
        read_millivolts(open_record(tmp_path / "a.hea"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("raw", [b"", b"\x3b\x04", annotations((5, "N"), (5000, "V"))[:-4], b"\x00\xec\xff"])
def test_annotations_that_are_cut_off(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.atr").write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.atr ends before its end mark; it is cut off"):
        list(read_annotations(tmp_path / "a.atr"))


@given(st.binary(max_size=60), st.integers(0, 80))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, raw: bytes, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "a.hea"
    path.with_suffix(".atr").write_bytes(raw)
    path.with_suffix(".dat").write_bytes(raw)
    path.write_bytes((HEADER.encode()[:cut] + raw)[:200])
    with suppress(DataError):
        assert all(time >= 0 for time, _ in read_annotations(path.with_suffix(".atr")))
    with suppress(DataError):
        record = open_record(path)
        assert read_millivolts(record).shape == (record.length, len(record.leads))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"annotator": "qrs"}, r"there is no .*r0\.qrs, the annotations of r0; give --annotator"),
        ({"leads": ["MLII"]}, r"r0\.hea has no lead 'MLII'; it has: L0, L1"),
        ({"classes": ["N"]}, r"--classes 'N': give NAME=SYMBOLS"),
        ({"classes": ["a=N", "b=N"]}, r"--classes 'b=N'"),
        ({"classes": ["a=%"]}, r"--classes 'a=%'"),
        ({"window": 0.001}, r"a window of 0\.001 s has no sample at 100 samples a second"),
        ({"window": 9.0}, r"no window of 9 s has a label; 15 were left out"),
        ({"test": ["r9"]}, r"no sample has the record 'r9' of --test; there are: r0, r1, r2"),
    ],
)
def test_options_that_do_not_fit(folder: Path, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        import_data("wfdb", folder, tmp_path / "store", **{"window": 0.4, **given})
    assert not (tmp_path / "store").exists()


def test_records_of_different_rates(folder: Path, tmp_path: Path) -> None:
    write(folder, "r9", wave(400), [(100, "N")], rate=250)
    with pytest.raises(DataError, match=r"r9\.hea has 250 samples a second and .*r0\.hea 100; import them apart"):
        import_data("wfdb", folder, tmp_path / "store")
