"""The files around pickles: compressed ones, torch's two formats and joblib's; runs in the process of ``child.py``.

The bytes of an array stay in the file where the format permits it, and are compared with a checksum where it has one.

Sources: torch ``serialization.py``, ``_save`` and ``_legacy_save``; joblib ``numpy_pickle.py``, ``NumpyArrayWrapper``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import IO, Any

from neurozoo.data.untrusted.limits import Limits
from neurozoo.data.untrusted.pickles import (
    ALLOWED,
    Array,
    Raw,
    RefusedError,
    Span,
    Storage,
    Unpickler,
    as_bytes,
    entries,
    text_of,
    whole_numbers,
)

__all__ = ["Reader"]

_PIECE = 2**20
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
"""The first two pickles of torch's older format."""
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.BZ2File, b"\xfd7zXZ": lzma.LZMAFile}
_PACKED |= {b"]\0": lzma.LZMAFile, b"x": None}  # zlib, which has no such class
_OTHERS = {
    b"<": "a web page or XML",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a pointer to a file in Git LFS",
    b"\x04\x22M\x18": "an LZ4 file, which is not unpacked here: compress it with zlib, gzip, bz2 or xz instead; it is",
    b"\x93NUMPY": "an npy file of numpy",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"ZF": "a joblib file of a version before 0.10; it is",
    b"(\xb5/\xfd": "a zstd file",
}


