"""What torch.save writes: a zip of a pickle and raw storages, or the older run of pickles.

Source: torch ``serialization.py``, ``_save`` and ``_legacy_save``.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from neurozoo.data.foreign.allowed import as_bytes
from neurozoo.data.foreign.dtypes import size_of
from neurozoo.data.foreign.machine import Machine
from neurozoo.data.foreign.names import Names, entries
from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import FILE, Data, Stream, Stretch, Workspace
from neurozoo.data.foreign.tensors import NAMES as _TENSORS
from neurozoo.data.foreign.tensors import storage_dtype
from neurozoo.data.foreign.values import Storage, whole_number

__all__ = ["MAGIC", "NAMES", "read_legacy", "read_zip"]

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the older format."""
_VERSION = 1001
_LOCAL_HEADER = 30
_PIECE = 2**20
_ENCRYPTED = 1


def read_zip(file: BinaryIO, workspace: Workspace) -> Any:
    """The content of a zip that torch.save wrote.

    Args:
        file: The file, seekable.
        workspace: Of this reading, on the same file.

    Raises:
        RefusedError: It is another zip, or not whole.
    """
    try:
        members = _Members(file, workspace)
        return members.content()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, KeyError, zlib.error) as error:
        raise RefusedError(f"not a whole zip file ({shown(error)}); get it anew") from error


