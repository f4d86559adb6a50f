"""Read numbers of untrusted MATLAB files, version 5 (``save -v6`` and ``-v7``); nothing but arrays of numbers is built.

Format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.untrusted.limits import Limits
from neurozoo.errors import DataError
from neurozoo.files.opening import read_bytes

__all__ = ["parse_mat", "read_mat"]

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Forms in which numbers are stored, by their code."""
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""dtypes of the classes that are arrays of numbers; their values may be stored in a smaller form."""
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_MOST_AXES = 32
_LARGEST = 2**30
"""Bytes of a file."""


def read_mat(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of numbers in a MATLAB file by name; other variables are left out.

    Args:
        path: A file of version 5, as ``save`` writes it with ``-v6`` or ``-v7``.
        names: Variables to read; by default all.

    Raises:
        DataError: It is of another version or big-endian, is damaged, or is larger unpacked than the
            :class:`~neurozoo.data.untrusted.limits.Limits` allow.
    """
    return parse_mat(read_bytes(path, limit=_LARGEST), str(path), names)


def parse_mat(raw: bytes, where: str, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return what :func:`read_mat` does of a file's bytes; ``where`` names it in errors.

    Raises:
        DataError: See :func:`read_mat`.
    """
    if raw.startswith(b"MATLAB 7.3") or raw[512:516] == b"\x89HDF":
        raise DataError(f"{where}: MATLAB's version 7.3 is not read; save it with -v7")
    version, order = raw[124:126], raw[126:128]
    if order != b"IM" or version != b"\x00\x01":
        problem = "of a big-endian machine" if order == b"MI" else "cut, or of no version that is read"
        raise DataError(f"{where} is {problem}; give a MATLAB file saved with -v7 or -v6")
    left = Limits().content(len(raw))
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for kind, data in _elements(memoryview(raw)[_HEADER:]):
            if kind == _COMPRESSED:
                unpacked = _unpack(data, left)
                left -= len(unpacked)
                kind, data = next(_elements(memoryview(unpacked)))
            if kind == _MATRIX and (found := _array(data, names, left)) is not None:
                name, arrays[name] = found
                left -= arrays[name].nbytes
    except (ValueError, StopIteration, struct.error, zlib.error, UnicodeDecodeError) as error:
        reason = str(error) or "an element is empty"
        raise DataError(f"{where} cannot be read ({reason}); it is damaged: download it again") from error
    return arrays


def _unpack(data: memoryview, left: int) -> bytes:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, max(left, 1))
    if not unpacker.eof:
        raise ValueError(
            "it is cut, or unfolds to more than is allowed; if you trust it, set NEUROZOO_READ_CONTENT_GIB to what it "
            "needs"
        )
    return unpacked


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the content of each element; short ones have both in one word."""
    at = 0
    while at < len(data):
        word, size = struct.unpack_from("<II", data, at)
        if word >> 16:
            kind, size, start, following = word & 0xFFFF, word >> 16, at + 4, at + 8
        else:
            kind, start = word, at + 8
            following = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data) or (word >> 16 and size > 4):
            raise ValueError(f"an element of {size} bytes reaches beyond its end")
        yield kind, data[start : start + size]
        at = following


def _array(data: memoryview, names: Collection[str] | None, left: int) -> tuple[str, NDArray[Any]] | None:
    """Return a matrix's name and numbers; None of one that is not asked for, or holds no numbers."""
    elements = _elements(data)
    flags = struct.unpack_from("<I", next(elements)[1])[0]
    if flags & 0xFF not in _CLASSES:
        return None
    shape = np.frombuffer(next(elements)[1], "<i4").tolist()
    name = next(elements)[1].tobytes().decode("ascii")
    if names is not None and name not in names:
        return None
    if flags & _COMPLEX:
        raise ValueError(f"{name[:80]!r} holds complex numbers")
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
        raise ValueError(f"{name[:80]!r} has the axes {shape[:_MOST_AXES]}")
    dtype = np.dtype(f"<{_CLASSES[flags & 0xFF]}")
    kind, values = next(elements)
    if kind not in _TYPES:
        raise ValueError(f"{name[:80]!r} has values of type {kind}")
    stored = np.dtype(f"<{_TYPES[kind]}")
    if prod(shape) * stored.itemsize != len(values):
        raise ValueError(f"{name[:80]!r} says it is {shape} of {stored}, which is not its size")
    if prod(shape) * dtype.itemsize > left:
        raise ValueError(
            f"{name[:80]!r} is larger than is allowed; if you trust it, set NEUROZOO_READ_CONTENT_GIB to what it needs"
        )
    array = np.frombuffer(values, stored).astype(np.bool_ if flags & _LOGICAL else dtype)
    return name, array.reshape(shape, order="F")
