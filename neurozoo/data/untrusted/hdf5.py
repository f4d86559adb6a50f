"""Walks an HDF5 file; runs in ``child.py``'s process, as libhdf5 itself may loop, run out of memory or crash.

An HDF5 file can point to other files (external links, external raw storage, virtual datasets) and can
name a filter, which is a shared library that HDF5 loads. Data needs none of these, so all are refused.
"""

from __future__ import annotations

from math import prod
from typing import IO, Any

import h5py

from neurozoo.data.untrusted.formats import Reader
from neurozoo.data.untrusted.limits import Limits
from neurozoo.data.untrusted.pickles import Array, RefusedError, Span, shown, text_of

__all__ = ["read_tree"]

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""Filters built into HDF5 and h5py; any other is a plugin."""
_ROWS = 256
"""Ragged rows that are read at a time."""


def read_tree(file: IO[bytes], reader: Reader, limits: Limits, size: int, *, ragged: bool = False) -> dict[str, Any]:
    """Return groups as dicts, and datasets as arrays, a single text as text, an empty one as None.

    With ``ragged``, rows of numbers that each have their own length are lists of arrays.

    The bytes of a contiguous dataset stay in the file; others are copied to the spool.

    Raises:
        RefusedError: A link is not a hard one, a dataset is virtual, stored elsewhere, needs a filter plugin or
            holds neither numbers nor text, or all of them together are larger than the limits allow.
    """
    # Reading through an open file, HDF5 opens none.
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, file)
    root = h5py.Group(h5py.h5g.open(h5py.h5f.open(b"file", h5py.h5f.ACC_RDONLY, access), b"/"))
    config = root.file.id.get_mdc_config()
    config.initial_size = config.max_size = config.min_size  # the tree is read once: no cache that grows with it
    root.file.id.set_mdc_config(config)
    return _Walk(reader, limits, size, ragged).read(root)


class _Walk:
    """One pass along the hard links that checks all, then one that reads; an object with several names is read once."""

    def __init__(self, reader: Reader, limits: Limits, size: int, ragged: bool) -> None:
        self._takes_ragged = ragged
        self._reader, self._limits, self._size, self._left = reader, limits, size, limits.content(size)
        self._seen: dict[Any, Any] = {}
        self._found: list[tuple[dict[str, Any], str, Any, h5py.Dataset, str]] = []

    def read(self, root: h5py.Group) -> dict[str, Any]:
        """Return the content of the file; nothing is read before the size of all of it is known."""
        content = self._group(root, "")
        for parent, name, address, dataset, where in self._found:
            if self._seen[address] is None:
                self._seen[address] = self._array(dataset, where)
            parent[name] = self._seen[address]
        return content

    def _group(self, group: h5py.Group, path: str) -> dict[str, Any]:
        if path.count("/") > self._limits.depth:
            raise RefusedError(f"{shown(path)}: groups are nested deeper than {self._limits.depth}; not a data file")
        content: dict[str, Any] = {}
        self._seen[h5py.h5o.get_info(group.id).addr] = content
        for name in group:
            where = f"{path}/{name}"
            kind = group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type
            if kind != h5py.h5l.TYPE_HARD:
                kinds = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}
                raise RefusedError(
                    f"{shown(where)} is {kinds.get(kind, 'a link of an unknown kind')}, which is not followed; "
                    "give a file that holds its data itself"
                )
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address not in self._seen:
                if len(self._seen) >= self._limits.values:
                    raise RefusedError(f"{shown(where)}: more than {self._limits.values} objects; not a data file")
                if isinstance(member, h5py.Group):
                    self._group(member, where)
                elif isinstance(member, h5py.Dataset):
                    self._check(member, shown(where))
                    self._seen[address] = None
                else:
                    raise RefusedError(f"{shown(where)} is a named type, which is no data; remove it")
            content[name] = self._seen[address]
            if isinstance(member, h5py.Dataset):
                self._found.append((content, name, address, member, shown(where)))
        return content

    def _check(self, dataset: h5py.Dataset, where: str) -> None:
        layout = dataset.id.get_create_plist()
        if layout.get_external_count():
            raise RefusedError(
                f"{where} keeps its values in another file, which is not opened; give a file that holds them"
            )
        if layout.get_layout() == h5py.h5d.VIRTUAL:
            raise RefusedError(
                f"{where} is a virtual dataset, made of other files; give a file that holds its data itself"
            )
        for i in range(layout.get_nfilters()):
            if (code := layout.get_filter(i)[0]) not in _FILTERS:
                known = ", ".join(_FILTERS.values())
                raise RefusedError(f"{where} needs the filter plugin {code}, which is not loaded; allowed are {known}")
        shape, dtype = dataset.shape, dataset.dtype
        if shape is None:
            return
        if dtype.kind not in "biufSO":
            raise RefusedError(f"{where} is {shown(str(dtype))}; only numbers and text can be read")
        if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None and not self._ragged_is_read(dtype, shape):
            raise RefusedError(f"{where} holds references or ragged rows; only numbers and text can be read")
        self._left -= prod(shape) * max(dtype.itemsize, 1)
        if self._left < 0:
            allowed = self._limits.content(self._size) / 2**30
            raise RefusedError(
                f"its arrays come to more than {allowed:.3g} GiB, {self._size} bytes of file, at {where}; if you "
                "trust it, set NEUROZOO_READ_CONTENT_GIB to what it needs"
            )

    def _array(self, dataset: h5py.Dataset, where: str) -> Any:
        shape, dtype = dataset.shape, dataset.dtype
        if shape is None:
            return None
        if self._ragged_is_read(dtype, shape):
            return self._ragged(dataset, where)
        is_text, size = dtype.kind == "O", prod(shape) * dtype.itemsize
        array, name = Array(), f"{'>' if dtype.byteorder == '>' else '<'}{dtype.kind}{dtype.itemsize}"
        start = None if is_text else _place(dataset, size)
        if start is not None:
            data: Any = Span(0, start, size)
        else:
            try:
                values = dataset[()]
            except (OSError, RuntimeError, ValueError) as error:
                raise RefusedError(
                    f"{where} cannot be read ({error}); the file is damaged: download it again"
                ) from error
            if is_text and not shape:
                return text_of(values)
            data = (
                [text_of(value) for value in values.reshape(-1)] if is_text else self._reader.keep([values.tobytes()])
            )
        if is_text:
            name = "O"
        strides = tuple(dtype.itemsize * prod(shape[i + 1 :]) for i in range(len(shape)))
        array._set(data, name, dtype.itemsize, shape, strides)
        return array

    def _ragged_is_read(self, dtype: Any, shape: tuple[int, ...]) -> bool:
        """Return whether a dataset's elements are rows of numbers, each of its own length, that are asked for."""
        base = h5py.check_vlen_dtype(dtype)
        # Of text it is the class of Python's text.
        is_rows = base is not None and not isinstance(base, type) and base.kind in "biuf" and len(shape) == 1
        return self._takes_ragged and is_rows

    def _ragged(self, dataset: h5py.Dataset, where: str) -> list[Array]:
        """Copy rows of their own lengths to the spool; the heap that they lie in is no array."""
        base = h5py.check_vlen_dtype(dataset.dtype)
        name = f"{'>' if base.byteorder == '>' else '<'}{base.kind}{base.itemsize}"
        rows: list[Array] = []
        if dataset.shape[0] > self._limits.values:
            raise RefusedError(f"{where} has {dataset.shape[0]} rows, more than {self._limits.values}; not a data file")
        for first in range(0, dataset.shape[0], _ROWS):
            try:
                values = dataset[first : first + _ROWS]
            except (OSError, RuntimeError, ValueError) as error:
                raise RefusedError(
                    f"{where} cannot be read ({error}); the file is damaged: download it again"
                ) from error
            for value in values:
                row = Array()
                row._set(self._reader.keep([value.tobytes()]), name, base.itemsize, value.shape, (base.itemsize,))
                rows.append(row)
        return rows


def _place(dataset: h5py.Dataset, size: int) -> int | None:
    """Return where the ``size`` bytes of a dataset lie in the file, if they lie there as numpy has them."""
    layout, kind = dataset.id.get_create_plist(), dataset.id.get_type()
    # A dataset that was never written has an offset too, and no bytes; a number of 12 bits is one of 16 for numpy.
    whole = layout.get_layout() == h5py.h5d.CONTIGUOUS and dataset.id.get_storage_size() == size
    as_numpy = kind.equal(h5py.h5t.py_create(dataset.dtype, logical=True))
    return dataset.id.get_offset() if whole and as_numpy and not layout.get_nfilters() else None
