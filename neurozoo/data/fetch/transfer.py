"""Download one file over HTTP: resumes an interrupted transfer, and keeps only complete files.

Received bytes are kept in ``NAME.part``, and the server's description of the file in ``NAME.part.json``. A server may
be hostile or broken: an answer is limited in bytes and time while it comes, its words are not shown, no encoding is
undone, and no other host is asked than the catalogue names.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from http.client import responses
from pathlib import Path
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from neurozoo.errors import FetchError
from neurozoo.files.text import printable
from neurozoo.files.writing import write_whole

__all__ = ["Transfer", "remote_size"]

_PIECE = 1 << 16
"""Bytes read at a time at most; a try that receives as many has made progress."""
_TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and without a byte."""
_ANSWER = 120.0
"""Seconds until the headers of an answer are complete, redirects included."""
_WINDOW, _SLOWEST = 60.0, 100.0
"""Seconds over which a server must send a number of bytes a second."""
_MOST = 2**38
"""Bytes of a file whose size the server does not give."""
_REDIRECTS = 5
# Identity: the bytes as stored, so that lengths and ranges refer to the same bytes.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "neurozoo"}
_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each retry; a try that receives bytes restarts the sequence."""
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class _Remote:
    """A server's description of a file, which identifies the file when a transfer resumes."""

    url: str
    size: int | None  # in bytes, if the server gives it
    condition: str  # strong entity tag or time of modification, for ``If-Range``; empty if there is neither


class _InterruptedError(Exception):
    """A try failed in a way that a retry may cure."""


