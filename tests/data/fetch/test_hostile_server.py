"""Fetching from a server that is made to do harm: one error, in bounded time, and nothing of it is kept."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neurozoo.data.fetch import transfer
from neurozoo.data.fetch.catalogue import PublicData, PublicFile
from neurozoo.data.fetch.fetching import Fetch
from neurozoo.errors import FetchError

BOMB = gzip.compress(bytes(50_000_000))
CONTENT = bytes(range(256)) * 400

Answer = Callable[[BaseHTTPRequestHandler], None]


def raw(*pieces: bytes, pause: float = 0.0) -> Answer:
    """Sends bytes as they are, for ever the last of them if there is a pause."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
        while pause:
            handler.wfile.write(pieces[-1])
            time.sleep(pause)

    return send


def head(length: int | str | None, more: str = "", status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *([] if length is None else [f"Content-Length: {length}"]), *more.split("\n")]
    return ("\r\n".join([line for line in lines if line] + ["", ""])).encode("latin-1")


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(head(None))
    while True:
        handler.wfile.write(bytes(1 << 20))


ANSWERS: dict[str, Answer] = {
    "whole": raw(head(len(CONTENT)), CONTENT),
    "gzip": raw(head(len(BOMB), "Content-Encoding: gzip"), BOMB),
    "digits": raw(head("9" * 5000), b"x"),
    "signs": raw(head("-1"), b"x"),
    "colours": raw(head(0, status="404 \x1b[31mred")),
    "words": raw(head("\x1b[2J1"), b"x"),
    "trickle": raw(head(len(CONTENT)), b"x", pause=0.02),
    "slow-head": raw(b"HTTP/1.1 200 OK\r\nX: ", b"x", pause=0.02),
    "endless": endless,
    "elsewhere": raw(head(0, "Location: http://example.invalid/file", status="302 Found")),
    "a-file": raw(head(0, "Location: file:///etc/passwd", status="302 Found")),
    "circle": raw(head(0, "Location: /circle", status="302 Found")),
    "on": raw(head(0, "Location: /whole", status="301 Moved")),
    "no-http": raw(b"\x00\xff" * 1000),
    "many-headers": raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(500)) + b"\r\n"),
}


@pytest.fixture
def url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.wfile.write(head(0, status="405 No"))

        def do_GET(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                ANSWERS[self.path.strip("/")](self)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def fetch(url: str, folder: Path, *hosts: str) -> None:
    file = PublicFile("file", url, "file.bin", hosts=hosts)
    data = PublicData("tiny", "", (file,), "terms", "nobody", "")
    Fetch(data, folder, wait=lambda seconds: None).run()


REFUSED = {
    "gzip": "the server sent the file as 'gzip', which was not asked for",
    "digits": "gives the size '9{40}', which is no number of bytes",
    "signs": "gives the size '-1', which is no number of bytes",
    "words": r"gives the size '\\\\x1b\[2J1', which is no number",
    "colours": "the server answers 404 Not Found",
    "trickle": "the server sends less than 100 bytes a second",
    "slow-head": "the server does not answer",
    "endless": "the server gives no size and sent more than 3,000,000 bytes; nothing of it is kept",
    "elsewhere": "the server redirects to http://example.invalid, which is not a host of the catalogue",
    "a-file": "the server redirects to file://, which is not a host of the catalogue",
    "circle": "the server redirects more than 5 times",
    "no-http": "the connection was interrupted|cannot be reached",
    "many-headers": "the connection was interrupted|cannot be reached",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hostile_answer_is_one_error(kind: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_ANSWER", 2.0)
    monkeypatch.setattr(transfer, "_WINDOW", 0.5)
    monkeypatch.setattr(transfer, "_MOST", 3_000_000)
    before = time.monotonic()
    with pytest.raises(FetchError, match=REFUSED[kind]) as caught:
        fetch(f"{url}/{kind}", tmp_path / "to")
    assert time.monotonic() - before < 60
    assert "\x1b" not in str(caught.value)
    assert not (tmp_path / "to" / "file.bin").exists()
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert kept < 10_000, "what came is kept, though the same command cannot use it"


def test_a_redirect_on_the_same_host_and_to_a_named_one(url: str, tmp_path: Path) -> None:
    fetch(f"{url}/on", tmp_path / "to")
    assert (tmp_path / "to" / "file.bin").read_bytes() == CONTENT
    ANSWERS["named"] = raw(head(0, f"Location: {url.replace('127.0.0.1', 'localhost')}/whole", status="302 Found"))
    with pytest.raises(FetchError, match="not a host of the catalogue"):
        fetch(f"{url}/named", tmp_path / "other")
    fetch(f"{url}/named", tmp_path / "other", "localhost")
    assert (tmp_path / "other" / "file.bin").read_bytes() == CONTENT


def test_a_part_that_is_a_link_is_not_written_through(url: str, tmp_path: Path) -> None:
    (tmp_path / "to" / ".fetching").mkdir(parents=True)
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "to" / ".fetching" / "file.part").symlink_to(tmp_path / "mine")
    fetch(f"{url}/whole", tmp_path / "to")
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert (tmp_path / "to" / "file.bin").read_bytes() == CONTENT
