"""Having a file read by a process of its own, and taking its answer."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from neurozoo.data.foreign.child import REFUSED
from neurozoo.data.foreign.document import LONGEST
from neurozoo.data.foreign.files import open_regular
from neurozoo.data.foreign.limits import Limits
from neurozoo.data.foreign.rebuild import from_json
from neurozoo.data.foreign.stretches import FILE, SPOOL
from neurozoo.errors import DataError

__all__ = ["read"]

# Without site: nothing that is installed is needed, and none of its start-up code runs.
_FLAGS = ("-I", "-S", "-B")
_CODE = (
    "import sys; home, limits = sys.argv[1:]; sys.path.append(home); "
    "from neurozoo.data.foreign.child import main; sys.exit(main(limits))"
)
_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_LONGEST_REASON = 2000


def read(path: Path, limits: Limits | None = None) -> Any:
    """See :func:`neurozoo.data.foreign.read_foreign`."""
    limits = limits or Limits()
    with open(open_regular(path), "rb") as file, tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as answer:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise DataError(f"{path} is empty; get it anew")
        if size > limits.file:
            raise DataError(
                f"{path} is {size / 2**30:.3g} GiB large, more than the {limits.file_gib:g} GiB allowed; "
                "set NEUROZOO_READ_FILE_GIB to more"
            )
        _have_read(path, file, spool, answer, limits, size)
        document = answer.read(LONGEST)
        places = {FILE: _mapped(file), SPOOL: _mapped(spool)}
        try:
            return from_json(document, places)
        except ValueError as error:
            raise DataError(
                f"{path}: what was read of it makes no sense ({_one_line(str(error))}); get it anew"
            ) from error


def _have_read(path: Path, file: IO[bytes], spool: IO[bytes], answer: IO[bytes], limits: Limits, size: int) -> None:
    """Start the process, wait for it, and leave ``answer`` at the beginning of a whole one."""
    home = str(Path(__file__).parents[3])  # the folder that neurozoo is in
    command = [sys.executable, *_FLAGS, "-c", _CODE, home, json.dumps(asdict(limits))]
    environment = {name: os.environ[name] for name in _LIBRARIES if name in os.environ}
    seconds = limits.time(size)
    try:
        process = subprocess.Popen(command, stdin=file, stdout=spool, stderr=answer, env=environment, cwd=home)
    except OSError as error:
        raise DataError(f"{path}: the process that reads it could not be started ({error.strerror})") from error
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path} {_too_slow(seconds)}") from None
    finally:
        process.kill()
        process.wait()
    answer.seek(0)
    if status == REFUSED:
        raise DataError(f"{path} is not read: {_one_line(answer.read(_LONGEST_REASON).decode('utf-8', 'replace'))}")
    if status == -getattr(signal, "SIGXCPU", 0):
        raise DataError(f"{path} {_too_slow(seconds)}")
    if status:
        last = _one_line(answer.read().decode("utf-8", "replace")[-200:])
        raise DataError(
            f"{path} is not read: the process that reads it ended with status {status}{f' ({last})' if last else ''}; "
            "it may need more memory (NEUROZOO_READ_MEMORY_GIB), or be made to do harm"
        )


def _too_slow(seconds: float) -> str:
    return (
        f"is not read: it took more than {seconds:.0f} s, and was stopped; if you trust it, set NEUROZOO_READ_SECONDS "
        "to more"
    )


def _one_line(text: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(plain.split())


def _mapped(file: IO[bytes]) -> Any:
    size = os.fstat(file.fileno()).st_size
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
