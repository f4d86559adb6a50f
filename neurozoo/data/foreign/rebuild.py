"""Making plain values and mapped arrays of the document, on the side that trusts neither it nor the file.

Every form, number and bound is checked again here: the process that wrote it read a stranger's file.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.foreign.dtypes import is_dtype

__all__ = ["from_json"]

_AXES = 32
_UNICODE = 0x10FFFF


def from_json(document: bytes, places: Mapping[int, Any]) -> Any:
    """The content that a document describes.

    Args:
        document: Written by ``document.to_json``.
        places: The file and the spool, mapped into memory.

    Raises:
        ValueError: It is malformed.
    """
    try:
        return _Reader(places).value(json.loads(document))
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


class _Reader:
    def __init__(self, places: Mapping[int, Any]) -> None:
        self._places = places

    def value(self, form: Any) -> Any:
        if isinstance(form, list):
            return [self.value(item) for item in form]
        if not isinstance(form, dict):
            return form
        ((kind, content),) = form.items()
        if kind == "dict":
            return {self.value(key): self.value(value) for key, value in content}
        if kind == "tuple":
            return tuple(self.value(item) for item in content)
        if kind == "set":
            return {self.value(item) for item in content}
        if kind == "bytes":
            return bytes(self._data(content))
        if kind == "complex":
            real, imaginary = content
            return complex(real, imaginary)
        if kind == "objects":
            return self._objects(content)
        if kind == "array":
            return self._array(**content)
        raise ValueError(f"the form {kind!r}")

    def _data(self, form: dict[str, Any]) -> memoryview:
        if "base64" in form:
            return memoryview(a2b_base64(form["base64"], strict_mode=True))
        place, start, length = form["place"], _number(form["start"]), _number(form["length"])
        whole = memoryview(self._places[place])
        if start + length > len(whole):
            raise ValueError("a stretch outside of the file")
        return whole[start : start + length]

    def _array(self, dtype: str, shape: list[int], strides: list[int], offset: int, data: Any) -> NDArray[Any]:
        sizes, steps, start = tuple(map(_number, shape)), tuple(map(_number, strides)), _number(offset)
        if not is_dtype(dtype) or dtype == "O" or len(sizes) != len(steps) or len(sizes) > _AXES:
            raise ValueError(f"an array of {dtype!r}")
        held = {"bfloat16": "<u2", "|b1": "|u1"}.get(dtype, dtype)
        kind, raw = np.dtype(held), self._data(data)
        if not prod(sizes) or not kind.itemsize:
            return np.empty(sizes, np.float32 if dtype == "bfloat16" else np.dtype(dtype))
        end = start + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True)) + kind.itemsize
        if end > len(raw):
            raise ValueError("an array outside of its data")
        array: NDArray[Any] = np.ndarray(sizes, kind, raw, start, steps)
        if dtype == "bfloat16":
            # The upper half of a float32.
            widened: NDArray[np.uint32] = np.left_shift(array, 16, dtype=np.uint32)
            return widened.view(np.float32)
        if dtype == "|b1":
            # Bytes other than 0 and 1 would make a bool that is neither.
            truth: NDArray[np.bool_] = array != 0
            return truth
        if kind.kind == "U":
            _check_text(array)
        array.flags.writeable = False
        return array

    def _objects(self, form: Any) -> NDArray[Any]:
        shape, items = tuple(map(_number, form["shape"])), [self.value(item) for item in form["items"]]
        if form["order"] not in ("C", "F") or prod(shape) != len(items):
            raise ValueError("an array of objects of another size")
        array = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):
            array[i] = item
        return array.reshape(shape, order=form["order"])


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} where a number should be")
    return value


def _check_text(array: NDArray[Any]) -> None:
    """Characters that do not exist would fail much later, where the text is used."""
    points = np.ascontiguousarray(array).view(array.dtype.str[0] + "u4")
    if points.size and int(points.max()) > _UNICODE:
        raise ValueError("a text with characters that do not exist")
