"""Download one file over HTTP: resumes an interrupted transfer, and keeps only complete files.

Received bytes are kept in ``NAME.part``, and the server's description of the file in ``NAME.part.json``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import requests

from neurozoo.errors import FetchError
from neurozoo.files.writing import write_whole

__all__ = ["Transfer", "remote_size"]

_PIECE = 1 << 16
"""Bytes; an incomplete piece is lost."""
_TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and for each piece."""
# Identity: the bytes as stored, so that lengths and ranges refer to the same bytes.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "neurozoo"}
_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each retry; a try that receives bytes restarts the sequence."""
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class _Remote:
    """A server's description of a file, which identifies the file when a transfer resumes.

    Attributes:
        url: Its address.
        size: In bytes; None if the server does not give it.
        condition: Strong entity tag or time of modification, the value for ``If-Range``; empty if there is neither.
    """

    url: str
    size: int | None
    condition: str


class _InterruptedError(Exception):
    """A try failed in a way that a retry may cure."""


@dataclass
class Transfer:
    """Downloads one file.

    Attributes:
        url: Its address.
        part: Path of the received bytes.
        check: Raises an error if the complete file has the wrong content.
        on_progress: Called after each piece with the bytes received, and the size if the server gives it.
        expected: Size in bytes from :func:`remote_size`; None if unknown.
        wait: Waits some seconds.
    """

    url: str
    part: Path
    check: Callable[[Path], None]
    on_progress: Callable[[int, int | None], None]
    expected: int | None
    wait: Callable[[float], None]

    @property
    def _description(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    @property
    def received(self) -> int:
        """Bytes received so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def run(self) -> None:
        """Download until ``part`` is the complete file.

        Raises:
            FetchError: The download failed, and the received bytes are kept; or the file has the wrong content, and
                nothing is kept.
        """
        waits = list(_WAITS)
        while True:
            before = self.received
            try:
                self._try()
                break
            except (requests.RequestException, _InterruptedError) as error:
                if self.received > before:
                    waits = list(_WAITS)
                if not waits:
                    raise self._failure(self.url, _reason(error)) from error
                self.wait(waits.pop(0))
            except OSError as error:  # the disk; requests' own errors are caught above
                raise self._failure(self.part, error.strerror or str(error)) from error
        self._accept()
        self._description.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what was received."""
        self.part.unlink(missing_ok=True)
        self._description.unlink(missing_ok=True)

    def _failure(self, where: object, reason: str) -> FetchError:
        kept = f"{self.received:,} bytes are kept, and the same command continues from there"
        return FetchError([f"{where}: {reason}; {kept}"])

    def _try(self) -> None:
        """Download once, from the end of the part that is there."""
        known = self._resumable()
        start = self.received if known is not None else 0
        resume = {"Range": f"bytes={start}-", "If-Range": known.condition} if known is not None else {}
        with requests.get(self.url, headers=_HEADERS | resume, stream=True, timeout=_TIMEOUT) as response:
            status = f"the server answers {response.status_code} {response.reason}"
            if response.status_code == 416:
                self._restart("the server has no more than was received")
            if response.status_code in _TEMPORARY:
                raise _InterruptedError(status)
            if not response.ok:
                raise FetchError([f"{self.url}: {status}; try later, or download it by hand"])
            if "text/html" in response.headers.get("Content-Type", ""):
                raise FetchError(
                    [f"{self.url}: the server sent a web page and not the file; open it in a browser to see why"]
                )
            if response.status_code == 206:
                if known is None or not _continues(response.headers, start, known):
                    self._restart("the server sent another range than requested")
                size = known.size
            else:
                self.discard()
                start, size = 0, _length(response.headers)
                remote = _Remote(self.url, size, _condition(response.headers))
                write_whole(self._description, json.dumps(asdict(remote)).encode())
            self._receive(response, start, size)

    def _receive(self, response: requests.Response, done: int, size: int | None) -> None:
        self.on_progress(done, size)
        with self.part.open("ab") as file:
            try:
                for piece in response.iter_content(_PIECE):
                    file.write(piece)
                    done += len(piece)
                    self.on_progress(done, size)
            finally:
                file.flush()
                os.fsync(file.fileno())
        if size is not None and done < size:
            raise _InterruptedError(f"the transfer ended after {done:,} of {size:,} bytes")
        if size is not None and done > size:
            self._restart(f"the server sent more than the {size:,} bytes it announced")

    def _resumable(self) -> _Remote | None:
        """Return the description of the part that is there, if a transfer can resume it."""
        try:
            remote = _Remote(**json.loads(self._description.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return remote if remote.url == self.url and remote.condition and self.received else None

    def _accept(self) -> None:
        """Check the size and content of the complete file."""
        problem = ""
        if self.expected is not None and self.received != self.expected:
            problem = f"the server announced {self.expected:,} bytes and sent {self.received:,}"
        else:
            try:
                self.check(self.part)
            except Exception as error:
                # The part is deleted: its path and the advice to download it again would mislead.
                problem = str(error).replace(str(self.part), "the file").replace("; download it again", "")
        if problem:
            self.discard()
            raise FetchError([f"{self.url}: {problem}; nothing of it is kept: try later, or ask its publisher"])

    def _restart(self, reason: str) -> NoReturn:
        self.discard()
        raise _InterruptedError(f"{reason}, so the download restarts")


def remote_size(url: str) -> int | None:
    """Ask for a file's size in bytes; None if the server does not give it.

    Raises:
        FetchError: The server cannot be reached, or has no such file.
    """
    try:
        response = requests.head(url, headers=_HEADERS, timeout=_TIMEOUT, allow_redirects=True)
    except requests.RequestException as error:
        raise FetchError([f"{url}: {_reason(error)}"]) from error
    if response.status_code in (404, 410):
        raise FetchError([f"{url}: the server answers {response.status_code} {response.reason}"])
    return _length(response.headers) if response.ok else None


def _continues(headers: Mapping[str, str], start: int, known: _Remote) -> bool:
    """Return whether an answer 206 holds the requested range of the same file."""
    unit, _, content = headers.get("Content-Range", "").partition(" ")
    span, _, total = content.partition("/")
    same_file = known.size is None or total in ("*", str(known.size))
    return unit == "bytes" and span.partition("-")[0] == str(start) and start > 0 and same_file


def _condition(headers: Mapping[str, str]) -> str:
    etag = headers.get("ETag", "")
    # A weak tag does not promise equal bytes.
    return ("" if etag.startswith("W/") else etag) or headers.get("Last-Modified", "")


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _reason(error: Exception) -> str:
    """Return the cause of a failed try, in one line."""
    if isinstance(error, requests.ConnectTimeout | requests.ReadTimeout):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was interrupted"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
