"""Opening other people's HDF5 files: everything in the file itself, and no code but HDF5's own.

An HDF5 file can point to other files (external links, external raw storage, virtual datasets) and can
name a filter, which is a shared library that HDF5 loads. None of these is needed for data.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurozoo.data.foreign.files import open_regular
from neurozoo.errors import DataError

__all__ = ["open_hdf5", "read_dataset"]

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""Those that HDF5 and h5py bring themselves; any other is a plugin."""
_MEMBERS = 10_000_000
_DEPTH = 64


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file to read, every object of it looked at first.

    Returns:
        The file, open; close it, or use it in a ``with`` block.

    Raises:
        DataError: It is missing, not a whole HDF5 file, or holds a link that is not a hard one, a virtual
            or externally stored dataset, or a filter that HDF5 does not bring itself.
    """
    os.close(open_regular(path))
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is not a whole HDF5 file ({_first_line(error)}); get it anew") from error
    try:
        _bound_cache(file)
        _check_group(file, path)
    except DataError:
        file.close()
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        file.close()
        raise DataError(f"{path} is not a whole HDF5 file ({_first_line(error)}); get it anew") from error
    except BaseException:
        file.close()
        raise
    return file


def read_dataset(file: h5py.File | h5py.Group, name: str, *, limit_bytes: int = 2**32) -> NDArray[Any]:
    """A dataset of numbers or text of the file, whole.

    Args:
        file: From :func:`open_hdf5`, or a group of it.
        name: Path within it.
        limit_bytes: The most it may come to in memory, in bytes.

    Raises:
        DataError: It is missing, no dataset, of another type, too large, or damaged.
    """
    place = f"{file.file.filename}: {name!r}"
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        there = ", ".join(list(file)[:10])
        raise DataError(f"{place} is missing or no dataset; there are: {there or 'none'}")
    if found.shape is None or found.dtype.kind not in "biufSUO":
        raise DataError(f"{place} is {found.dtype}; only numbers and text can be read")
    if found.dtype.kind == "O" and h5py.check_string_dtype(found.dtype) is None:
        raise DataError(f"{place} holds references or ragged rows; only numbers and text can be read")
    size = int(np.prod(found.shape, dtype=object)) * found.dtype.itemsize
    if size > limit_bytes:
        raise DataError(f"{place} says it is {size} bytes large, more than the {limit_bytes} allowed here")
    try:
        return np.asarray(found[()])
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise DataError(f"{place} cannot be read ({_first_line(error)}); the file is damaged: get it anew") from error


def _bound_cache(file: h5py.File) -> None:
    """Keep HDF5 from growing what it remembers of the tree with the tree, which is read once from end to end."""
    config = file.id.get_mdc_config()
    config.initial_size = config.max_size = config.min_size
    file.id.set_mdc_config(config)


def _check_group(root: h5py.Group, path: Path) -> None:
    """Walk the tree by hard links alone; each object once, as a hard link can lead back up."""
    seen = {_address(root)}
    # Names and not groups: one that waits would be open, and a file may have a group for each of many videos.
    waiting = [("", 0)]
    while waiting:
        above, depth = waiting.pop()
        group = root[above or "/"]
        for name in group:
            place = f"{path}: {above}/{name}"
            _check_link(group, name, place)
            member = group[name]
            if _address(member) in seen:
                continue
            seen.add(_address(member))
            if len(seen) > _MEMBERS or depth >= _DEPTH:
                raise DataError(
                    f"{place}: more than {_MEMBERS} objects, or nested deeper than {_DEPTH}; not a data file"
                )
            if isinstance(member, h5py.Group):
                waiting.append((f"{above}/{name}", depth + 1))
            elif isinstance(member, h5py.Dataset):
                _check_dataset(member, place)


def _check_link(group: h5py.Group, name: str, place: str) -> None:
    kind = group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type
    if kind == h5py.h5l.TYPE_HARD:
        return
    what = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}
    raise DataError(
        f"{place} is {what.get(kind, 'a link of an unknown kind')}, which is not followed; "
        "give a file that holds its data itself"
    )


def _check_dataset(dataset: h5py.Dataset, place: str) -> None:
    made = dataset.id.get_create_plist()
    if made.get_external_count():
        raise DataError(f"{place} keeps its values in another file, which is not opened; give a file that holds them")
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise DataError(f"{place} is a virtual dataset, made of other files; give a file that holds its data itself")
    for i in range(made.get_nfilters()):
        code = made.get_filter(i)[0]
        if code not in _FILTERS:
            known = ", ".join(_FILTERS.values())
            raise DataError(f"{place} needs the filter plugin {code}, which is not loaded; allowed are {known}")


def _address(member: h5py.Group | h5py.Dataset | h5py.Datatype) -> Any:
    return h5py.h5o.get_info(member.id).addr


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
