"""Transcripts to words."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.data.importers.mosei_text import TokenRule, tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't, well: it's (umm) fine.", ["i", "do", "n't", "well", "it", "'s", "umm", "fine"]),
        ("CAN'T won\N{RIGHT SINGLE QUOTATION MARK}t", ["ca", "n't", "wo", "n't"]),
        ("rock'n'roll in 1985!", ["rock", "'n", "'roll", "in", "1985"]),
        ("well-made snake_case", ["well", "made", "snake", "case"]),
        (" ... ", []),
        ("naïve Straße", ["naïve", "straße"]),
    ],
)
def test_at_apostrophes(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


def test_at_white_space_punctuation_stays() -> None:
    assert tokenize("Well, it's\n fine. ", "white-space") == ["well,", "it's", "fine."]


@given(text=st.text(), rule=st.sampled_from(get_args(TokenRule)))
def test_words_are_parts_of_the_text_in_its_order(text: str, rule: TokenRule) -> None:
    rest = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for word in tokenize(text, rule):
        word = word.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        assert word
        assert word in rest
        rest = rest[rest.index(word) + len(word) :]
