"""The process that reads one file and can do nothing else; ``process.py`` starts it.

It has three open files: 0 is the file to read, 1 takes the bytes of arrays that are not in the file as they are, 2
takes the answer. Once its modules are loaded it gives up opening anything: by limits of the system where it has them,
and by an audit hook, which Python calls before it opens, imports, compiles, connects or starts anything.

The answer is a JSON document. Plain values are themselves and a list is a list; everything else is an object with one
key: ``{"dict": [[key, value], ...]}``, ``tuple``, ``set``, ``complex``, ``bytes``, ``scalar``, ``array``, ``objects``.
"""

from __future__ import annotations

import codecs
import gc
import json
import os
import sys
from math import prod
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such limits: the parent keeps to the time, the counters to the rest
    resource = None  # type: ignore[assignment]

from neurozoo.data.untrusted.formats import Reader
from neurozoo.data.untrusted.limits import LONGEST, REFUSED, Limits
from neurozoo.data.untrusted.pickles import (
    Array,
    DType,
    Fields,
    Name,
    Raw,
    RefusedError,
    Scalar,
    Span,
    Storage,
    shown,
    text_of,
)

__all__ = ["main"]

_HANDLES = 16
_PLAIN = (int, float, bool, type(None))
_KEYS = (*_PLAIN, str, bytes, Raw, tuple, complex, Scalar)


def main(form: str, arguments: str) -> int:
    """Read the file on descriptor 0, and return the exit status; ``arguments`` are the limits, in JSON.

    The form is ``pickle``, which stands for torch and joblib files too, ``hdf5`` or ``hdf5-ragged``.
    """
    limits = Limits(**json.loads(arguments))
    size = os.fstat(0).st_size
    if is_hdf5 := form.startswith("hdf5"):
        from neurozoo.data.untrusted.hdf5 import read_tree  # with its libraries, before nothing can be opened
    with (
        open(0, "rb", closefd=False) as file,
        open(1, "r+b", closefd=False) as spool,
        open(2, "wb", closefd=False) as answer,
    ):
        # Collecting would walk millions of small values again and again.
        gc.disable()
        try:
            _lock(limits, size)
            reader = Reader(file, spool, size, limits)
            content = read_tree(file, reader, limits, size, ragged=form == "hdf5-ragged") if is_hdf5 else reader.read()
            document = _Writer(reader, limits, size).document(content)
            spool.flush()
            answer.write(document)
            return 0
        except RefusedError as error:
            reason = " ".join(str(error).split())
        except MemoryError:
            reason = (
                f"it needs more than {limits.memory(size) / 2**30:.3g} GiB of memory, or announces more than it holds; "
                "if you trust it, set NEUROZOO_READ_MEMORY_GIB to more"
            )
        except RecursionError:
            reason = "it is nested too deep for a data file"
        except Exception as error:
            # Whatever the numbers in a broken file lead to; an error of the system has a number.
            if isinstance(error, OSError) and error.errno:
                reason = f"it could not be unfolded ({error.strerror}); is there room in the temporary folder?"
            else:
                what = "HDF5 file" if is_hdf5 else "file"
                reason = f"not a whole {what} ({shown(f'{type(error).__name__}: {error}', 200)}); download it again"
        answer.write(reason.encode("utf-8", "replace"))
        return REFUSED


def _lock(limits: Limits, size: int) -> None:
    """Give up everything but the files that are open."""
    # The codecs that texts and zip files need are imported when first looked up.
    for name in ("utf-8", "latin-1", "ascii", "cp437", "raw_unicode_escape"):
        codecs.lookup(name)
    if resource is not None:
        seconds = int(limits.time(size)) + 1
        wanted = {
            "RLIMIT_DATA": (limits.memory(size), 0),
            "RLIMIT_FSIZE": (2 * limits.content(size) + LONGEST, 0),
            "RLIMIT_CORE": (0, 0),
            "RLIMIT_NPROC": (0, 0),
            "RLIMIT_NOFILE": (_HANDLES, 0),
            "RLIMIT_CPU": (seconds, 1),  # the first ends it with a signal that says why, the second by force
        }
        for name, (most, more) in wanted.items():
            if (which := getattr(resource, name, None)) is not None:
                hard = resource.getrlimit(which)[1]
                most = most if hard == resource.RLIM_INFINITY else min(most, hard - more)
                resource.setrlimit(which, (most, most + more))

    def refuse(event: str, _: Any) -> None:
        if event != "builtins.id":
            raise RefusedError(f"reading it led to {shown(event)}, which is not done; report this file")

    sys.addaudithook(refuse)