class _Members:
    """The members of a zip; their names are looked up and never used as paths."""

    def __init__(self, file: BinaryIO, workspace: Workspace) -> None:
        self._workspace = workspace
        self._archive = zipfile.ZipFile(file)
        found = self._archive.infolist()
        if len(found) > workspace.limits.members:
            raise RefusedError(f"a zip of {len(found)} members, more than the {workspace.limits.members} allowed")
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in found:
            self._check(info)
            self._infos[info.filename] = info
        if sum(info.compress_size for info in found) > workspace.size:
            raise RefusedError("a zip whose members lie on each other; torch.save writes no such")
        self._root = self._find_root()
        self._storages: dict[str, Storage] = {}

    def _check(self, info: zipfile.ZipInfo) -> None:
        name = info.filename
        if name in self._infos:
            raise RefusedError(f"a zip with two members called {shown(name)}; torch.save writes each once")
        if info.flag_bits & _ENCRYPTED:
            raise RefusedError(f"a zip whose member {shown(name)} is encrypted; decrypt it first")
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":":
            raise RefusedError(f"a zip whose member {shown(name)} points outside of it; torch.save writes no such")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise RefusedError(f"a zip whose member {shown(name)} is a symbolic link; torch.save writes no such")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RefusedError(f"a zip whose member {shown(name)} is packed in an unusual way; store it plainly")

    def _find_root(self) -> str:
        pickles = [name for name in self._infos if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            npz = bool(self._infos) and all(name.endswith(".npy") for name in self._infos)
            what = "an npz file of numpy" if npz else "a zip without torch's data.pkl"
            raise RefusedError(f"{what}, not a pickle, torch or joblib file; give the file that is meant")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in self._infos:
            raise RefusedError("a TorchScript archive, which holds code; save its tensors by torch.save")
        return root

    def content(self) -> Any:
        """The value of the pickle in it."""
        order = f"{self._root}byteorder"
        if order in self._infos and self._workspace.bytes_of(self._data(order)) != b"little":
            raise RefusedError("a torch file of a big-endian machine; save it anew on an ordinary one")
        stream = self._workspace.stream(self._data(f"{self._root}data.pkl"))
        return Machine(stream, NAMES, self._workspace, self._storage).run()

    def _storage(self, key: Any) -> Storage:
        dtype, name, size, _ = _storage_id(key)
        member = f"{self._root}data/{name}"
        if member not in self._infos:
            raise RefusedError(f"a torch file without the storage {shown(name)}; get it anew")
        if member not in self._storages:
            self._storages[member] = Storage(dtype, size, self._data(member))
        storage = self._storages[member]
        if storage.size != size or storage.data is None or len(storage.data) != size:
            raise RefusedError(
                f"the torch storage {shown(name)} is announced with {size} bytes and has another number of them"
            )
        return storage if storage.dtype == dtype else Storage(dtype, size, storage.data)

    def _data(self, name: str) -> Data:
        """A member's bytes, where they are in the file if they are not packed, their checksum compared."""
        info = self._infos[name]
        if info.compress_type == zipfile.ZIP_DEFLATED:
            return self._workspace.spool(self._unpacked(info))
        header = self._workspace.stream(Stretch(FILE, 0, self._workspace.size))
        header.skip(info.header_offset)
        fields = header.take(_LOCAL_HEADER)
        if fields[:4] != b"PK\x03\x04" or info.file_size != info.compress_size:
            raise RefusedError(
                f"not a whole zip file: the member {shown(name)} is not where it is announced; get it anew"
            )
        header.skip(int.from_bytes(fields[26:28], "little") + int.from_bytes(fields[28:30], "little"))
        stretch = Stretch(FILE, header.skip(info.file_size), info.file_size)
        if _checksum(self._workspace.stream(stretch)) != info.CRC:
            raise RefusedError(f"not a whole zip file: the member {shown(name)} has another checksum; get it anew")
        return stretch

    def _unpacked(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        with self._archive.open(info) as member:
            while piece := member.read(_PIECE):
                yield piece


def _checksum(stream: Stream) -> int:
    value = 0
    while left := stream.end - stream.position:
        value = zlib.crc32(stream.take(min(_PIECE, left)), value)
    return value


def read_legacy(machine: Machine) -> Any:
    """The content of a file of torch's older format: pickles, then the storages one after another.

    Args:
        machine: After the first pickle, which was :data:`MAGIC`.

    Raises:
        RefusedError: It is malformed.
    """
    stream, storages = machine.stream, dict[str, Storage]()
    if machine.nested(stream).run() != _VERSION:
        raise RefusedError("a torch file of an unknown version; save it anew with a current torch")
    system = machine.nested(stream).run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedError("a torch file of a big-endian machine; save it anew on an ordinary one")

    def storage(key: Any) -> Storage:
        dtype, name, size, view = _storage_id(key)
        if view is not None:
            raise RefusedError("a torch file of a version before 0.4; save it anew with a current torch")
        found = storages.setdefault(name, Storage(dtype, size))
        if (found.dtype, found.size) != (dtype, size):
            raise RefusedError(f"the torch storage {shown(name)} is announced in two ways")
        return found

    content = machine.nested(stream, storage).run()
    keys = machine.nested(stream).run()
    if (
        type(keys) is not list
        or len(keys) != len(storages)
        or {key for key in keys if isinstance(key, str)} != set(storages)
    ):
        raise RefusedError("a torch file whose list of storages does not fit its tensors")
    for key in keys:
        wanted = storages[key]
        count = stream.unsigned(8)
        if count * size_of(wanted.dtype) != wanted.size:
            raise RefusedError(
                f"the torch storage {shown(key)} is announced with {wanted.size} bytes and has {count} numbers"
            )
        wanted.data = stream.cut(wanted.size)
    return content


def _storage_id(key: Any) -> tuple[str, str, int, Any]:
    """Dtype, name, bytes and view of ``("storage", kind, name, location, numbers, view)``."""
    if type(key) is not tuple or len(key) not in (5, 6) or key[0] != "storage" or not isinstance(key[2], str):
        raise RefusedError("it refers to something outside of itself that is no torch storage")
    dtype = storage_dtype(key[1])
    return (
        dtype,
        key[2],
        whole_number(key[4], "the size of a storage") * size_of(dtype),
        key[5] if len(key) == 6 else None,
    )


def _from_bytes(machine: Machine, arguments: tuple[Any, ...]) -> Storage:
    """A storage as plain pickle writes it: a whole torch file of the older format, as bytes."""
    data = as_bytes(arguments[0] if len(arguments) == 1 else None, "a torch storage")
    inner = machine.nested(machine.workspace.stream(data))
    storage = read_legacy(inner) if inner.run() == MAGIC else None
    if not isinstance(storage, Storage):
        raise RefusedError("a torch storage that holds something else")
    return storage


NAMES: Names = {**_TENSORS, **entries("torch.storage", {"_load_from_bytes": _from_bytes})}
"""Everything that a torch file may name."""
