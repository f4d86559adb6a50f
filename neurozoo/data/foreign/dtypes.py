"""Numpy's data types as pickles write them, and single numbers of them.

Source: numpy ``_core/src/multiarray/descriptor.c``, ``arraydescr_reduce``.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.values import Array, Built, whole_number

__all__ = ["DType", "is_dtype", "scalar", "size_of"]

_NUMBERS = {
    **{f"{kind}{size}": size for kind in "iu" for size in (1, 2, 4, 8)},
    **{f"f{size}": size for size in (2, 4, 8)},
    **{f"c{size}": size for size in (8, 16)},
    "b1": 1,
}
_TEXT = re.compile(r"[SUa](\d{1,9})")
_TIME = re.compile(r"[Mm]8")
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic")
_ORDERS = ("<", ">", "|", "=")
_DTYPE = re.compile(
    r"[<>]([iu][248]|f[248]|c8|c16|U\d{1,9}|[Mm]8(\[(\d{1,9})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
    r"|\|([iu]1|b1|S\d{1,9})|bfloat16|O"
)
_FLOATS = {2: "e", 4: "f", 8: "d"}


def is_dtype(name: object) -> bool:
    """Whether this is how a dtype is written here."""
    return isinstance(name, str) and _DTYPE.fullmatch(name) is not None


def size_of(name: str) -> int:
    """Bytes of an element of a dtype, as :attr:`DType.name` writes it."""
    if name == "bfloat16":
        return 2
    kind, digits = name[1], re.match(r"\d+", name[2:])
    return (int(digits[0]) if digits else 0) * (4 if kind == "U" else 1)


class DType(Built):
    """A dtype: ``numpy.dtype(spec, align, copy)``, whose byte order and unit come as its state."""

    __slots__ = ("name", "order", "size", "spec", "unit")

    def __init__(self, spec: Any) -> None:
        self.spec = str(spec) if isinstance(spec, str) else ""
        self.order, self.unit = "<", ""
        if self.spec.startswith("O"):
            self.size = 0
        elif self.spec in _NUMBERS:
            self.size = _NUMBERS[self.spec]
        elif _TIME.fullmatch(self.spec):
            self.size = 8
        elif text := _TEXT.fullmatch(self.spec):
            self.size = int(text[1]) * (4 if self.spec[0] == "U" else 1)
        else:
            what = shown(spec) if isinstance(spec, str) else shown(type(spec).__name__)
            raise RefusedError(
                f"an array of numpy type {what}, which is not among what data files may hold; "
                "allowed are numbers, text, times and objects that are such"
            )
        self._set_name()

    def _set_name(self) -> None:
        kind = self.spec[0].replace("a", "S")
        one = self.size == 1 and kind in "iub"
        order = "|" if one or kind == "S" else self.order
        self.name = "O" if kind == "O" else f"{order}{kind}{self.spec[1:]}{self.unit}"

    def build(self, state: Any, machine: Any) -> None:
        """Numpy's state: version, order, subtype, names, fields, size, alignment, flags, metadata."""
        if type(state) is not tuple or not 8 <= len(state) <= 9 or state[1] not in _ORDERS:
            raise RefusedError("a numpy dtype with a malformed state")
        if any(state[i] is not None for i in (2, 3, 4)):
            raise RefusedError(
                "an array of numpy records, which is not among what data files may hold; save its fields one by one"
            )
        self.order = ">" if state[1] == ">" else "<"
        if self.spec in ("M8", "m8") and len(state) == 9:
            self.unit = _unit(state[8])
        self._set_name()


def _unit(metadata: Any) -> str:
    """``[ns]`` of ``({}, (b"ns", 1, 1, 1))``."""
    inner = metadata[1] if type(metadata) is tuple and len(metadata) == 2 else metadata
    if type(inner) is not tuple or len(inner) < 2:
        raise RefusedError("a numpy time with a malformed unit")
    unit, step = inner[0], whole_number(inner[1], "the unit of a numpy time")
    name = unit.decode("latin-1") if isinstance(unit, bytes) else unit
    if name not in _UNITS:
        raise RefusedError("a numpy time with a malformed unit")
    return "" if name == "generic" else f"[{step if step > 1 else ''}{name}]"


def scalar(dtype: Any, raw: Any) -> Any:
    """A single number, text or time of numpy's.

    Returns:
        A plain value; a time as an array without axes.

    Raises:
        RefusedError: It is malformed, or of objects.
    """
    value = Array()
    value.fill((), dtype, "C", raw)
    data = value.data
    if isinstance(dtype, DType) and isinstance(data, bytes) and dtype.spec[0] not in "Mm":
        return _plain(dtype.spec[0], dtype.order, data)
    if value.dtype == "O":
        raise RefusedError("a numpy object by itself, which is not among what data files may hold")
    return value


def _plain(kind: str, order: str, data: bytes) -> Any:
    end = "little" if order == "<" else "big"
    if kind in "iu":
        return int.from_bytes(data, end, signed=kind == "i")  # type: ignore[arg-type]
    if kind == "b":
        return data != b"\0"
    if kind == "f":
        return struct.unpack(order + _FLOATS[len(data)], data)[0]
    if kind == "c":
        return complex(*struct.unpack(order + 2 * _FLOATS[len(data) // 2], data))
    if kind == "U":
        return data.decode("utf-32-le" if order == "<" else "utf-32-be").rstrip("\0")
    return data.rstrip(b"\0")
