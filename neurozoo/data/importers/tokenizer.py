"""Transcripts to words, by rules that have a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, get_args

__all__ = ["TOKEN_RULES", "TokenRule", "tokenize"]

TokenRule = Literal["apostrophes", "white-space"]
TOKEN_RULES: tuple[TokenRule, ...] = get_args(TokenRule)

# GloVe's own training text was parted so: don't -> do n't, it's -> it 's.
_PARTS = re.compile(r"n't\b|'[^\W_]+|[^\W_]+?(?=n't\b)|[^\W_]+")


def _at_apostrophes(text: str) -> list[str]:
    return _PARTS.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


_RULES: Mapping[str, Callable[[str], list[str]]] = {"apostrophes": _at_apostrophes, "white-space": str.split}


def tokenize(text: str, rule: TokenRule = "apostrophes") -> list[str]:
    """The words of a text, in lower case and in order.

    Args:
        text: What was said.
        rule: ``apostrophes`` takes runs of letters and digits and leaves punctuation out; what
            follows an apostrophe is a word with it (``it's`` becomes ``it`` and ``'s``, ``don't``
            becomes ``do`` and ``n't``). ``white-space`` parts at white space alone, so that
            punctuation stays at its word.

    Example:
        >>> tokenize("I don't, well: it's (umm) fine.")
        ['i', 'do', "n't", 'well', 'it', "'s", 'umm', 'fine']
    """
    return _RULES[rule](text.lower())
