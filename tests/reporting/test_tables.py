from __future__ import annotations

from neurozoo.reporting.tables import Table, markdown, number, plain_text, rounded

TABLE = Table("title", ["name", "count"], [["a_b", "5"], ["c|d", "1,200"]], ["a *note*"])


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    assert plain_text([TABLE, Table("end")]).splitlines() == [
        "title",
        "  name  count",
        "  a_b       5",
        "  c|d   1,200",
        "  a *note*",
        "",
        "end",
    ]


def test_markdown_shows_what_the_cells_hold() -> None:
    assert markdown([TABLE]).splitlines() == [
        "## title",
        "",
        "| name | count |",
        "| --- | --- |",
        r"| a\_b | 5 |",
        r"| c\|d | 1,200 |",
        "",
        r"- a \*note\*",
    ]


def test_a_measured_value_has_its_decimals_and_a_dash_stands_for_none() -> None:
    assert [number(value) for value in (0.0, 0.12345, float("nan"), None)] == ["0.0000", "0.1235", "-", "-"]
    assert number(0.5, 3, signed=True) == "+0.500"


def test_an_exact_0_is_seen_in_an_error() -> None:
    assert [rounded(value) for value in (0.0, 1e-12, 0.12345, float("nan"))] == ["0", "1e-12", "0.12", "nan"]


def test_cells_stay_in_their_row() -> None:
    text = plain_text([Table("t", ["a", "b"], [["one\ntwo", "\x1b[2J"]])])
    assert text.splitlines() == ["t", "  a         b", "  one\\ntwo  \\x1b[2J"]
    assert markdown([Table("t", ["a"], [["one\ntwo"]])]).splitlines()[-1] == "| one two |"
