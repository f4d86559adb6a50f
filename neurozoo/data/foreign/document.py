"""What was read, as one JSON document: how it travels from the process that read it.

Plain values are themselves and a list is a list; everything else is an object with one key that names
it: ``{"dict": [[key, value], ...]}``, ``tuple``, ``set``, ``bytes``, ``complex``, ``array``, ``objects``. Bytes are
``{"base64": text}`` or ``{"place": n, "start": n, "length": n}``, a stretch of the file or of the spool.
``rebuild.py`` reads it.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from math import prod
from typing import Any

from neurozoo.data.foreign.dtypes import DType, size_of
from neurozoo.data.foreign.names import Name
from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import Data, Stretch, Workspace
from neurozoo.data.foreign.values import Array, Fields, OldStr, Storage, Text

__all__ = ["LONGEST", "to_json"]

LONGEST = 2**28
"""Bytes of a document: 256 MiB of values that are no array's."""
_PLAIN = (int, float, bool, type(None))
_OBJECTS = (str, OldStr, bytes, complex, *_PLAIN)


def to_json(content: Any, workspace: Workspace) -> bytes:
    """The document of what was read.

    Raises:
        RefusedError: It holds what is no data, holds itself, or is more than the limits allow.
    """
    document = json.dumps(_Writer(workspace).value(content, 0)).encode("ascii")
    if len(document) > LONGEST:
        raise RefusedError(
            f"its values that are no array's come to more than {LONGEST} bytes, too many for a data file"
        )
    return document


class _Writer:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._values = workspace.limits.values
        self._text = LONGEST
        self._content = workspace.limits.content(workspace.size)
        self._place: list[Any] = []
        self._counted: dict[int, Any] = {}

    def value(self, value: Any, depth: int) -> Any:
        """A value, for JSON."""
        self._values -= 1
        if self._values < 0:
            raise RefusedError(f"it holds more than {self._workspace.limits.values} values, too many for a data file")
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is str or kind is OldStr or kind is Text:
            return self._characters(value)
        if isinstance(value, Data):
            return {"bytes": self._data(value)}
        if kind is complex:
            return {"complex": [value.real, value.imag]}
        if isinstance(value, Array):
            return self._array(value)
        if depth >= self._workspace.limits.depth:
            raise RefusedError(f"it is nested deeper than {depth}, or holds itself{self._where()}")
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(value, depth)
        if isinstance(value, dict | Fields):
            return self._dict(value.values if isinstance(value, Fields) else value, depth)
        return self._by_itself(value)

    def _items(self, values: Any, depth: int) -> Any:
        items = []
        for i, item in enumerate(values):
            self._place.append(i)
            items.append(self.value(item, depth + 1))
            self._place.pop()
        if isinstance(values, list):
            return items
        return {"tuple" if isinstance(values, tuple) else "set": items}

    def _dict(self, values: dict[Any, Any], depth: int) -> Any:
        pairs = []
        for key, item in values.items():
            self._place.append(key)
            pairs.append([self.value(key, depth + 1), self.value(item, depth + 1)])
            self._place.pop()
        return {"dict": pairs}

    def _by_itself(self, value: Any) -> str:
        if isinstance(value, Name) and value.label.startswith("torch.") and not value.make:
            return value.label
        if isinstance(value, DType):
            return value.name
        if isinstance(value, Storage):
            raise RefusedError(f"a torch storage by itself{self._where()}; save the tensor")
        what = value.label if isinstance(value, Name) else type(value).__name__
        raise RefusedError(f"{shown(what)} by itself, which is no data{self._where()}")

    def _characters(self, value: str | Text) -> str:
        self._text -= len(value.data) if isinstance(value, Text) else len(value)
        if self._text < 0:
            raise RefusedError(f"its texts come to more than {LONGEST} characters, too many for a data file")
        if isinstance(value, OldStr):
            return _old(value.encode("latin-1"))
        if isinstance(value, str):
            return value
        raw = self._workspace.bytes_of(value.data)
        if value.encoding == "latin-1":
            return _old(raw)
        try:
            return raw.decode(value.encoding, "surrogatepass" if value.encoding == "utf-8" else "strict")
        except UnicodeDecodeError as error:
            raise RefusedError(f"a text that is not {value.encoding}{self._where()}; the file is damaged") from error

    def _array(self, array: Array) -> Any:
        if array.shape is None:
            raise RefusedError(f"an array without content{self._where()}")
        if array.dtype == "O":
            return self._objects(array, array.shape)
        if id(array) not in self._counted:
            self._counted[id(array)] = array
            self._content -= prod(array.shape) * size_of(array.dtype)
        if self._content < 0:
            allowed = self._workspace.limits.content(self._workspace.size) / 2**30
            raise RefusedError(
                f"its arrays come to more than {allowed:.3g} GiB, {self._workspace.size} bytes of file{self._where()}; "
                "if you trust it, set NEUROZOO_READ_CONTENT_GIB to what it needs"
            )
        data = array.data.data if isinstance(array.data, Storage) else array.data
        if data is None:
            raise RefusedError(f"a torch tensor whose values are missing{self._where()}; get the file anew")
        form = {"dtype": array.dtype, "shape": array.shape, "strides": array.strides, "offset": array.offset}
        return {"array": form | {"data": self._data(data)}}

    def _objects(self, array: Array, shape: tuple[int, ...]) -> Any:
        wrong = next(
            (type(item).__name__ for item in array.items if type(item) not in _OBJECTS and type(item) is not Text), ""
        )
        if wrong:
            what = "arrays or lists" if wrong in ("Array", "_Wrapper", "list", "tuple") else shown(wrong)
            raise RefusedError(
                f"a numpy array of objects that holds {what}{self._where()}; only text and numbers may be in one: "
                "pad what is ragged to one shape, or save a list"
            )
        return {
            "objects": {"shape": shape, "order": array.order, "items": [self.value(item, 0) for item in array.items]}
        }

    def _data(self, data: Data) -> Any:
        if isinstance(data, Stretch):
            return {"place": data.place, "start": data.start, "length": data.length}
        return {"base64": b2a_base64(data, newline=False).decode("ascii")}

    def _where(self) -> str:
        if not self._place:
            return ""
        parts = [shown(part, 24) if isinstance(part, str) else f"[{shown(part, 24)}]" for part in self._place[:6]]
        return f" at {' > '.join(parts)}{' > ...' if len(self._place) > 6 else ''}"


def _old(raw: bytes) -> str:
    """A text of Python 2: UTF-8 where it is that, or else Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