class _Writer:
    """Writes what was read as JSON, and the bytes of arrays to the spool."""

    def __init__(self, reader: Reader, limits: Limits, size: int) -> None:
        self._reader, self._limits, self._size = reader, limits, size
        self._values, self._text, self._content = limits.values, LONGEST, limits.content(size)
        self._way: list[Any] = []
        # What was written of each container and array, and of how many values; None while it is being written.
        self._written: dict[int, tuple[Any, int] | None] = {}

    def document(self, content: Any) -> bytes:
        """The answer; content that holds itself or what is no data, or more than the limits allow, is refused."""
        document = json.dumps(self._value(content)).encode("ascii")
        if len(document) > LONGEST:
            raise RefusedError(
                f"its values that are no array's come to more than {LONGEST} bytes, too many for a data file"
            )
        return document

    def _value(self, value: Any) -> Any:
        kind = type(value)
        if kind is Storage or (kind is Name and (value.make or not value.label.startswith("torch."))):
            what = value.label if kind is Name else "a torch storage"
            raise RefusedError(f"{shown(what)} alone, which is no data{self._where()}; save a tensor")
        if kind in _PLAIN or kind is str or (kind is bytes and self._reader.old_text):
            return self._plain(text_of(value))
        if kind is Scalar:
            self._plain(None)
            return {"scalar": [value.dtype, value.raw.decode("latin-1")]}
        if kind is Name or kind is DType:
            return self._plain(value.label if kind is Name else value.name)
        if kind is complex:
            return {"complex": [value.real, value.imag]}
        if id(value) in self._written:
            return self._again(self._written[id(value)])
        if len(self._way) >= self._limits.depth:
            raise RefusedError(f"it is nested deeper than {self._limits.depth}{self._where()}")
        before, self._written[id(value)] = self._values, None
        self._plain(None)
        form = self._form(value)
        self._written[id(value)] = form, before - self._values
        return form

    def _plain(self, value: Any) -> Any:
        self._values -= 1
        self._text -= len(value) if type(value) is str else 0
        if self._values < 0 or self._text < 0:
            raise RefusedError(
                f"its values that are no array's come to more than {self._limits.values}, or to more than {LONGEST} "
                "characters, too many for a data file"
            )
        return value

    def _again(self, written: tuple[Any, int] | None) -> Any:
        """What was written of the same object; a few lists of each other can stand for more than fits anywhere."""
        if written is None:
            raise RefusedError(f"it holds itself{self._where()}")
        self._values -= written[1]
        self._plain(None)
        return written[0]

    def _form(self, value: Any) -> Any:
        if isinstance(value, Array):
            return self._array(value)
        if isinstance(value, Fields):
            value = value.values
        if isinstance(value, bytes | bytearray | Span):
            return {"bytes": self._data(value)}
        if isinstance(value, dict):
            return {"dict": [[self._key(key), self._at(key, item)] for key, item in value.items()]}
        if isinstance(value, set | frozenset):
            return {"set": [self._key(item) for item in value]}
        if isinstance(value, list | tuple):
            items = [self._at(i, item) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        raise RefusedError(f"a value of {shown(value)}, which is no data{self._where()}")

    def _key(self, key: Any) -> Any:
        if type(key) not in _KEYS:
            raise RefusedError(f"a key or element of a set that is {shown(key)}{self._where()}; save texts or numbers")
        return self._value(key)

    def _at(self, step: Any, value: Any) -> Any:
        self._way.append(step)
        form = self._value(value)
        self._way.pop()
        return form

    def _array(self, array: Array) -> Any:
        if array.shape is None:
            raise RefusedError(f"an array without content{self._where()}")
        if array.dtype == "O":
            wrong = next((item for item in array.data if type(item) is tuple or type(item) not in _KEYS), None)
            if wrong is not None:
                what = "arrays or lists" if isinstance(wrong, Array | list | tuple) else shown(wrong)
                raise RefusedError(
                    f"a numpy array of objects that holds {what}{self._where()}; only text and numbers may be in one: "
                    "pad what is ragged to one shape, or save a list"
                )
            return {"objects": [array.shape, [self._value(item) for item in array.data]]}
        self._content -= prod(array.shape) * max(array.item, 1)
        if self._content < 0:
            allowed = self._limits.content(self._size) / 2**30
            raise RefusedError(
                f"its arrays come to more than {allowed:.3g} GiB, {self._size} bytes of file{self._where()}; if you "
                "trust it, set NEUROZOO_READ_CONTENT_GIB to what it needs"
            )
        data = array.data
        if isinstance(data, Storage):
            if not isinstance(data.data, Span):
                data.data = self._reader.keep([data.data])
            data = data.data
        place, start, _ = self._data(data)
        return {"array": [array.dtype, array.shape, array.strides, place, start + array.offset]}

    def _data(self, data: Any) -> tuple[int, int, int]:
        span = data if isinstance(data, Span) else self._reader.keep([data])
        return span.place, span.start, span.length

    def _where(self) -> str:
        if not self._way:
            return ""
        parts = [
            shown(step, 24) if isinstance(step, str) else f"[{step if type(step) is int else shown(step)}]"
            for step in map(text_of, self._way[:6])
        ]
        return f" at {' > '.join(parts)}{' > ...' if len(self._way) > 6 else ''}"
