"""MATLAB files: their numbers are those that scipy reads; others, damaged and hostile ones are refused in a line."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from neurozoo.data.untrusted.mat import parse_mat, read_mat
from neurozoo.errors import DataError

ARRAYS: dict[str, Any] = {
    "doubles": np.linspace(-2.5, 7.5, 24).reshape(2, 3, 4),
    "small": np.arange(6.0).reshape(2, 3),
    "x": np.array([[7]], np.uint8),
    "singles": np.array([[1.5, -2]], np.float32),
    "bits": np.array([[True, False]]),
    "none": np.zeros((0, 3)),
    **{
        f"ints{i}": np.array([[1], [-2 if kind.startswith("i") else 3]], kind)
        for i, kind in enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"))
    },
}
OTHERS: dict[str, Any] = {
    "text": "hello",
    "structure": {"a": 1.0},
    "cell": np.array([1, "a"], object),
}


def saved(arrays: dict[str, Any], **options: Any) -> bytes:
    made = io.BytesIO()
    scipy.io.savemat(made, arrays, **options)
    return made.getvalue()


def matrix(
    name: bytes = b"x", flags: int = 6, dims: tuple[int, ...] = (1, 1), data: bytes = bytes(8), kind: int = 9
) -> bytes:
    """A file of one matrix, whatever its header says."""

    def element(code: int, content: bytes) -> bytes:
        return struct.pack("<II", code, len(content)) + content + bytes(-len(content) % 8)

    parts = element(6, struct.pack("<II", flags, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    parts += element(1, name) + element(kind, data)
    return saved({})[:128] + element(14, parts)


@pytest.mark.parametrize("compressed", [False, True])
def test_numbers_are_those_that_scipy_reads(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.mat"
    path.write_bytes(saved(ARRAYS | OTHERS, do_compression=compressed))
    read, expected = read_mat(path), scipy.io.loadmat(path)
    assert set(read) == set(ARRAYS), "texts, structures and cells are left out"
    for name, array in read.items():
        assert array.shape == expected[name].shape
        assert array.tolist() == expected[name].tolist(), name
    assert read["doubles"].dtype == np.float64
    assert read["ints0"].dtype == np.int8
    assert read["bits"].dtype == np.bool_
    assert set(read_mat(path, ["small", "not there"])) == {"small"}


def test_doubles_that_are_stored_as_bytes_are_doubles() -> None:
    raw = matrix(dims=(1, 3), data=b"\1\2\3", kind=2)
    assert parse_mat(raw, "a file")["x"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "cut, or of no version"),
        (b"MATLAB 7.3 MAT-file" + bytes(600), "7.3 is not read; save it with -v7"),
        (saved({})[:126] + b"MI", "big-endian"),
        (saved(ARRAYS)[:-3], "reaches beyond its end"),
        (matrix(dims=(2**31 - 1, 2**31 - 1)), r"says it is \[2147483647, 2147483647\]"),
        (matrix(dims=(-1, -8)), "has the axes"),
        (matrix(dims=(8,)), "has the axes"),
        (matrix(dims=(1,) * 40), "has the axes"),
        (matrix(flags=6 | 0x0800), "complex"),
        (matrix(kind=77), "values of type 77"),
        (matrix(name=b"\xff"), "damaged"),
        (saved({})[:128] + struct.pack("<II", 15, 4) + b"abcd", "damaged"),
        (saved({})[:128] + struct.pack("<II", 15, 8) + zlib.compress(b""), "an element is empty"),
        (saved({})[:128] + struct.pack("<II", 14, 2**32 - 1), "reaches beyond its end"),
    ],
)
def test_what_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        parse_mat(raw, "a file")
    assert str(error.value).startswith("a file")
    assert len(str(error.value).splitlines()) == 1


def test_what_unfolds_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_READ_CONTENT_GIB", "0.001")
    bomb = saved({"x": np.zeros((1000, 10_000))}, do_compression=True)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="NEUROZOO_READ_CONTENT_GIB"):
            parse_mat(bomb, "a file")
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    widened = matrix(dims=(1, 200_000), data=bytes(200_000), kind=2)
    packed = zlib.compress(widened[128:])
    with pytest.raises(DataError, match="'x' is larger than is allowed"):
        parse_mat(widened[:128] + struct.pack("<II", 15, len(packed)) + packed, "a file")


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes_give_arrays_or_one_line(data: st.DataObject) -> None:
    raw = bytearray(saved({"small": ARRAYS["small"], "x": ARRAYS["x"]}))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(124, len(raw) - 1))] = data.draw(st.integers(0, 255))
    problem = ""
    try:
        parse_mat(bytes(raw[: data.draw(st.integers(0, len(raw)))]), "a file")
    except DataError as error:
        problem = str(error)
    assert len(problem.splitlines()) <= 1
