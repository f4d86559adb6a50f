"""Download one file over HTTP: resumes an interrupted transfer, and delivers only complete files.

Received bytes are kept in ``NAME.part``, and the server's description of the file in ``NAME.part.json``.
:class:`Transfer` has the interface of a pooch downloader.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import requests

from neurozoo.errors import FetchError
from neurozoo.files.writing import write_whole

__all__ = ["Remote", "Transfer", "remote_size"]

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes received and the size if the server gives it."""

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
class Remote:
    """A server's description of a file, which identifies the file when a transfer resumes.

    Attributes:
        url: Its address.
        size: In bytes; None if the server does not give it.
        etag: Strong entity tag; empty if there is none.
        modified: The header ``Last-Modified``; empty if there is none.
    """

    url: str
    size: int | None = None
    etag: str = ""
    modified: str = ""

    @property
    def condition(self) -> str:
        """Value for ``If-Range``; empty if the server gave none."""
        return self.etag or self.modified


class _InterruptedError(Exception):
    """A try failed in a way that a retry may cure."""


class Transfer:
    """Downloads one file.

    Args:
        part: Path of the received bytes until the file is complete.
        check: Raises an error if the complete file has the wrong content.
        on_progress: Called after each piece.
        expected: Size in bytes from :func:`remote_size`; None if unknown.
        wait: Waits some seconds.
    """

    def __init__(
        self,
        part: Path,
        *,
        check: Callable[[Path], None],
        on_progress: OnProgress = lambda done, size: None,
        expected: int | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.part = part
        self._description = part.with_name(f"{part.name}.json")
        self._check, self._on_progress, self._expected, self._wait = check, on_progress, expected, wait

    @property
    def received(self) -> int:
        """Bytes received so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Download ``url`` to ``output_file``, complete.

        Raises:
            FetchError: The download failed, or the file has the wrong content. After a failed download the
                received bytes are kept.
        """
        waits = list(_WAITS)
        while True:
            before = self.received
            try:
                self._try(url)
                break
            except (requests.RequestException, _InterruptedError) as error:
                if self.received > before:
                    waits = list(_WAITS)
                if not waits:
                    raise FetchError([f"{url}: {_reason(error)}; {self._resume_hint()}"]) from error
                self._wait(waits.pop(0))
            except OSError as error:  # the disk; requests' own errors are caught above
                raise FetchError([f"{self.part}: {error.strerror or error}; {self._resume_hint()}"]) from error
        self._accept(url)
        os.replace(self.part, output_file)
        self._description.unlink(missing_ok=True)

    def _resume_hint(self) -> str:
        return f"{self.received:,} bytes are kept, and the same command continues from there"

    def _try(self, url: str) -> None:
        """Download once, from the end of the part that is there."""
        known = self._resumable(url)
        start = self.received if known is not None else 0
        headers = dict(_HEADERS)
        if known is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": known.condition}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            status = f"the server answers {response.status_code} {response.reason}"
            if response.status_code == 416:
                self._restart("the server has no more than was received")
            if response.status_code in _TEMPORARY:
                raise _InterruptedError(status)
            if not response.ok:
                raise FetchError([f"{url}: {status}; try later, or download it by hand"])
            if "text/html" in response.headers.get("Content-Type", ""):
                raise FetchError(
                    [f"{url}: the server sent a web page and not the file; open it in a browser to see why"]
                )
            if response.status_code == 206:
                if known is None or not _continues(response.headers, start, known):
                    self._restart("the server sent another range than requested")
                remote = known
            else:
                remote = _describe(url, response.headers)
                self._discard()
                start = 0
                write_whole(self._description, json.dumps(asdict(remote)).encode())
            self._receive(response, start, remote.size)

    def _receive(self, response: requests.Response, start: int, size: int | None) -> None:
        done = start
        self._on_progress(done, size)
        with self.part.open("ab") as file:
            try:
                for piece in response.iter_content(_PIECE):
                    file.write(piece)
                    done += len(piece)
                    self._on_progress(done, size)
            finally:
                file.flush()
                os.fsync(file.fileno())
        if size is not None and done < size:
            raise _InterruptedError(f"the transfer ended after {done:,} of {size:,} bytes")
        if size is not None and done > size:
            self._restart(f"the server sent more than the {size:,} bytes it announced")

    def _resumable(self, url: str) -> Remote | None:
        """Return the description of the part that is there, if a transfer can resume it."""
        try:
            remote = Remote(**json.loads(self._description.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return remote if remote.url == url and remote.condition and self.received else None

    def _accept(self, url: str) -> None:
        """Check the complete file.

        Raises:
            FetchError: It has the wrong size or content.
        """
        problem = ""
        if self._expected is not None and self.received != self._expected:
            problem = f"the server announced {self._expected:,} bytes and sent {self.received:,}"
        else:
            try:
                self._check(self.part)
            except Exception as error:
                # The part is deleted: its path and the advice to download it again would mislead.
                problem = str(error).replace(str(self.part), "the file").replace("; download it again", "")
        if problem:
            self._discard()
            raise FetchError([f"{url}: {problem}; nothing of it is kept: try later, or ask its publisher"])

    def _restart(self, reason: str) -> NoReturn:
        self._discard()
        raise _InterruptedError(f"{reason}, so the download restarts")

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self._description.unlink(missing_ok=True)


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


def _continues(headers: Mapping[str, str], start: int, known: Remote) -> bool:
    """Return whether an answer 206 holds the requested range of the same file."""
    unit, _, content = headers.get("Content-Range", "").partition(" ")
    span, _, total = content.partition("/")
    same_file = known.size is None or total in ("*", str(known.size))
    return unit == "bytes" and span.partition("-")[0] == str(start) and start > 0 and same_file


def _describe(url: str, headers: Mapping[str, str]) -> Remote:
    etag = headers.get("ETag", "")
    # A weak tag does not promise equal bytes.
    return Remote(url, _length(headers), "" if etag.startswith("W/") else etag, headers.get("Last-Modified", ""))


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
