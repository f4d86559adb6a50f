"""A machine that misbehaves: a full disk, several processes at one thing, a server that lies."""

from __future__ import annotations

import gzip
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import forked
from kills import JOBS, SECONDS

__all__ = ["Survived", "full_disk", "full_output", "hostile_server", "several_processes"]


@dataclass
class Survived:
    """How many faults of a kind were survived, and what was wrong with the others."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)

    def check(self, holds: bool, problem: str) -> None:
        """Count one try, and what is wrong with it."""
        self.tried += 1
        if not holds:
            self.faults.append(problem)


def full_disk(recipe: Path, folder: Path, seed: int, times: int, until: float) -> Survived:
    """No file can grow beyond a random size: a command fails in a line, and gives the same bits where there is room."""
    done = Survived()
    for job in JOBS[:3]:
        whole, log = folder / "whole", folder / "stderr"
        folder.mkdir(parents=True, exist_ok=True)
        forked.run(forked.call(job.first(recipe, whole)), log, seconds=SECONDS)
        want = job.result(whole)
        largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        for number in range(times):
            if time.monotonic() > until:
                break
            size = int(largest ** Random(f"{seed}:{job.name}:disk:{number}").random())
            where = f"seed {seed}, {job.name}, files of at most {size} bytes"
            out, pipe = folder / "out", folder / "pipe"
            ended = forked.run_on_a_full_disk(forked.call(job.first(recipe, out)), pipe, size, seconds=SECONDS)
            named = ended.verdict in ("failed", "refused") or (ended.verdict == "read" and job.result(out) == want)
            done.check(named, f"{where}: {ended.verdict}: {ended.problem}")
            finished = ended.verdict == "read"
            whole_or_nothing = {"stderr", "whole"} | ({"out"} if finished or job.name == "train" else set())
            left = {path.name for path in folder.iterdir()} - whole_or_nothing
            done.check(not left, f"{where}: left behind: {', '.join(sorted(left))}")
            ended = forked.run(forked.call(job.again(recipe, out)), log, seconds=SECONDS)
            same = (ended.status == 0 or finished) and job.result(out) == want
            done.check(same, f"{where}, then with room: {ended.problem if ended.status else 'other bits'}")
            shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    return done


def full_output(samples: Path, folder: Path) -> Survived:
    """The standard output is full: status 1 and a line, whatever is printed there."""
    done = Survived()
    folder.mkdir(parents=True, exist_ok=True)
    run, store = str(samples / "run"), str(samples / "store")
    for arguments in (
        ["show", str(samples / "recipe.yaml")],
        ["list"],
        ["data", "info", store],
        ["data", "check", store],
        ["data", "guess", store],
        ["evaluate", run, "--json"],
        ["predict", run, store, "--split", "test"],
        ["profile", run],
        ["--help"],
    ):
        ended = forked.run(forked.call(arguments), folder / "stderr", seconds=60, stdout="/dev/full")
        done.check(ended.verdict == "failed", f"{' '.join(arguments)} > /dev/full: {ended.verdict}: {ended.problem}")
    return done


def several_processes(recipe: Path, folder: Path, processes: int = 4) -> Survived:
    """Several processes are given one study, one sweep, and one import: all is done once, and as by one."""
    done = Survived()
    folder.mkdir(parents=True, exist_ok=True)
    for job in (JOBS[1], JOBS[3], JOBS[4]):
        whole, out = folder / "whole", folder / "out"
        ended = forked.run(forked.call(job.first(recipe, whole)), folder / "stderr", seconds=SECONDS)
        want = job.result(whole) if ended.status == 0 else {}
        logs = [folder / f"stderr-{number}" for number in range(processes)]
        children = [forked.start(forked.call(job.first(recipe, out)), log) for log in logs]
        ends = [
            forked.Ended(forked.wait(child, 2 * SECONDS), log.read_text(errors="replace"), 0.0)
            for child, log in zip(children, logs, strict=True)
        ]
        for child in children:
            forked.kill_group(child)
        for ended in ends:
            done.check(ended.verdict in ("read", "refused", "failed"), f"{job.name} by {processes}: {ended.problem}")
        done.check(any(ended.status == 0 for ended in ends), f"{job.name} by {processes}: none came to its end")
        last = forked.run(forked.call(job.again(recipe, out)), folder / "stderr", seconds=SECONDS)
        finished = last.status == 0 or "not empty" in last.stderr or "finished" in last.stderr
        done.check(finished, f"{job.name} by {processes}, then by one: {last.problem}")
        same = out.exists() and job.result(out) == want
        done.check(same, f"{job.name} by {processes}: other bits than by one")
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(whole, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return done


BODY = b"standard_train_fold=['a']\nstandard_valid_fold=['b']\nstandard_test_fold=['c']\n"
LIES = (
    "page",
    "short",
    "long",
    "negative",
    "words",
    "twice",
    "endless",
    "bomb",
    "elsewhere",
    "loop",
    "long header",
    "no answer",
    "garbage",
    "range",
    "error for ever",
    "half and again",
    "chunks cut",
    "drip",
)


def hostile_server(folder: Path) -> Survived:
    """Each lie of a server ends in a line and leaves nothing that counts as a file; what was right before stays."""
    done = Survived()
    for lie in LIES:
        with _server(lie) as url:
            to = folder / lie.replace(" ", "-")
            to.mkdir(parents=True)
            ended = forked.run(_fetch(url, to), folder / "stderr", seconds=60, file_size=200 * 2**20)
        kept = (to / "folds.py").read_bytes() if (to / "folds.py").exists() else None
        # A length that is no number is as good as none: what came to its end is whole.
        right = ended.verdict in ("refused", "failed") if kept is None else ended.verdict == "read" and kept == BODY
        done.check(right, f"a server with {lie!r}: {ended.verdict}: {ended.problem}")
        done.check(kept is None or lie in ("negative", "words"), f"a server with {lie!r}: a file was kept")
        used = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
        done.check(used < 2**20, f"a server with {lie!r}: {used} bytes are left behind")
    shutil.rmtree(folder, ignore_errors=True)
    return done


def _fetch(url: str, to: Path) -> Callable[[], int]:
    def work() -> int:
        from neurozoo.cli import main
        from neurozoo.data.fetch import catalogue, transfer

        # The limits of a real server, made small: seconds without a byte and of a window, waits, bytes without a size.
        limits = {"_TIMEOUT": (2.0, 2.0), "_WAITS": (0.0, 0.0), "_ANSWER": 5.0, "_WINDOW": 2.0, "_MOST": 2**20}
        for name, value in limits.items():
            setattr(transfer, name, value)
        data = catalogue.PublicData(
            "tiny", "made up", (catalogue.PublicFile("folds", f"{url}/folds.py", "folds.py"),), "none", "nobody", "true"
        )
        catalogue.CATALOGUE["tiny"] = data  # type: ignore[index]
        return main(["data", "fetch", "tiny", "--to", str(to), "--accept-licence"])

    return work


@contextmanager
def _server(lie: str) -> Iterator[str]:
    """A server on this machine that tells one lie; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def head(self, status: int, **headers: object) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()

        def do_HEAD(self) -> None:
            self.head(200, Content_Length=len(BODY))

        def do_GET(self) -> None:
            self.close_connection = True
            with suppress(OSError):  # the other side has seen enough
                self.tell()

        def tell(self) -> None:
            if lie == "page":
                self.head(200, Content_Length=19, Content_Type="text/html")
                self.wfile.write(b"<html>sign in</html>"[:19])
            elif lie in ("short", "long", "negative", "words"):
                length = {"short": 10, "long": 10**6, "negative": -5, "words": "many"}[lie]
                self.head(200, Content_Length=length)
                self.wfile.write(BODY)
            elif lie == "twice":
                self.send_response(200)
                for length in (5, 500):
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(BODY)
            elif lie == "endless":
                self.head(200, Content_Type="application/octet-stream")
                while True:
                    self.wfile.write(b"x" * 2**20)
            elif lie == "bomb":
                packed = gzip.compress(b"\0" * 2**28)
                self.head(200, Content_Encoding="gzip", Content_Length=len(packed))
                self.wfile.write(packed)
            elif lie == "elsewhere":
                self.head(302, Location=f"http://localhost:{self.server.server_address[1]}/other", Content_Length=0)
            elif lie == "loop":
                self.head(302, Location=self.path, Content_Length=0)
            elif lie == "long header":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2**24 + b"\r\n\r\n")
            elif lie == "garbage":
                self.wfile.write(b"\0\1\2\x1b[31m not http" * 100)
            elif lie == "range":
                self.head(206, Content_Range="bytes 7-90/3", Content_Length=len(BODY))
                self.wfile.write(BODY)
            elif lie == "error for ever":
                self.head(503, Content_Length=0, Retry_After=10**9)
            elif lie == "half and again":
                self.head(200, Content_Length=len(BODY) * 2)
                self.wfile.write(BODY[:10])
            elif lie == "chunks cut":
                self.head(200, Transfer_Encoding="chunked")
                self.wfile.write(b"fffffff\r\nabc")
            elif lie == "drip":
                self.head(200, Content_Length=10**9)
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.5)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()