class _Input:
    """What an unpickler reads from. Without ``peek`` it reads no further than it needs, so that ``tell`` is exact."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.readline, self.readinto = file.read, file.readline, file.readinto  # type: ignore[attr-defined]
        self.tell, self.seek = file.tell, file.seek


class Reader:
    """Reads one file of ``size`` bytes; what is unpacked goes to the empty file ``spool``, as far as the limits go.

    Attributes:
        old_text: Whether plain ``bytes`` are texts of Python 2: no pickle in the file is of a protocol above 2.
    """

    def __init__(self, file: IO[bytes], spool: IO[bytes], size: int, limits: Limits) -> None:
        self._places, self._ends = (_Input(file), _Input(spool)), [size, 0]
        self._file, self._spool, self._limits, self._left = file, spool, limits, limits.content(size)
        self._source, self.old_text = self._places[0], True
        reader = self

        class Wrapper(Array):
            """joblib's ``NumpyArrayWrapper``: when its state has been set, the array's bytes are next in the file."""

            def __setstate__(self, state: Any) -> None:
                reader._follow(self, {text_of(key): value for key, value in state.items()})

        self._names = {
            **ALLOWED,
            **entries("_codecs", {"encode": self._encoded}),
            **entries("torch.storage", {"_load_from_bytes": self._storage}),
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): Wrapper,
        }

    def read(self) -> Any:
        """What the file holds: plain values and the descriptions of this module.

        Raises:
            RefusedError: It is not a whole file of these kinds, or holds anything else.
        """
        start = _peek(self._source)
        if (packing := next((magic for magic in _PACKED if start.startswith(magic)), None)) is not None:
            self.keep(self._unpacked(_PACKED[packing]))
            self._source = self._places[1]
            start = _peek(self._source)
            if start.startswith((b"PK", *_PACKED)):
                raise RefusedError("a compressed file of a compressed file; unpack it first")
        text = start.lstrip(b"\xef\xbb\xbf \r\n\t")
        what = next((name for magic, name in _OTHERS.items() if text.startswith(magic)), "")
        what = "a tar archive" if start[257:262] == b"ustar" else what
        if what or not start:
            raise RefusedError(f"{what or 'empty'}, not a pickle, torch or joblib file; give the file that is meant")
        if start.startswith(b"PK"):
            return self._zip()
        content = self._load(self._source)
        if content == _MAGIC and type(content) is int:
            content = self._legacy(self._source)
        if left := self._ends[self._places.index(self._source)] - self._source.tell():
            raise RefusedError(
                f"there are {left} bytes after its end: several pickles one after another, or a damaged file; save one "
                "dict of them"
            )
        return content

    def keep(self, pieces: Iterable[Any]) -> Span:
        """Write bytes to the spool, as far as the limits go.

        Raises:
            RefusedError: They come to more than the limits allow.
        """
        back = self._spool.tell()
        # numpy and torch are faster on aligned arrays.
        start = self._ends[1] = self._ends[1] + -self._ends[1] % 64
        if back != start:
            self._spool.seek(start)
        for piece in pieces:
            self._left -= len(piece)
            if self._left < 0:
                size, allowed = self._ends[0], self._limits.content(self._ends[0]) / 2**30
                raise RefusedError(
                    f"it unfolds to more than {allowed:.3g} GiB, {size} bytes of file; if you trust it, set "
                    "NEUROZOO_READ_CONTENT_GIB to what it needs"
                )
            self._ends[1] += self._spool.write(piece)
        if self._source is self._places[1]:
            self._spool.seek(back)
        return Span(1, start, self._ends[1] - start)

    def _load(self, source: Any, storages: dict[str, Storage] | None = None) -> Any:
        """The value of the pickle that begins here."""
        at = source.tell()
        self.old_text &= not b"\x80\x03" <= source.read(2) < b"\x80\xff"
        source.seek(at)
        return Unpickler(source, self._names, storages).load()

    def _cut(self, source: Any, size: int) -> Span | Raw:
        """The next bytes of a file, left where they are if they are not in memory."""
        if not isinstance(source, _Input):
            return Raw(source.read(size))
        place, start = self._places.index(source), source.tell()
        if size > self._ends[place] - start:
            raise RefusedError(f"not a whole file: {size} bytes are announced where fewer are left; download it again")
        source.seek(start + size)
        return Span(place, start, size)

    def _unpacked(self, opens: Any) -> Iterator[bytes]:
        if opens is None:
            unpacker = zlib.decompressobj()
            while not unpacker.eof:
                if not (data := unpacker.unconsumed_tail or self._file.read(_PIECE)):
                    raise EOFError("compressed file ends in the middle")
                yield unpacker.decompress(data, _PIECE)
            return
        with opens(self._file, "rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def _encoded(self, text: Any, encoding: Any = "latin1") -> Span | Raw:
        """Bytes of protocols 0 to 2; those of an array go to the spool, as the text stays in memory."""
        raw = as_bytes(text, encoding)
        return self.keep([raw]) if len(raw) > _PIECE else raw

    def _follow(self, array: Array, state: Mapping[Any, Any]) -> None:
        """Fill a joblib array with what follows in the file: a pickle of objects, or bytes."""
        source, dtype = self._source, state["dtype"]
        shape = whole_numbers(state["shape"], "the shape of an array")
        if dtype.name == "O":
            inner = self._load(source)
            array.fill(inner.data, dtype, inner.shape, "C")
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            source.seek(source.read(1)[0], 1)
        array.fill(self._cut(source, prod(shape) * dtype.size), dtype, shape, state["order"])

    def _storage(self, data: Any) -> Storage:
        """A torch storage in a plain pickle: a whole file of torch's older format, as bytes."""
        source = io.BytesIO(data)
        storage = self._legacy(source) if self._load(source) == _MAGIC else None
        if not isinstance(storage, Storage):
            raise RefusedError("a torch storage that holds something else")
        return storage

    def _legacy(self, source: Any) -> Any:
        """Torch's older format, after its first pickle: four pickles, then the storages one after another."""
        version, system = self._load(source), {text_of(key): value for key, value in self._load(source).items()}
        if version != _VERSION or system.get("little_endian") is not True:
            raise RefusedError("a torch file of an unknown version or a big-endian machine; save it with a new torch")
        storages: dict[str, Storage] = {}
        content, keys = self._load(source, storages), list(map(text_of, self._load(source)))
        if sorted(keys) != sorted(storages):
            raise RefusedError("a torch file whose list of storages does not fit its tensors")
        for key in keys:
            source.seek(8, 1)  # the number of elements, which is known
            storages[key].fill(self._cut(source, storages[key].size))
        return content

    def _zip(self) -> Any:
        """What torch.save writes: a zip of a pickle and raw storages."""
        archive = zipfile.ZipFile(self._file)
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            what = "an npz file of numpy" if names and all(name.endswith(".npy") for name in names) else "a zip"
            raise RefusedError(
                f"{what} without torch's data.pkl, not a pickle, torch or joblib file; give the file that is meant"
            )
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in names:
            raise RefusedError("a TorchScript archive, which holds code; save its tensors by torch.save")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise RefusedError("a torch file of a big-endian machine; save it on an ordinary one")
        span, storages = self._member(archive, pickles[0]), dict[str, Storage]()
        self._source = self._places[span.place]
        self._source.seek(span.start)
        content = self._load(self._source, storages)
        for key, storage in storages.items():
            storage.fill(self._member(archive, f"{root}data/{key}"))
        return content

    def _member(self, archive: zipfile.ZipFile, name: str) -> Any:
        """Where a member's bytes are, their checksum compared; compressed ones are unpacked."""
        info = archive.getinfo(name)
        with archive.open(info) as member:
            pieces = iter(lambda: member.read(_PIECE), b"")
            if info.compress_type != zipfile.ZIP_STORED:
                return self.keep(pieces)
            for _ in pieces:
                pass
        # The two lengths in the member's own header, which need not be those in the directory.
        self._file.seek(info.header_offset + 26)
        lengths = self._file.read(4)
        self._file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
        return self._cut(self._places[0], info.file_size)


def _peek(source: _Input) -> bytes:
    source.seek(0)
    start: bytes = source.read(512)
    source.seek(0)
    return start
