"""Text from other people's files: decoded by one rule, turned into names by one rule, and shown without effects."""

from __future__ import annotations

import codecs
import math
import numbers
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from neurozoo.errors import DataError, UserError
from neurozoo.files.opening import LARGEST, read_bytes

__all__ = [
    "as_text", "as_texts", "decode_text", "for_spreadsheet", "is_litter", "printable", "read_text", "text_lines",
    "without_secrets",
]  # fmt: skip

# UTF-32 before UTF-16, whose mark is its beginning.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LITTER = frozenset(
    {".DS_Store", ".Spotlight-V100", ".Trashes", ".fseventsd", ".ipynb_checkpoints", "__MACOSX", "lost+found"}
    | {"Thumbs.db", "desktop.ini", "Desktop.ini", "$RECYCLE.BIN", "System Volume Information"}
)
_LITTER_PREFIXES = ("._", ".nfs", ".fuse_hidden", ".~lock.")
# Control characters except tab and newline, line separators, marks of direction, halves of character pairs.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 8
"""Characters; shorter values are words such as ``none``, which may stand in any text."""
_USER_OF_ADDRESS = re.compile(r"(\w+://)[^\s/@]+@")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def decode_text(raw: bytes, where: str | Path, *, error: type[UserError] = DataError) -> str:
    r"""Decode a file's UTF-8, with or without a byte order mark, or UTF-16 or -32 with one; line ends become ``\n``.

    Raises:
        UserError: Of class ``error``: it is not such text; names the line and the byte.
    """
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    text = _decoded(raw, encoding, where, 1, error)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(raw: bytes, encoding: str, where: str | Path, first_line: int, error: type[UserError]) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as reason:
        line = first_line + raw.count(b"\n", 0, reason.start)
        problem = f"byte 0x{raw[reason.start]:02x} is not {encoding.removesuffix('-sig').upper()}"
        raise error(f"{where}:{line}: {problem}; save the file as UTF-8") from reason


def read_text(path: Path, *, limit: int = LARGEST) -> str:
    """Read a file by :func:`~neurozoo.files.opening.read_bytes` and decode it by :func:`decode_text`.

    Raises:
        DataError: It cannot be read, is larger than ``limit`` bytes, or is not text.
    """
    return decode_text(read_bytes(path, limit=limit), path)


def text_lines(file: BinaryIO, where: str | Path) -> Iterator[str]:
    """Yield the lines of an open file as they come, decoded as :func:`decode_text` does; each may have a mark.

    Raises:
        DataError: A line is not text; names its number.
    """
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            # Line ends of UTF-16 have two bytes, so that the file is decoded as a whole.
            # Not splitlines, which also splits at characters that may stand in a line, such as U+2028.
            yield from decode_text(line + file.read(), where).removesuffix("\n").split("\n")
            return
        yield _decoded(line, "utf-8-sig", where, number, DataError)


def as_text(value: Any, where: str, *, error: type[UserError] = DataError) -> str:
    """Return a name (an id, a label) as text: text as it is, bytes decoded as UTF-8, numbers by their digits.

    The value from a file is Python's or numpy's, also an array of no axis; ``where`` names its location in messages.

    Raises:
        UserError: Of class ``error``: it is None, true or false, not finite, empty, a list or another object, or
            holds half of a character pair or bytes that are not UTF-8.
    """
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as reason:
            raise error(f"{where}: {value!r} is not UTF-8; write names as UTF-8 text") from reason
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if isinstance(value, numbers.Integral):
            return str(int(value))
        if math.isfinite(value):
            number = float(value)
            return str(int(number)) if number.is_integer() else repr(number)
    if not isinstance(value, str):
        raise error(f"{where}: found {_short(value)}; a name is text or a number")
    if not value:
        raise error(f"{where}: found an empty text; a name has at least one character")
    try:
        value.encode()
    except UnicodeEncodeError as reason:
        raise error(f"{where}: {value!r} holds half of a character pair and is not text; correct the name") from reason
    return value


def as_texts(values: Any, where: str) -> list[str]:
    """Return names given as a list or an array ``[N]``, each by :func:`as_text`.

    Raises:
        DataError: It has not one axis, or a value is not a name; names its position from 0.
    """
    shape = getattr(values, "shape", None)
    if shape is not None and len(shape) != 1:
        raise DataError(f"{where}: has shape {list(shape)}; names are a list [N]")
    if shape is None and (isinstance(values, str | bytes) or not isinstance(values, Sequence)):
        raise DataError(f"{where}: found {_short(values)}; names are a list [N]")
    return [as_text(value, f"{where}[{index}]") for index, value in enumerate(values)]


def is_litter(name: str) -> bool:
    """Return whether a file or folder is one that systems and programs leave unasked, such as ``.DS_Store``."""
    return name in _LITTER or name.startswith(_LITTER_PREFIXES)


def printable(text: str) -> str:
    r"""Return ``text`` with control characters and marks of direction as escapes (``\x1b``, ``\u202e``).

    Tabs and newlines stay. Text of files passes here before it reaches a terminal, where such characters set titles,
    change colours and overwrite lines.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def without_secrets(text: str) -> str:
    """Return ``text`` with ``***`` for passwords in addresses, and for the values of environment variables that hold
    keys by their name (``KEY``, ``TOKEN``, ``SECRET``, ``PASSWORD``, ``CREDENTIAL``)."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET.search(name):
            text = text.replace(value, "***")
    return _USER_OF_ADDRESS.sub(r"\1***@", text)


def for_spreadsheet(cell: str) -> str:
    """Return a CSV cell that no spreadsheet takes for a formula: an apostrophe precedes ``=``, ``+``, ``-``, ``@``.

    Numbers stay as they are.
    """
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} and not _NUMBER.fullmatch(cell) else cell


def _short(value: Any) -> str:
    text = repr(value) if value is None or isinstance(value, bool | float | list | tuple | dict) else ""
    return text if 0 < len(text) <= 60 else f"a {type(value).__name__}"
