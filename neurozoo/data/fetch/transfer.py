"""One file over HTTP: goes on where it broke off, and is whole when it ends.

What has come so far is kept as ``NAME.part``, with the server's word on it in ``NAME.part.json``.
:class:`Transfer` is a downloader as pooch takes them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from neurozoo.errors import FetchError
from neurozoo.files.writing import write_whole

__all__ = ["Remote", "Transfer", "remote_size"]

Told = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where the server says it, of how many."""

_PIECE = 1 << 16
"""Bytes; a piece that breaks off is lost."""
_TIMEOUT = (10.0, 60.0)
"""Seconds for connecting, and for each piece."""
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "neurozoo"}
"""Bytes as they lie on the server, so that lengths and ranges mean the same."""
_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try; a try that brings something begins them anew."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Remote:
    """What a server says of a file, by which a part of it is known again.

    Attributes:
        url: Where it is.
        size: In bytes; None where the server does not say.
        etag: A strong one; empty where there is none.
        modified: The header ``Last-Modified``; empty where there is none.
    """

    url: str
    size: int | None = None
    etag: str = ""
    modified: str = ""

    @property
    def condition(self) -> str:
        """What ``If-Range`` takes; empty where the server gave nothing for it."""
        return self.etag or self.modified


class _BrokenOffError(Exception):
    """It can be tried again."""


class Transfer:
    """Fetches one file.

    Args:
        part: Where what has come is kept until it is whole.
        check: Looks at the whole file, and raises an error where it is not what it should be.
        told: Hears of each piece.
        expected: Its size in bytes, as a question before said; None where it is not known.
        wait: Waits some seconds.
    """

    def __init__(
        self,
        part: Path,
        *,
        check: Callable[[Path], None],
        told: Told = lambda done, of: None,
        expected: int | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.part = part
        self._note = part.with_name(f"{part.name}.json")
        self._check, self._told, self._expected, self._wait = check, told, expected, wait

    @property
    def begun(self) -> int:
        """Bytes that have come so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Bring ``url`` to ``output_file``, whole.

        Raises:
            FetchError: It cannot be had, or is not what it should be. Where it broke off, what came is kept.
        """
        tries = list(_WAITS)
        while True:
            before = self.begun
            try:
                self._bring(url)
                break
            except (requests.RequestException, _BrokenOffError) as error:
                if self.begun > before:
                    tries = list(_WAITS)
                if not tries:
                    raise FetchError([f"{url}: {_reason(error)}; {self._kept()}"]) from error
                self._wait(tries.pop(0))
            except OSError as error:  # the disk; requests' own errors are caught above
                raise FetchError([f"{self.part}: {error.strerror or error}; {self._kept()}"]) from error
        self._accept(url)
        os.replace(self.part, output_file)
        self._note.unlink(missing_ok=True)

    def _kept(self) -> str:
        return f"{self.begun:,} bytes are kept, and the same command goes on from there"

    def _bring(self, url: str) -> None:
        """One try, from where the last one broke off."""
        known = self._known(url)
        start = self.begun if known is not None else 0
        headers = dict(_HEADERS)
        if known is not None and start:
            headers |= {"Range": f"bytes={start}-", "If-Range": known.condition}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == 416:
                self._forget()
                raise _BrokenOffError("the server has no more than what was there, so it is begun anew")
            if response.status_code in _PASSING:
                raise _BrokenOffError(f"the server says {response.status_code} {response.reason}")
            if not response.ok:
                raise FetchError([f"{url}: the server says {response.status_code} {response.reason}"])
            if "text/html" in response.headers.get("Content-Type", ""):
                raise FetchError(
                    [f"{url}: the server sent a web page and not the file; open it in a browser to see why"]
                )
            if response.status_code == 206 and not self._continues(response.headers, start, known):
                self._forget()
                raise _BrokenOffError("the server sent another stretch than was asked for, so it is begun anew")
            go_on = response.status_code == 206
            remote = known if go_on and known is not None else _described(url, response.headers)
            if not go_on:
                self._forget()
                start = 0
                write_whole(self._note, json.dumps(asdict(remote)).encode())
            self._receive(response, start, remote.size)

    def _receive(self, response: requests.Response, start: int, size: int | None) -> None:
        done = start
        self._told(done, size)
        with self.part.open("ab") as file:
            try:
                for piece in response.iter_content(_PIECE):
                    file.write(piece)
                    done += len(piece)
                    self._told(done, size)
            finally:
                file.flush()
                os.fsync(file.fileno())
        if size is not None and done < size:
            raise _BrokenOffError(f"it broke off after {done:,} of {size:,} bytes")
        if size is not None and done > size:
            self._forget()
            raise _BrokenOffError(f"the server sent more than the {size:,} bytes it spoke of, so it is begun anew")

    def _known(self, url: str) -> Remote | None:
        """What the server said of the part that is there, if that allows to go on."""
        try:
            remote = Remote(**json.loads(self._note.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return remote if remote.url == url and remote.condition and self.begun else None

    def _continues(self, headers: Mapping[str, str], start: int, known: Remote | None) -> bool:
        """Whether an answer of 206 is the stretch that was asked for, of the same file."""
        unit, _, stretch = headers.get("Content-Range", "").partition(" ")
        span, _, total = stretch.partition("/")
        of_same = known is not None and (known.size is None or total in ("*", str(known.size)))
        return unit == "bytes" and span.partition("-")[0] == str(start) and start > 0 and of_same

    def _accept(self, url: str) -> None:
        """Look at what came.

        Raises:
            FetchError: It is not the file.
        """
        problem = ""
        if self._expected is not None and self.begun != self._expected:
            problem = f"the server spoke of {self._expected:,} bytes and sent {self.begun:,}"
        else:
            try:
                self._check(self.part)
            except Exception as error:
                problem = str(error).replace(str(self.part), "what came").replace("; get it anew", "")
        if problem:
            self._forget()
            raise FetchError([f"{url}: {problem}; nothing of it is kept: try later, or tell who publishes it"])

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def remote_size(url: str) -> int | None:
    """How large a file is, in bytes; None where the server does not say.

    Raises:
        FetchError: The server cannot be reached, or has no such file.
    """
    try:
        response = requests.head(url, headers=_HEADERS, timeout=_TIMEOUT, allow_redirects=True)
    except requests.RequestException as error:
        raise FetchError([f"{url}: {_reason(error)}"]) from error
    if response.status_code in (404, 410):
        raise FetchError([f"{url}: the server says {response.status_code} {response.reason}"])
    return _length(response.headers) if response.ok else None


def _described(url: str, headers: Mapping[str, str]) -> Remote:
    etag = headers.get("ETag", "")
    # A weak one does not say that the bytes are the same.
    return Remote(url, _length(headers), "" if etag.startswith("W/") else etag, headers.get("Last-Modified", ""))


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _reason(error: Exception) -> str:
    """Why, in a line."""
    if isinstance(error, requests.ConnectTimeout | requests.ReadTimeout):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
