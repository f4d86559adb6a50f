"""Docstrings for the reference: Sphinx's roles become code, ``::`` a colon, and ``Example`` Google's ``Examples``."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([^`<]+)`")
BLOCK = re.compile(r"::$", re.MULTILINE)
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


def readable(text: str) -> str:
    """Return a docstring whose references are code, and whose examples are found by the parser."""
    text = ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return EXAMPLE.sub("Examples:", BLOCK.sub(":", text))


class Docstrings(Extension):
    """The extension of Griffe, which reads the sources."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
