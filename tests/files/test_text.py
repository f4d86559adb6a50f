"""Text of other people's files: one rule for decoding, one for names, one for what reaches a terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.errors import DataError, RunError
from neurozoo.files.text import (
    as_text,
    as_texts,
    decode_text,
    for_spreadsheet,
    is_litter,
    printable,
    read_text,
    text_lines,
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_whatever_program_saved_it(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(f"größe{end}日本{end}".encode(encoding))
    assert read_text(path) == "größe\n日本\n"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"one\ntw\xff", r"list\.txt:2: byte 0xff is not UTF-8"),
        (b"\xff\xfea\x00b", r"list\.txt:1: .* is not UTF-16"),
        (b"\xed\xa0\x80", "byte 0xed is not UTF-8"),
    ],
)
def test_what_is_not_text_is_refused_with_its_line(raw: bytes, message: str) -> None:
    with pytest.raises(RunError, match=message):
        decode_text(raw, "list.txt", error=RunError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (b"a", "a"),
        (np.bytes_(b"a"), "a"),
        (np.str_("a"), "a"),
        (np.array("a"), "a"),
        (np.array(b"\xc3\xa4"), "ä"),
        (7, "7"),
        (np.int16(7), "7"),
        (7.0, "7"),
        (np.float32(0.5), "0.5"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_a_name_is_text_bytes_or_a_number(value: Any, text: str) -> None:
    assert as_text(value, "ids[0]") == text


@pytest.mark.parametrize(
    "value", [None, True, np.bool_(False), float("nan"), float("inf"), "", b"", b"\xff", ["a"], {"k": 1}, "\ud800", 1j]
)
def test_anything_else_is_no_name(value: Any) -> None:
    with pytest.raises(DataError, match=r"ids\[0\]"):
        as_text(value, "ids[0]")


@pytest.mark.parametrize("values", [np.array([["a"]]), np.array("a"), "abc", b"abc", None, {"a": 1}, 3])
def test_names_are_a_list(values: Any) -> None:
    with pytest.raises(DataError, match=r"names are a list \[N\]"):
        as_texts(values, "ids")


def test_a_wrong_name_is_shown_with_its_position() -> None:
    assert as_texts(np.array([b"a", b"b"]), "ids") == ["a", "b"]
    with pytest.raises(DataError, match=r"ids\[1\]: found None"):
        as_texts(["a", None], "ids")


@given(st.text())
def test_nothing_printable_steers_a_terminal(text: str) -> None:
    shown = printable(text)
    assert not any(
        (ord(sign) < 32 and sign not in "\t\n") or 127 <= ord(sign) < 160 or 0x202A <= ord(sign) <= 0x202E
        for sign in shown
    )
    shown.encode()
    assert shown == text or "\\" in shown


def test_escapes_are_readable() -> None:
    assert printable("\x1b]0;owned\x07 \u202egnp\x9b1m\ud800") == r"\x1b]0;owned\x07 \u202egnp\x9b1m\ud800"
    assert printable("größe\t日本\n") == "größe\t日本\n"


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-x", "@sum", "\t=1", "-1-1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert for_spreadsheet(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["-1", "+1.5", "-1e-05", ".5", "-.5", "a=1", ""])
def test_numbers_and_plain_cells_stay(cell: str) -> None:
    assert for_spreadsheet(cell) == cell


def test_litter_is_known_by_its_name() -> None:
    assert all(map(is_litter, [".DS_Store", "._x.xml", "Thumbs.db", ".ipynb_checkpoints", "desktop.ini", ".nfs0001"]))
    assert not any(map(is_litter, ["x.xml", "train.csv", ".hidden.csv", "_x.csv"]))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_an_open_file(encoding: str) -> None:
    text = "a\u2028b\r\n\né"
    assert [line.rstrip("\r\n") for line in text_lines(io.BytesIO(text.encode(encoding)), "f")] == ["a\u2028b", "", "é"]
    assert list(text_lines(io.BytesIO(b""), "f")) == []


def test_a_line_that_is_not_text_comes_after_those_that_are() -> None:
    lines = text_lines(io.BytesIO(b"a\n\xe9\n"), "f")
    assert next(lines) == "a\n"
    with pytest.raises(DataError, match=r"^f:2: byte 0xe9 is not UTF-8; save the file as UTF-8$"):
        next(lines)
