"""The allow-list: what a pickle may name, and an unpickler that finds nothing else; runs in ``child.py``'s process.

Python's own unpickler follows the instructions, but ``find_class`` imports nothing: each allowed name stands for a
function or class of this module, which checks its arguments and describes data. Neither numpy nor torch nor joblib is
loaded.

Sources: ``pickletools``; numpy ``array_reduce`` and ``arraydescr_reduce``; torch ``_utils.py``, ``_rebuild_tensor_v2``.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

__all__ = [
    "ALLOWED",
    "Array",
    "DType",
    "Fields",
    "Name",
    "Raw",
    "RefusedError",
    "Scalar",
    "Span",
    "Storage",
    "Unpickler",
    "as_bytes",
    "entries",
    "shown",
    "text_of",
    "whole_numbers",
]

_AXES, _LARGEST = 32, 2**48
_SPEC = re.compile(r"[iu][1248]|f[248]|c8|c16|b1|[SUa]\d{1,9}|[Mm]8|O\d?")
_UNIT = re.compile("Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as|generic")
_KINDS = {"Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": "V2", "ComplexDouble": "c16", "ComplexFloat": "c8"}
_KINDS |= {"Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "b1", "Untyped": "u1"}
_STORAGES = {f"torch.{kind}Storage": f"<{dtype}" for kind, dtype in _KINDS.items()}
_STORAGES["torch.storage.UntypedStorage"] = "<u1"
_LETTERS = {"float": "f", "int": "i", "uint": "u", "complex": "c"}
_DTYPES = {f"torch.{n}{8 * b}": f"<{letter}{b}" for n, letter in _LETTERS.items() for b in (1, 2, 4, 8, 16)}
_DTYPES |= {"torch.bfloat16": "<V2", "torch.bool": "<b1"}


class RefusedError(Exception):
    """Why a file is not read; the parent process puts the file's name in front."""


def shown(value: object, length: int = 80) -> str:
    """A text out of the file, fit for a line of a message: printable ASCII, not too long; of other values the type."""
    plain = ascii(value if isinstance(value, str) else type(value).__name__)[1:-1]
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def text_of(value: Any) -> Any:
    """The text, where the value is one of Python 2, which has bytes: UTF-8 if it is that, or else Latin-1."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def whole_numbers(value: Any, what: str) -> tuple[int, ...]:
    """A tuple of sizes, offsets or strides.

    Raises:
        RefusedError: It is something else, or more than can be addressed.
    """
    if type(value) is not tuple or len(value) > _AXES or not all(type(n) is int for n in value):
        raise RefusedError(f"{what} is no tuple of at most {_AXES} whole numbers")
    if any(not 0 <= n < _LARGEST for n in value):
        raise RefusedError(f"{what} is {shown(str(value))}, negative or more than can be addressed")
    return value


class _Closed:
    """Base of what a pickle can get hold of: the instruction that sets attributes is refused."""

    def __setstate__(self, state: Any) -> None:
        raise RefusedError(f"a state for {type(self).__name__}, which is malformed")


class Name(_Closed):
    """What an allowed name stands for; ``make`` is None for what may be named and not called."""

    def __init__(self, label: str, make: Callable[..., Any] | None = None) -> None:
        self.label, self.make = label, make

    def __call__(self, *arguments: Any) -> Any:
        if self.make is None:
            raise RefusedError(f"a call of {self.label}, which data files may name and not call")
        return self.make(*arguments)


class Span(_Closed):
    """Bytes that are not in memory: ``length`` of them from ``start`` in place 0, the file, or 1, the spool."""

    def __init__(self, place: int, start: int, length: int) -> None:
        self.place, self.start, self.length = place, start, length

    def __len__(self) -> int:
        return self.length


class Raw(bytes):
    """Bytes, in a pickle of protocols 0 to 2, where plain ``bytes`` are a text of Python 2."""

    __slots__ = ()


class _Dict(dict[Any, Any]):
    """An OrderedDict or defaultdict; the attributes that torch's state dicts have are left out."""

    def __setstate__(self, state: Any) -> None:
        pass


