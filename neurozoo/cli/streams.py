"""The standard streams of a command: present even if closed, UTF-8 for data, and text for people without effects."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, TextIO

from neurozoo.errors import UserError
from neurozoo.files.text import printable, text_lines

__all__ = [
    "data_input", "data_output", "discard_output", "documents_alone", "present_streams", "print_document", "say",
]  # fmt: skip

_documents: TextIO | None = None
"""The output of JSON documents while all other output is sent to the error stream."""


def present_streams() -> None:
    """Replace closed streams by the null device, and escape characters that a stream's encoding lacks.

    Services and ``pythonw`` start programs without streams. A free descriptor below 3 would be given to the next file
    that is opened, and everything that libraries print would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def say(text: str, *, error: bool = False) -> None:
    """Print text for people; control characters and marks of direction are shown as escapes."""
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


def print_document(value: Any) -> None:
    """Print one JSON document of plain values, in ASCII."""
    print(json.dumps(value, indent=2, allow_nan=False), file=_documents or sys.stdout, flush=True)


@contextmanager
def documents_alone() -> Iterator[None]:
    """Keep the standard output for :func:`print_document`: whatever else is written to it reaches the error stream.

    This holds for libraries below Python and for child processes too. It is a no-op if ``sys.stdout`` is not the
    process's own output, such as in tests.
    """
    global _documents
    try:
        own = sys.stdout.fileno() == 1
    except (OSError, ValueError):
        own = False
    if not own:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    _documents = os.fdopen(saved, "w", encoding="utf-8", closefd=False)
    try:
        yield
    finally:
        _documents = None
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def discard_output() -> None:
    """Flush the streams; send what nobody reads to the null device, so that flushing it at exit does not fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


@contextmanager
def data_output() -> Iterator[IO[str]]:
    """Yield the standard output for data: UTF-8, without conversion of line ends, whatever the terminal's encoding."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        yield sys.stdout
        return
    sys.stdout.flush()
    file = io.TextIOWrapper(binary, encoding="utf-8", newline="")
    try:
        yield file
        file.flush()
    finally:
        with suppress(OSError):  # the output is gone; the standard output stays open
            file.detach()


def data_input() -> Iterator[str]:
    """Yield the lines of the standard input: UTF-8 as in a file, whatever the terminal's encoding.

    Raises:
        UserError: There is no standard input.
        DataError: A line is not text; names its number.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise UserError("there is no standard input to read; give a file instead of -")
    binary = getattr(sys.stdin, "buffer", None)
    if binary is None:
        yield from sys.stdin
        return
    yield from text_lines(binary, "standard input")
