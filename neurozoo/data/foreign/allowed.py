"""What data files may name, and what is made of it: plain containers, argparse.Namespace, numpy.

Every entry is a function of ours that checks its arguments; the real ones are never looked up.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

from neurozoo.data.foreign.dtypes import DType, scalar
from neurozoo.data.foreign.machine import Machine
from neurozoo.data.foreign.names import Make, Name, as_key, entries
from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import Data, Stretch, Workspace
from neurozoo.data.foreign.values import Array, Fields, OldStr, Ordered, Text

__all__ = ["ARRAY_CLASSES", "PLAIN", "as_bytes"]

_LATIN = ("latin1", "latin-1", "iso-8859-1")
_PIECE = 2**20


def as_bytes(value: Any, what: str) -> Data:
    """Bytes, also as Python 2 wrote them.

    Raises:
        RefusedError: It is something else.
    """
    if isinstance(value, Text) and value.encoding == "latin-1":
        return value.data
    if isinstance(value, OldStr):
        return value.encode("latin-1")
    if isinstance(value, Data):
        return value
    raise RefusedError(f"{what} of {shown(type(value).__name__)}, which is malformed")


def _items(machine: Machine, arguments: tuple[Any, ...]) -> list[Any]:
    """The one argument, a plain list or tuple, or nothing."""
    if not arguments:
        return []
    if len(arguments) > 1 or not isinstance(arguments[0], list | tuple | set | frozenset):
        raise RefusedError("a container that is made of something other than a list")
    return list(arguments[0])


def _list(machine: Machine, arguments: tuple[Any, ...]) -> list[Any]:
    return _items(machine, arguments)


def _tuple(machine: Machine, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_items(machine, arguments))


def _set(machine: Machine, arguments: tuple[Any, ...]) -> set[Any]:
    return set(map(as_key, _items(machine, arguments)))


def _frozenset(machine: Machine, arguments: tuple[Any, ...]) -> frozenset[Any]:
    return frozenset(map(as_key, _items(machine, arguments)))


def _dict(machine: Machine, arguments: tuple[Any, ...]) -> Ordered:
    if len(arguments) == 1 and isinstance(arguments[0], dict):
        return Ordered(arguments[0])
    pairs = _items(machine, arguments)
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise RefusedError("a dict that is made of something other than pairs")
    return Ordered({as_key(key): value for key, value in pairs})


def _defaultdict(machine: Machine, arguments: tuple[Any, ...]) -> Ordered:
    # What makes its defaults is a name from this table or None, and is not needed any more.
    return _dict(machine, arguments[1:])


def _complex(machine: Machine, arguments: tuple[Any, ...]) -> complex:
    if len(arguments) != 2 or not all(type(part) in (int, float) for part in arguments):
        raise RefusedError("a complex number of something other than two numbers")
    return complex(*arguments)


def _bytes(machine: Machine, arguments: tuple[Any, ...]) -> Data:
    if not arguments:
        return b""
    if len(arguments) == 2:
        return _encode(machine, arguments)
    return as_bytes(arguments[0] if len(arguments) == 1 else None, "bytes")


def _encode(machine: Machine, arguments: tuple[Any, ...]) -> Data:
    """Bytes as the protocols before 3 write them: as a text of Latin-1."""
    text, encoding = (*arguments, "latin1")[:2] if len(arguments) in (1, 2) else (None, None)
    if encoding not in _LATIN or not isinstance(text, str | Text):
        raise RefusedError("bytes from something other than a text in Latin-1, which is malformed")
    if isinstance(text, str):
        return _latin(text)
    if text.encoding == "latin-1":
        return text.data
    return machine.workspace.spool(_transcoded(text, machine.workspace))


def _transcoded(text: Text, workspace: Workspace) -> Iterator[bytes]:
    stream = workspace.stream(text.data)
    decoder = codecs.getincrementaldecoder(text.encoding)()
    while left := stream.end - stream.position:
        yield _latin(decoder.decode(stream.take(min(_PIECE, left))))
    yield _latin(decoder.decode(b"", final=True))


def _latin(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise RefusedError("bytes from a text that is not Latin-1, which is malformed") from None


def _namespace(machine: Machine, arguments: tuple[Any, ...]) -> Fields:
    if arguments:
        raise RefusedError("an argparse.Namespace with arguments, which is malformed")
    return Fields()


def _reconstructor(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    """``copyreg._reconstructor(class, object, None)``: an object of protocols 0 and 1."""
    if len(arguments) != 3 or not isinstance(arguments[0], Name) or arguments[0].label != "argparse.Namespace":
        raise RefusedError("copyreg._reconstructor of what is not among what data files may hold")
    return _namespace(machine, ())


def _dtype(machine: Machine, arguments: tuple[Any, ...]) -> DType:
    return DType(arguments[0] if arguments else None)


def _reconstruct(machine: Machine, arguments: tuple[Any, ...]) -> Array:
    """``_reconstruct(numpy.ndarray, (0,), b"b")``: an array whose content comes as its state."""
    if len(arguments) != 3 or not isinstance(arguments[0], Name) or arguments[0].label not in ARRAY_CLASSES:
        raise RefusedError("a numpy array of a class that is not numpy.ndarray; save it as one")
    return Array()


def _frombuffer(machine: Machine, arguments: tuple[Any, ...]) -> Array:
    """``_frombuffer(bytes, dtype, shape, order, axes)``: an array of protocol 5."""
    if len(arguments) not in (4, 5):
        raise RefusedError("a numpy array with a malformed state")
    raw, dtype, shape, order, *axes = arguments
    array = Array()
    array.fill(shape, dtype, "C" if order == "K" and axes else order, raw, axes[0] if axes else None)
    return array


def _scalar(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 2:
        raise RefusedError("a numpy number with a malformed state")
    dtype, raw = arguments
    # A long text as a numpy number is a text all the same.
    small = isinstance(raw, Stretch) and len(raw) <= _PIECE
    return scalar(dtype, machine.workspace.bytes_of(raw) if small else raw)


ARRAY_CLASSES = ("numpy.ndarray", "numpy.memmap", "numpy.core.memmap.memmap", "numpy._core.memmap.memmap")
_BUILTINS: dict[str, Make | None] = {
    "list": _list,
    "tuple": _tuple,
    "dict": _dict,
    "set": _set,
    "frozenset": _frozenset,
    "complex": _complex,
    "bytes": _bytes,
    "bytearray": _bytes,
    "object": None,
    "int": None,
    "float": None,
    "bool": None,
    "str": None,
}

PLAIN: dict[tuple[str, str], Name] = {
    **entries("builtins", _BUILTINS),
    **entries("__builtin__", _BUILTINS | {"long": None, "unicode": None}),
    **entries("collections", {"OrderedDict": _dict, "defaultdict": _defaultdict}),
    **entries("argparse", {"Namespace": _namespace}),
    **entries("_codecs", {"encode": _encode}),
    **entries("copyreg", {"_reconstructor": _reconstructor}),
    **entries("copy_reg", {"_reconstructor": _reconstructor}),
    **entries("numpy", {"dtype": _dtype, "ndarray": None, "memmap": None}),
}
for _core in ("numpy.core", "numpy._core"):
    PLAIN |= entries(f"{_core}.multiarray", {"_reconstruct": _reconstruct, "scalar": _scalar})
    PLAIN |= entries(f"{_core}.numeric", {"_frombuffer": _frombuffer})
    PLAIN |= entries(f"{_core}.memmap", {"memmap": None})
"""By module and name; Python 2, numpy 1 and numpy 2 call the same things differently."""
