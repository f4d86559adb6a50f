"""Open untrusted HDF5 files: only data in the file itself, and no code but HDF5's own.

An HDF5 file can point to other files (external links, external raw storage, virtual datasets) and can
name a filter, which is a shared library that HDF5 loads. Data needs none of these, so all are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurozoo.data.untrusted.files import open_regular
from neurozoo.errors import DataError

__all__ = ["open_hdf5", "read_dataset"]

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""Filters built into HDF5 and h5py; any other is a plugin."""
_MAX_MEMBERS = 10_000_000
_MAX_DEPTH = 64


def open_hdf5(path: Path) -> h5py.File:
    """Check every object of an HDF5 file, and open it for reading.

    Returns:
        The file, open; close it, or use it in a ``with`` block.

    Raises:
        DataError: It is missing, not a whole HDF5 file, or holds a link that is not a hard one, a virtual
            or externally stored dataset, or a filter that is not built in.
    """
    os.close(open_regular(path))
    try:
        file = h5py.File(path, "r")
        try:
            _bound_cache(file)
            _check_group(file, path)
        except BaseException:
            file.close()
            raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a whole HDF5 file ({_one_line(error)}); download it again") from error
    return file


def read_dataset(file: h5py.File | h5py.Group, name: str, *, limit_bytes: int = 2**32) -> NDArray[Any]:
    """Read a whole dataset of numbers or text.

    Args:
        file: From :func:`open_hdf5`, or a group of it.
        name: Path within ``file``.
        limit_bytes: Largest allowed size in memory, in bytes.

    Raises:
        DataError: It is missing, not a dataset, of another type, too large, or damaged.
    """
    where = f"{file.file.filename}: {name!r}"
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        listed = ", ".join(list(file)[:10])
        raise DataError(f"{where} is missing or not a dataset; there are: {listed or 'none'}")
    if dataset.shape is None or dataset.dtype.kind not in "biufSUO":
        raise DataError(f"{where} is {dataset.dtype}; only numbers and text can be read")
    if dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype) is None:
        raise DataError(f"{where} holds references or ragged rows; only numbers and text can be read")
    size = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
    if size > limit_bytes:
        raise DataError(f"{where} says it is {size} bytes large, more than the {limit_bytes} allowed here")
    try:
        return np.asarray(dataset[()])
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise DataError(
            f"{where} cannot be read ({_one_line(error)}); the file is damaged: download it again"
        ) from error


def _bound_cache(file: h5py.File) -> None:
    """Limit HDF5's metadata cache, which would grow with the tree; the tree is read only once."""
    config = file.id.get_mdc_config()
    config.initial_size = config.max_size = config.min_size
    file.id.set_mdc_config(config)


def _check_group(root: h5py.Group, path: Path) -> None:
    """Walk the tree along hard links only, each object once, as a hard link can form a cycle."""
    seen = {_address(root)}
    # Names instead of groups, as a group in the list would stay open and a file may have one per video.
    pending = [("", 0)]
    while pending:
        parent, depth = pending.pop()
        group = root[parent or "/"]
        for name in group:
            where = f"{path}: {parent}/{name}"
            _check_link(group, name, where)
            member = group[name]
            if _address(member) in seen:
                continue
            seen.add(_address(member))
            if len(seen) > _MAX_MEMBERS or depth >= _MAX_DEPTH:
                raise DataError(
                    f"{where}: more than {_MAX_MEMBERS} objects, or nested deeper than {_MAX_DEPTH}; not a data file"
                )
            if isinstance(member, h5py.Group):
                pending.append((f"{parent}/{name}", depth + 1))
            elif isinstance(member, h5py.Dataset):
                _check_dataset(member, where)


def _check_link(group: h5py.Group, name: str, where: str) -> None:
    kind = group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type
    if kind == h5py.h5l.TYPE_HARD:
        return
    kinds = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}
    raise DataError(
        f"{where} is {kinds.get(kind, 'a link of an unknown kind')}, which is not followed; "
        "give a file that holds its data itself"
    )


def _check_dataset(dataset: h5py.Dataset, where: str) -> None:
    layout = dataset.id.get_create_plist()
    if layout.get_external_count():
        raise DataError(f"{where} keeps its values in another file, which is not opened; give a file that holds them")
    if layout.get_layout() == h5py.h5d.VIRTUAL:
        raise DataError(f"{where} is a virtual dataset, made of other files; give a file that holds its data itself")
    for i in range(layout.get_nfilters()):
        code = layout.get_filter(i)[0]
        if code not in _FILTERS:
            known = ", ".join(_FILTERS.values())
            raise DataError(f"{where} needs the filter plugin {code}, which is not loaded; allowed are {known}")


def _address(member: h5py.Group | h5py.Dataset | h5py.Datatype) -> Any:
    return h5py.h5o.get_info(member.id).addr


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