class Fields:
    """An ``argparse.Namespace``."""

    values: Mapping[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise RefusedError("an argparse.Namespace whose state is no dict")
        self.values = state


class DType:
    """A numpy dtype, ``numpy.dtype(spec, align, copy)``; its byte order and unit of time come as its state."""

    def __init__(self, spec: Any, *_: Any) -> None:
        spec = text_of(spec)
        if not isinstance(spec, str) or not _SPEC.fullmatch(spec):
            raise RefusedError(
                f"an array of numpy type {shown(spec)}, which is not among what data files may hold; "
                "allowed are numbers, text, times and objects that are such: save the fields of records one by one"
            )
        self.spec, self.order, self.unit = spec.replace("a", "S"), "<", ""
        self.size = 1 if spec[0] == "O" else int(spec[1:]) * (4 if spec[0] == "U" else 1)

    @property
    def name(self) -> str:
        """As numpy reads it, such as ``<f4``; ``O`` for objects."""
        return "O" if self.spec[0] == "O" else f"{self.order}{self.spec}{self.unit}"

    def __setstate__(self, state: Any) -> None:
        """Version, byte order, subtype, names, fields, size, alignment, flags and, for times, metadata."""
        if any(part is not None for part in state[2:5]):
            raise RefusedError("a numpy dtype with a malformed state")
        self.order = ">" if text_of(state[1]) == ">" else "<"
        if self.spec[0] in "Mm" and len(state) == 9:
            # ({}, (b"ns", 1, 1, 1)): the unit, and how many of it make a step.
            unit, (step,) = text_of(state[8][1][0]), whole_numbers(state[8][1][1:2], "the unit of a numpy time")
            if not _UNIT.fullmatch(unit):
                raise RefusedError("a numpy time with a malformed unit")
            self.unit = "" if unit == "generic" else f"[{step}{unit}]"


class Scalar(_Closed):
    """A single number, text or time of numpy's, ``scalar(dtype, bytes)``."""

    def __init__(self, dtype: Any, raw: Any) -> None:
        if not isinstance(dtype, DType) or dtype.name == "O" or not isinstance(raw, bytes) or len(raw) != dtype.size:
            raise RefusedError("a numpy number with a malformed state")
        self.dtype, self.raw = dtype.name, raw


class Storage(_Closed):
    """A torch storage of ``size`` bytes; its ``data`` is found after the tensors have been made."""

    def __init__(self, dtype: str, size: int) -> None:
        self.dtype, self.size = dtype, size
        self.data: Raw | Span = Raw()

    def fill(self, data: Raw | Span) -> None:
        """Set the bytes."""
        if len(data) != self.size:
            raise RefusedError(f"a torch storage is announced with {self.size} bytes and has {len(data)}")
        self.data = data


class Array:
    """An array: dtype, shape, strides in bytes, and where its bytes are. Its state is numpy's."""

    shape: tuple[int, ...] | None = None

    def __init__(self, *_: Any) -> None:
        """Without content; ``_reconstruct(numpy.ndarray, (0,), b"b")`` always says the same."""

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, raw = state[-4:]
        self.fill(raw, dtype, shape, "F" if fortran else "C")

    def fill(self, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
        """Set the content: the bytes, or the objects in C order; ``axes`` is an order of the axes after that."""
        order, sizes = text_of(order), whole_numbers(shape, "the shape of an array")
        if self.shape is not None or not isinstance(dtype, DType) or order not in ("C", "F"):
            raise RefusedError("a numpy array with a malformed state")
        kinds, n = list if dtype.name == "O" else bytes | bytearray | Span, prod(sizes) * dtype.size
        if not isinstance(raw, kinds) or len(raw) != n:
            found = len(raw) if isinstance(raw, kinds) else shown(type(raw).__name__)
            raise RefusedError(f"an array {list(sizes)} of {dtype.name} needs {n} bytes or objects, and has {found}")
        axes = range(len(sizes)) if axes is None else axes
        if sorted(axes) != list(range(len(sizes))):
            raise RefusedError("a numpy array with malformed axes")
        steps = [dtype.size * prod(sizes[:i] if order == "F" else sizes[i + 1 :]) for i in range(len(sizes))]
        self._set(raw, dtype.name, dtype.size, tuple(sizes[i] for i in axes), tuple(steps[i] for i in axes))
        return self

    def _set(self, data: Any, dtype: str, item: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.data, self.dtype, self.item, self.shape, self.strides, self.offset = data, dtype, item, shape, strides, 0

    @classmethod
    def of(cls, storage: Any, offset: Any, size: Any, stride: Any, dtype: str = "") -> Array:
        """A torch tensor: a view of a storage, its bounds checked."""
        if not isinstance(storage, Storage):
            raise RefusedError("a torch tensor without a storage")
        array, dtype = cls(), dtype or storage.dtype
        shape, steps = whole_numbers(size, "the size of a tensor"), whole_numbers(stride, "the stride of a tensor")
        (start,), item = whole_numbers((offset,), "the offset of a tensor"), int(dtype[2:])
        end = start + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) + 1
        if prod(shape) and end * item > storage.size:
            raise RefusedError(
                f"a torch tensor of size {list(shape)}, stride {list(steps)} and offset {start}, which lies outside of "
                f"its storage of {storage.size} bytes"
            )
        array._set(storage, dtype, item, shape, tuple(step * item for step in steps))
        array.offset = start * item
        return array


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    """An array of protocol 5; ``axes`` come with the order K."""
    return Array().fill(raw, dtype, shape if type(shape) is tuple else (shape,), order if axes is None else "C", axes)


def _tensor_v2(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Array:
    """Followed by whether it needs a gradient, its hooks, and metadata."""
    if any(rest[2:]):
        raise RefusedError("a torch tensor that is conjugated or negated lazily; save .resolve_conj().resolve_neg()")
    return Array.of(storage, offset, size, stride)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *rest: Any
) -> Any:
    label = dtype.label if isinstance(dtype, Name) else ""
    if any(rest) or label not in _DTYPES:
        raise RefusedError(f"a torch tensor of type {label or shown(dtype)}; save it as float32")
    return Array.of(storage, offset, size, stride, _DTYPES[label])


def _parameter(tensor: Any, *_: Any) -> Array:
    if not isinstance(tensor, Array):
        raise RefusedError("a torch parameter without a tensor")
    return tensor


def _reconstructor(kind: Any, *_: Any) -> Any:
    """``copyreg._reconstructor(class, object, None)``: an object of protocols 0 and 1."""
    if not isinstance(kind, type):
        raise RefusedError("copyreg._reconstructor of what is not among what data files may hold")
    return kind()


def as_bytes(value: Any = b"", encoding: Any = "latin1") -> Raw:
    """Bytes; protocols 0 to 2 write them as a text of Latin-1."""
    if not isinstance(value, str | bytes) or text_of(encoding) not in ("latin1", "latin-1", "iso-8859-1"):
        raise RefusedError("bytes from something other than bytes or a text in Latin-1, which is malformed")
    return Raw(value.encode("latin-1") if isinstance(value, str) else value)


def entries(module: str, makes: Mapping[str, Callable[..., Any] | None]) -> dict[tuple[str, str], Any]:
    return {(module, name): Name(f"{module}.{name}", make) for name, make in makes.items()}


# By module and name; Python 2, numpy 1 and numpy 2 call the same things differently.
ALLOWED: dict[tuple[str, str], Any] = {
    **entries("collections", {"OrderedDict": _Dict, "defaultdict": lambda _make=None, *pairs: _Dict(*pairs)}),
    **entries("numpy", {"dtype": DType, "ndarray": None, "memmap": None}),
    **entries("torch", dict.fromkeys(label.removeprefix("torch.") for label in {**_DTYPES, **_STORAGES})),
    **entries("torch", {"Size": lambda size=(): whole_numbers(tuple(size), "a torch.Size")}),
    **entries("torch", {"device": lambda *parts: ":".join(str(part) for part in parts if type(part) in (str, int))}),
    **entries("torch.storage", {"UntypedStorage": None}),
    **entries("torch._utils", {"_rebuild_tensor": _tensor_v2, "_rebuild_tensor_v2": _tensor_v2}),
    **entries("torch._utils", {"_rebuild_tensor_v3": _tensor_v3, "_rebuild_parameter": _parameter}),
    ("argparse", "Namespace"): Fields,
}
for _module in ("builtins", "__builtin__"):
    ALLOWED |= entries(_module, {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "dict": _Dict})
    ALLOWED |= entries(_module, {"complex": complex, "bytes": as_bytes, "bytearray": as_bytes})
    ALLOWED |= entries(_module, dict.fromkeys(("object", "int", "float", "bool", "str", "long", "unicode")))
for _module in ("copyreg", "copy_reg"):
    ALLOWED |= entries(_module, {"_reconstructor": _reconstructor})
for _module in ("numpy.core", "numpy._core"):
    ALLOWED |= entries(f"{_module}.multiarray", {"_reconstruct": Array, "scalar": Scalar})
    ALLOWED |= entries(f"{_module}.numeric", {"_frombuffer": _frombuffer})
    ALLOWED |= entries(f"{_module}.memmap", {"memmap": None})


class Unpickler(pickle.Unpickler):
    """Python's, which finds nothing but the allowed names, and outside of the pickle torch's storages alone."""

    def __init__(self, file: Any, names: Mapping[tuple[str, str], Any], storages: dict[str, Storage] | None) -> None:
        super().__init__(file, encoding="bytes")
        self._names, self._storages = names, storages

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise RefusedError(
                f"{shown(f'{module}.{name}')} is not among what data files may hold, and nothing of it was run; "
                "allowed are numbers, text, plain containers, argparse.Namespace, numpy arrays and torch tensors: "
                "save those"
            ) from None

    def persistent_load(self, key: Any) -> Storage:
        """The storage that ``("storage", kind, name, location, numbers, view)`` stands for."""
        if self._storages is None or type(key) is not tuple or len(key) not in (5, 6) or text_of(key[0]) != "storage":
            raise RefusedError("it refers to something outside of itself that is no torch storage")
        dtype = _STORAGES.get(key[1].label if isinstance(key[1], Name) else "")
        if dtype is None or any(key[5:]):
            raise RefusedError(
                "a torch storage of an unknown kind, or of a version before 0.4; save it with a new torch"
            )
        (numbers,) = whole_numbers(key[4:5], "the size of a torch storage")
        size, name = numbers * int(dtype[2:]), text_of(key[2])
        storage = self._storages.setdefault(name, Storage(dtype, size))
        if (storage.dtype, storage.size) != (dtype, size):
            raise RefusedError(f"the torch storage {shown(name)} is announced in two ways")
        return storage
