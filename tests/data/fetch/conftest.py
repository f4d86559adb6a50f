"""A public data set on a server of the tests' own, which does what a script says."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from neurozoo.data.fetch import catalogue
from neurozoo.data.fetch.catalogue import PublicData, PublicFile

FOLDS = b"standard_train_fold=['a']\nstandard_valid_fold=['b']\nstandard_test_fold=['c']\n"


@dataclass
class Server:
    """Files by path, and what goes wrong with each next GET of one.

    Attributes:
        files: What it serves.
        faults: By path, a fault for each coming GET: ``cut N`` closes the connection after N bytes of the answer, ``N``
            answers with that status, ``html`` with a page, ``long`` and ``short`` say another length than is sent,
            ``shifted`` answers a range with another one.
        ranges: Whether it can go on in the middle.
        tags: Whether it says which version a file is.
        asked: Method, path and range of each request.
    """

    files: dict[str, bytes]
    faults: dict[str, list[str]] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    heads: bool = True
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""

    def gets(self, path: str) -> list[str]:
        """The ranges of the GETs of a file."""
        return [span for method, asked, span in self.asked if (method, asked) == ("GET", path)]


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, *, send: bool) -> None:
            path, span = self.path.strip("/"), self.headers.get("Range", "")
            server.asked.append((self.command, path, span))
            body = server.files.get(path)
            if body is None or not (send or server.heads):
                self.plain(404 if body is None else 405)
                return
            faults = server.faults.get(path, []) if send else []
            fault = faults.pop(0) if faults else ""
            if fault.isdigit():
                self.plain(int(fault))
            elif fault == "html":
                self.whole(200, b"<html><body>sign in</body></html>", {"Content-Type": "text/html; charset=utf-8"})
            else:
                self.file(body, span, fault, send=send)

        def plain(self, status: int) -> None:
            self.whole(status, b"", {})

        def whole(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def file(self, body: bytes, span: str, fault: str, *, send: bool) -> None:
            tag = f'"{hash(body):x}"'
            headers = {"Content-Type": "application/octet-stream"} | ({"ETag": tag} if server.tags else {})
            asked = re.fullmatch(r"bytes=(\d+)-", span)
            status, start = 200, 0
            if asked and server.ranges and self.headers.get("If-Range") in (None, tag):
                status, start = 206, int(asked[1])
                if start >= len(body):
                    self.plain(416)
                    return
                start -= 7 if fault == "shifted" else 0
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            rest = body[start:]
            length = len(rest) + {"long": 100, "short": -100}.get(fault, 0)
            headers["Content-Length"] = str(length)
            if not send:
                self.whole(status, b"", headers)
                return
            cut = int(fault.split()[1]) if fault.startswith("cut") else length
            self.whole(status, rest[: min(cut, length)], headers)
            if cut < length or length > len(rest):
                self.close_connection = True

    return Handler


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serves ``features.csd`` of some 200 kB and ``folds.py``."""
    with h5py.File(tmp_path / "made.csd", "w") as file:
        file["root/data/v/features"] = np.random.default_rng(0).standard_normal((5000, 5))
        file["root/data/v/intervals"] = np.zeros((5000, 2), np.float32)
    made = Server({"features.csd": (tmp_path / "made.csd").read_bytes(), "folds.py": FOLDS})
    (tmp_path / "made.csd").unlink()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(made)) as http:
        made.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        http.shutdown()
        thread.join()


def _data_at(url: str) -> PublicData:
    return PublicData(
        "tiny",
        "a made-up set",
        (
            PublicFile("features", f"{url}/features.csd", "deep/features.csd"),
            PublicFile("folds", f"{url}/folds.py", "folds.py"),
            PublicFile("more", f"{url}/more.bin", "more.bin", usual=False),
        ),
        "terms: be kind",
        "Nobody: Nothing, 2026",
        "neurozoo data import csd {folder} DEST",
    )


@pytest.fixture
def data_at() -> Callable[[str], PublicData]:
    """The data set as if it were served elsewhere."""
    return _data_at


@pytest.fixture
def tiny(server: Server, monkeypatch: pytest.MonkeyPatch) -> PublicData:
    """The served files as a data set, which the command line knows too."""
    data = _data_at(server.url)
    monkeypatch.setitem(catalogue.CATALOGUE, data.name, data)
    return data


@pytest.fixture
def waits() -> list[float]:
    """The seconds that would have been waited."""
    return []


@pytest.fixture
def wait(waits: list[float]) -> Callable[[float], None]:
    return waits.append