@dataclass
class Transfer:
    """Downloads one file.

    ``check`` raises an error if the complete file has the wrong content; ``on_progress`` is called after each piece
    with the bytes received, and the size if the server gives it; ``wait`` waits some seconds.
    """

    url: str
    hosts: Collection[str]  # others that the server may redirect to
    part: Path  # of the received bytes
    check: Callable[[Path], None]
    on_progress: Callable[[int, int | None], None]
    expected: int | None  # size in bytes from :func:`remote_size`, if known
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
            except _InterruptedError as error:
                if self.received >= before + _PIECE:
                    waits = list(_WAITS)
                if not waits:
                    raise self._failure(self.url, str(error)) from error
                self.wait(waits.pop(0))
            except OSError as error:  # the disk: those of the network are caught where it is read
                raise self._failure(self.part, error.strerror or str(error)) from error
        self._accept()
        self._description.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what was received."""
        self.part.unlink(missing_ok=True)
        self._description.unlink(missing_ok=True)

    def _failure(self, where: object, reason: str) -> FetchError:
        kept = f"{self.received:,} bytes are kept, and the same command continues from there"
        return FetchError(f"{where}: {reason}; {kept}")

    def _try(self) -> None:
        """Download once, from the end of the part that is there."""
        known = self._resumable()
        start = self.received if known is not None else 0
        resume = {"Range": f"bytes={start}-", "If-Range": known.condition} if known is not None else {}
        with _answer("GET", self.url, self.hosts, resume) as response:
            status = f"the server answers {_status(response)}"
            if response.status_code == 416:
                self._restart("the server has no more than was received")
            if response.status_code in _TEMPORARY:
                raise _InterruptedError(status)
            if not response.ok:
                raise FetchError(f"{self.url}: {status}; try later, or download it by hand")
            if "text/html" in response.headers.get("Content-Type", ""):
                raise FetchError(
                    f"{self.url}: the server sent a web page and not the file; open it in a browser to see why"
                )
            encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
            if encoding != "identity":
                raise FetchError(
                    f"{self.url}: the server sent the file as {printable(encoding)[:40]!r}, which was not asked "
                    "for; download it by hand"
                )
            if response.status_code == 206:
                if known is None or not _continues(response.headers, start, known):
                    self._restart("the server sent another range than requested")
                size = known.size
            else:
                self.discard()
                start, size = 0, _length(self.url, response.headers)
                remote = _Remote(self.url, size, _condition(response.headers))
                write_whole(self._description, json.dumps(asdict(remote)).encode())
            self._receive(response, start, size)

    def _receive(self, response: requests.Response, done: int, size: int | None) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if size is not None and size - done > free:
            raise FetchError(f"{self.part}: {size - done:,} bytes are to come and {free:,} are free; make room")
        most = size if size is not None else min(_MOST, done + free // 2)
        self.on_progress(done, size)
        with open(self.part, "ab", opener=_open_no_link) as file:
            try:
                since, before = time.monotonic(), done
                while piece := _read(response):
                    done += len(piece)
                    if done > most:
                        break
                    file.write(piece)
                    self.on_progress(done, size)
                    if time.monotonic() - since > _WINDOW:
                        if done - before < _WINDOW * _SLOWEST:
                            raise _InterruptedError(f"the server sends less than {_SLOWEST:g} bytes a second")
                        since, before = time.monotonic(), done
            finally:
                file.flush()
                os.fsync(file.fileno())
        if done > most and size is None:
            self.discard()
            raise FetchError(
                f"{self.url}: the server gives no size and sent more than {most:,} bytes; nothing of it is kept"
            )
        if size is not None and done < size:
            raise _InterruptedError(f"the transfer ended after {done:,} of {size:,} bytes")
        if done > most:
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
            raise FetchError(f"{self.url}: {problem}; nothing of it is kept: try later, or ask its publisher")

    def _restart(self, reason: str) -> NoReturn:
        self.discard()
        raise _InterruptedError(f"{reason}, so the download restarts")


def remote_size(url: str, hosts: Collection[str]) -> int | None:
    """Ask for a file's size in bytes; None if the server does not give it.

    Raises:
        FetchError: The server cannot be reached, has no such file, or redirects to a host that is not in ``hosts``.
    """
    try:
        with _answer("HEAD", url, hosts, {}) as response:
            if response.status_code in (404, 410):
                raise FetchError(f"{url}: the server answers {_status(response)}")
            return _length(url, response.headers) if response.ok else None
    except _InterruptedError as error:
        raise FetchError(f"{url}: {error}") from error


def _answer(method: str, url: str, hosts: Collection[str], headers: Mapping[str, str]) -> requests.Response:
    """Return the answer to a request once its headers have come; redirects lead to the same host or ``hosts`` alone."""
    target, answers = url, _REDIRECTS
    end = time.monotonic() + _ANSWER
    while True:
        response = _request(method, target, headers, end - time.monotonic())
        place = response.headers.get("Location")
        if response.status_code not in (301, 302, 303, 307, 308) or place is None:
            return response
        response.close()
        before, target = urlsplit(target), urljoin(target, place)
        after, answers = urlsplit(target), answers - 1
        if after.scheme not in ("https", before.scheme) or after.hostname not in {before.hostname, *hosts}:
            raise FetchError(
                f"{url}: the server redirects to {printable(f'{after.scheme}://{after.netloc}')[:200]}, which is "
                "not a host of the catalogue; download the file by hand if you trust it"
            )
        if not answers:
            raise FetchError(f"{url}: the server redirects more than {_REDIRECTS} times; download it by hand")


def _request(method: str, url: str, headers: Mapping[str, str], seconds: float) -> requests.Response:
    """Send one request; in a thread, as a server that sends a byte of its headers now and then is never too late."""
    outcome: list[requests.Response | Exception] = []

    def send() -> None:
        try:
            outcome.append(
                requests.request(
                    method, url, headers={**_HEADERS, **headers}, stream=True, timeout=_TIMEOUT, allow_redirects=False
                )
            )
        except Exception as error:  # no list of what a server's bytes lead to is complete
            outcome.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if not outcome:
        raise _InterruptedError("the server does not answer")
    if isinstance(outcome[0], Exception):
        raise _InterruptedError(_reason(outcome[0])) from outcome[0]
    return outcome[0]


def _read(response: requests.Response) -> bytes:
    """Return the next bytes as soon as there are some; none at the end."""
    try:
        return response.raw.read1(_PIECE, decode_content=False) or b""
    except OSError as error:
        raise _InterruptedError("the connection was interrupted") from error
    except Exception as error:
        raise _InterruptedError(_reason(error)) from error


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _status(response: requests.Response) -> str:
    """Return the status and its usual words; the server's own could be anything."""
    return f"{response.status_code} {responses.get(response.status_code, '')}".rstrip()


def _continues(headers: Mapping[str, str], start: int, known: _Remote) -> bool:
    """Return whether an answer 206 holds the requested range of the same file."""
    unit, _, content = headers.get("Content-Range", "").partition(" ")
    span, _, total = content.partition("/")
    same_file = known.size is None or total in ("*", str(known.size))
    return unit == "bytes" and span.partition("-")[0] == str(start) and start > 0 and same_file


def _condition(headers: Mapping[str, str]) -> str:
    etag = headers.get("ETag", "")
    # A weak tag does not promise equal bytes.
    condition = ("" if etag.startswith("W/") else etag) or headers.get("Last-Modified", "")
    return condition if condition.isascii() and condition.isprintable() and len(condition) <= 1000 else ""


def _length(url: str, headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise FetchError(f"{url}: the server gives the size {printable(text)[:40]!r}, which is no number of bytes")
    return int(text)


def _reason(error: Exception) -> str:
    """Return the cause of a failed try, in one line."""
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | urllib3.exceptions.ProtocolError):
        return "the connection was interrupted"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return printable(" ".join(str(error).split()))[:200] or type(error).__name__
