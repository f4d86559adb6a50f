"""The one error inside the process that reads: what is wrong with the file, without the file's name."""

from __future__ import annotations

__all__ = ["RefusedError", "shown"]


class RefusedError(Exception):
    """Why a file is not read; the reader puts the file's name in front."""


def shown(text: object, length: int = 80) -> str:
    """A name out of the file, fit for one line of a message: plain characters, and not too many."""
    plain = ascii(str(text))[1:-1]
    return plain if len(plain) <= length else plain[: length - 3] + "..."
