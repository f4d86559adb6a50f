"""Read untrusted npz and npy files: arrays of numbers and text of their declared size, never Python objects.

Format: ``numpy.lib.format``.
"""

from __future__ import annotations

import sys
import zipfile
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from neurozoo.data.untrusted.limits import Limits
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular

__all__ = ["has_impossible_text", "names_in_npz", "read_npy", "read_npz"]

_ENCRYPTED = 1
_PIECE = 2**20
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an npz file by name.

    Raises:
        DataError: It is missing, not a whole npz file, holds Python objects, or is larger unpacked than
            the :class:`~neurozoo.data.untrusted.limits.Limits` allow.
    """
    with open_regular(path) as file:
        try:
            # numpy would open a pickle of this name as a pickle.
            if not zipfile.is_zipfile(file):
                raise DataError(f"{path} is truncated or not an npz file; download it again")
            with zipfile.ZipFile(file) as archive:
                _check(archive, path, Limits())
                return {info.filename.removesuffix(".npy"): _array(archive, info, path) for info in archive.infolist()}
        except DataError:
            raise
        except Exception as error:  # no list of what the libraries raise for a forged header is complete
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(
                f"{path} cannot be read ({reason}); it is damaged, or not an npz file: download it again"
            ) from error


def names_in_npz(path: Path) -> tuple[str, ...]:
    """Return the names of an npz file's arrays without reading them; none of a file that is not one."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except Exception:  # of a detection, which must not fail; no list of what zipfile raises is complete
        return ()


def _check(archive: zipfile.ZipFile, path: Path, limits: Limits) -> None:
    infos, size = archive.infolist(), path.stat().st_size
    if len(infos) > limits.members or len({info.filename for info in infos}) < len(infos):
        raise DataError(f"{path} holds {len(infos)} members, too many or two of one name; an npz file has each once")
    total = sum(info.file_size for info in infos)
    if total > limits.content(size):
        raise DataError(
            f"{path} unfolds to {total / 2**30:.3g} GiB, {size} bytes of file; if you trust it, set "
            "NEUROZOO_READ_CONTENT_GIB to what it needs"
        )
    for info in infos:
        if not info.filename.endswith(".npy") or info.flag_bits & _ENCRYPTED:
            raise DataError(
                f"{path}: the member {info.filename[:80]!a} is encrypted, or not an array; give arrays of numbers"
            )


def read_npy(file: IO[bytes], size: int, where: str) -> NDArray[Any]:
    """Return the array of an open npy file.

    Args:
        file: The file, at its beginning.
        size: Its bytes.
        where: Names it in errors.

    Raises:
        DataError: It is not a whole npy file, holds Python objects, or is larger than the
            :class:`~neurozoo.data.untrusted.limits.Limits` allow.
    """
    if size > Limits().content(0):
        raise DataError(
            f"{where} is {size / 2**30:.3g} GiB large; if you trust it, set NEUROZOO_READ_CONTENT_GIB to what it needs"
        )
    try:
        return _read_array(file, size, where, where)
    except DataError:
        raise
    except Exception as error:  # as in read_npz
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{where} cannot be read ({reason}); it is damaged, or not an npy file: download it again"
        ) from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    with archive.open(info) as member:
        return _read_array(member, info.file_size, info.filename, str(path))


def _read_array(member: IO[bytes], size: int, name: str, where: str) -> NDArray[Any]:
    version = npy.read_magic(member)
    if version not in _HEADERS:
        raise ValueError(f"{name} is of version {version}")
    shape, fortran, dtype = _HEADERS[version](member)
    if dtype.hasobject:
        raise DataError(
            f"{where} holds Python objects, which are never loaded; give arrays of numbers; sequences of several "
            "lengths come padded with an array of their lengths, or as a file each"
        )
    # numpy makes characters of no width one wide.
    fits = dtype.itemsize > 0 and size - member.tell() == prod(shape) * dtype.itemsize
    if any(n < 0 for n in shape) or not fits:
        raise ValueError(f"{name} says it is {list(shape)} of {dtype}, which is not its size")
    array = np.empty(prod(shape), dtype)
    _fill(array, member)
    if has_impossible_text(array):
        raise ValueError(f"{name} holds characters that do not exist")
    return array.reshape(shape, order="F" if fortran else "C")


def has_impossible_text(array: NDArray[Any]) -> bool:
    """Return whether an array of text holds numbers that are no characters, or halves of character pairs.

    They would fail much later, where the text is used.
    """
    if array.dtype.kind != "U" or not array.size:
        return False
    points = np.ascontiguousarray(array).reshape(-1).view(array.dtype.str[0] + "u4")
    return bool((points > sys.maxunicode).any() or ((points >= 0xD800) & (points <= 0xDFFF)).any())


def _fill(array: NDArray[Any], member: IO[bytes]) -> None:
    """Read in pieces up to the end, where zipfile compares the checksum."""
    target, done = array.view(np.uint8).reshape(-1).data if array.nbytes else memoryview(bytearray()), 0
    while piece := member.read(_PIECE):
        target[done : done + len(piece)] = piece
        done += len(piece)
    if done < array.nbytes:
        raise ValueError("it is cut off")
