"""What joblib.dump writes: a pickle with the bytes of each array after its description; maybe packed.

Source: joblib ``numpy_pickle.py``, ``NumpyArrayWrapper``.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from neurozoo.data.foreign.allowed import ARRAY_CLASSES
from neurozoo.data.foreign.dtypes import DType
from neurozoo.data.foreign.machine import Machine
from neurozoo.data.foreign.names import Name, Names, entries
from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import Data, Stream, Workspace
from neurozoo.data.foreign.torch_files import NAMES as _BESIDES
from neurozoo.data.foreign.values import Array, whole_numbers

__all__ = ["NAMES", "is_packed", "unpacked"]

_PIECE = 2**20
_LZMA_MEMORY = 2**28
_PACKED = {b"x": "zlib", b"\x1f\x8b": "gzip", b"BZ": "bz2", b"\xfd7zXZ": "xz", b"]\0": "lzma"}
_MAKE: dict[str, Callable[[], Any]] = {
    "zlib": zlib.decompressobj,
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
}


class _Wrapper(Array):
    """A ``NumpyArrayWrapper``; when its state is set, the array's bytes are next in the file."""

    __slots__ = ()

    def build(self, state: Any, machine: Any) -> None:
        """Read the array that follows."""
        dtype = state.get("dtype") if isinstance(state, dict) else None
        kind = state.get("subclass") if isinstance(state, dict) else None
        if self.shape is not None or not isinstance(dtype, DType) or not isinstance(kind, Name):
            raise RefusedError("a joblib array with a malformed state")
        if kind.label not in ARRAY_CLASSES:
            raise RefusedError("a joblib array of a class that is not numpy.ndarray; save it as one")
        shape = whole_numbers(state.get("shape"), "the shape of an array")
        if dtype.name == "O":
            self._take_objects(machine.nested(machine.stream).run(), shape)
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            machine.stream.skip(machine.stream.byte())
        self.fill(shape, dtype, state.get("order"), machine.stream.cut(prod(shape) * dtype.size))

    def _take_objects(self, array: Any, shape: tuple[int, ...]) -> None:
        if not isinstance(array, Array) or array.dtype != "O" or array.shape != shape:
            raise RefusedError("a joblib array of objects that is followed by something else")
        self.dtype, self.shape, self.items, self.order = "O", shape, array.items, array.order


def _wrapper(machine: Machine, arguments: tuple[Any, ...]) -> _Wrapper:
    if arguments:
        raise RefusedError("a joblib array with a malformed state")
    return _Wrapper()


NAMES: Names = {**_BESIDES, **entries("joblib.numpy_pickle", {"NumpyArrayWrapper": _wrapper})}
"""Everything that any of these files may name."""


def is_packed(stream: Stream) -> str:
    """How the file is packed, such as ``gzip``; empty if it is not."""
    start = stream.peek(6)
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), "")


def unpacked(stream: Stream, packing: str, workspace: Workspace) -> Data:
    """Unfold a packed file into the spool, as far as the limits go.

    Raises:
        RefusedError: It is damaged, goes on after its end, or unfolds to too much.
    """
    try:
        return workspace.spool(_pieces(stream, packing))
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise RefusedError(f"not a whole {packing} file ({shown(error)}); get it anew") from error


def _pieces(stream: Stream, packing: str) -> Iterator[bytes]:
    unpacker = _MAKE[packing]()
    while not unpacker.eof:
        data = stream.take(min(_PIECE, stream.end - stream.position))
        if not data:
            raise RefusedError(f"not a whole {packing} file: it ends in the middle; get it anew")
        yield from _fed(unpacker, data)
        if unpacker.eof:
            stream.position -= len(unpacker.unused_data)
            # gzip, bz2 and xz files may be several, one after another.
            if stream.position < stream.end and is_packed(stream) == packing and packing not in ("zlib", "lzma"):
                unpacker = _MAKE[packing]()
    if stream.position < stream.end:
        raise RefusedError(
            f"a {packing} file that goes on after its end, {stream.end - stream.position} bytes; get it anew"
        )


def _fed(unpacker: Any, data: bytes) -> Iterator[bytes]:
    """What comes of ``data``, in pieces: a little of it can unfold to very much."""
    while True:
        piece = unpacker.decompress(data, _PIECE)
        if piece:
            yield piece
        data = getattr(unpacker, "unconsumed_tail", b"")
        if unpacker.eof or not (data or piece):
            return
