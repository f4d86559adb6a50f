"""The process that reads one file and can do nothing else; ``reading.py`` starts it.

It has three open files: 0 is the file to read, 1 takes what is unfolded of it, 2 takes the answer. Once its
own modules are there, it gives up opening anything: by limits of the system where there are such, and by
an audit hook, which Python calls before it opens, imports, compiles, connects or starts anything.
"""

from __future__ import annotations

import codecs
import gc
import json
import os
import sys
from typing import Any

from neurozoo.data.foreign.document import to_json
from neurozoo.data.foreign.joblib_files import NAMES, is_packed, unpacked
from neurozoo.data.foreign.limits import Limits
from neurozoo.data.foreign.machine import Machine
from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import Stream, Workspace
from neurozoo.data.foreign.torch_files import MAGIC, read_legacy, read_zip

__all__ = ["REFUSED", "lock", "main", "read"]

REFUSED = 2
"""Exit status where the file is not read; the answer is the reason."""
_HANDLES = 16
_HARMLESS = ("builtins.id", "mmap.__new__")
_CODECS = ("utf-8", "latin-1", "ascii", "cp437", "raw_unicode_escape", "utf-32-le", "utf-32-be")
_OTHERS = {
    b"<": "a web page or XML",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a pointer to a file in Git LFS",
    b"\x04\x22M\x18": "an LZ4 file, which is not unpacked here: save it anew with zlib, gzip, bz2 or xz; it is",
    b"\x93NUMPY": "an npy file of numpy",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"ZF": "a joblib file of a version before 0.10; it is",
    b"(\xb5/\xfd": "a zstd file",
}


def main(arguments: str) -> int:
    """Read the file on descriptor 0.

    Args:
        arguments: The limits, in JSON.

    Returns:
        The exit status.
    """
    limits = Limits(**json.loads(arguments))
    size = os.fstat(0).st_size
    with open(2, "wb", closefd=False) as answer, open(0, "rb", closefd=False) as file:
        # Many small values would be walked again and again, and none of them can be in a circle for long.
        gc.disable()
        try:
            lock(limits, size)
            workspace = Workspace(0, 1, limits)
            answer.write(to_json(read(file, workspace), workspace))
        except RefusedError as error:
            return _refuse(answer, " ".join(str(error).split()))
        except MemoryError:
            needs = f"it needs more than {limits.memory_gib:g} GiB of memory"
            return _refuse(answer, f"{needs}; if you trust it, set NEUROZOO_READ_MEMORY_GIB to more")
        except RecursionError:
            return _refuse(answer, "it is nested too deep for a data file")
        except OSError as error:
            return _refuse(
                answer, f"it could not be unfolded ({error.strerror}); is there room in the temporary folder?"
            )
    return 0


def read(file: Any, workspace: Workspace) -> Any:
    """What a file holds, as plain values and descriptions.

    Args:
        file: It, open, seekable.
        workspace: On the same file.

    Raises:
        RefusedError: It is not read.
    """
    stream = workspace.whole()
    if packing := is_packed(stream):
        stream = workspace.stream(unpacked(stream, packing, workspace))
        if is_packed(stream) or stream.peek(2) == b"PK":
            raise RefusedError(f"a {packing} file of a packed file; unpack it first")
    _check_kind(stream)
    if stream.peek(2) == b"PK":
        return read_zip(file, workspace)
    machine = Machine(stream, NAMES, workspace)
    content = machine.run()
    if type(content) is int and content == MAGIC:
        content = read_legacy(machine)
    if stream.position < stream.end:
        raise RefusedError(
            f"it goes on after its end, for {stream.end - stream.position} bytes: several pickles one after another, "
            "or a damaged file; save one dict of them"
        )
    return content


def _check_kind(stream: Stream) -> None:
    start = stream.peek(512)
    what = next((name for magic, name in _OTHERS.items() if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(magic)), "")
    what = "a tar archive" if start[257:262] == b"ustar" else what
    if what or not start:
        raise RefusedError(f"{what or 'empty'}, not a pickle, torch or joblib file; give the file that is meant")


def lock(limits: Limits, size: int) -> None:
    """Give up everything but the files that are open."""
    for name in _CODECS:
        codecs.lookup(name)
        codecs.getincrementaldecoder(name)
    _limit(limits, size)

    def refuse(event: str, _: Any) -> None:
        if event not in _HARMLESS:
            raise RefusedError(f"reading it led to {shown(event)}, which is not done; report this file")

    sys.addaudithook(refuse)


def _limit(limits: Limits, size: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent keeps to the time, the counters to the rest
        return
    wanted = {
        "RLIMIT_DATA": limits.memory,
        "RLIMIT_FSIZE": limits.content(size) + limits.memory,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": _HANDLES,
    }
    for name, most in wanted.items():
        if (which := getattr(resource, name, None)) is None:
            continue
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))
    # The first ends it with a signal that says why, the second by force.
    seconds = int(limits.time(size)) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def _refuse(answer: Any, reason: str) -> int:
    answer.write(reason.encode("utf-8", "replace"))
    return REFUSED
