"""JSON of strangers is read strictly, and what is wrong with it is one error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.errors import DataError
from neurozoo.files.json_text import DEEPEST, parse_json, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value), "here") == value
    assert parse_json(json.dumps(value).encode("utf-8-sig"), "here") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"),
        ("[NaN]", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("1e400", "1e400 is too large"),
        ("1" + "0" * 5000, "has 5,001 digits"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "nested deeper"),
        ("{'a': 1}", "Expecting property name"),
        ("", "Expecting value"),
        ("1 2", "Extra data"),
    ],
)
def test_anything_else_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DataError, match=f"here: cannot be read as JSON: .*{problem}"):
        parse_json(text, "here")


def test_the_deepest_that_is_allowed() -> None:
    assert parse_json("[" * DEEPEST + "]" * DEEPEST, "here")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.write_bytes(b"[" + b" " * 100 + b"]")
    assert read_json(path) == []
    with pytest.raises(DataError, match="more than 100 bytes"):
        read_json(path, limit=100)
