"""What torch's files may name besides the plain: tensors, as arrays over a storage.

Source: torch ``_utils.py``, ``_rebuild_tensor_v2`` and its like.
"""

from __future__ import annotations

from math import prod
from typing import Any

from neurozoo.data.foreign.allowed import PLAIN
from neurozoo.data.foreign.dtypes import size_of
from neurozoo.data.foreign.machine import Machine
from neurozoo.data.foreign.names import Name, Names, entries
from neurozoo.data.foreign.refused import RefusedError
from neurozoo.data.foreign.values import Array, Storage, whole_number, whole_numbers

__all__ = ["NAMES", "storage_dtype"]

_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "UntypedStorage": "|u1",
}
_DTYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "bfloat16",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "bool": "|b1",
    "complex64": "<c8",
    "complex128": "<c16",
}


def storage_dtype(kind: Any) -> str:
    """The dtype of a kind of storage that a file names.

    Raises:
        RefusedError: It is no storage.
    """
    name = kind.label.rpartition(".")[2] if isinstance(kind, Name) else ""
    if name not in _STORAGES:
        raise RefusedError("a torch storage of an unknown kind; save the tensors as ordinary ones")
    return _STORAGES[name]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: str) -> Array:
    """A view of a storage, its bounds checked."""
    if not isinstance(storage, Storage):
        raise RefusedError("a torch tensor without a storage")
    shape, steps = whole_numbers(size, "the size of a tensor"), whole_numbers(stride, "the stride of a tensor")
    start, item = whole_number(offset, "the offset of a tensor"), size_of(dtype)
    if len(shape) != len(steps):
        raise RefusedError(f"a torch tensor of size {list(shape)} and stride {list(steps)}, which do not fit")
    end = start + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) + 1
    if prod(shape) and end * item > storage.size:
        raise RefusedError(
            f"a torch tensor of size {list(shape)}, stride {list(steps)} and offset {start}, which lies outside of its "
            f"storage of {storage.size} bytes"
        )
    return Array(dtype, shape, tuple(step * item for step in steps), start * item, storage)


def _plain_metadata(metadata: Any) -> None:
    if metadata:
        raise RefusedError(
            "a torch tensor that is conjugated or negated lazily; save tensor.resolve_conj().resolve_neg()"
        )


def _rebuild(machine: Machine, arguments: tuple[Any, ...]) -> Array:
    """``_rebuild_tensor(storage, offset, size, stride)``, v2 with gradient, hooks and metadata."""
    if not 4 <= len(arguments) <= 7:
        raise RefusedError("a torch tensor with a malformed state")
    storage, offset, size, stride, *rest = arguments
    _plain_metadata(rest[2] if len(rest) > 2 else None)
    return _tensor(storage, offset, size, stride, storage.dtype if isinstance(storage, Storage) else "")


def _rebuild_v3(machine: Machine, arguments: tuple[Any, ...]) -> Array:
    """As v2, of a storage without a type, followed by the dtype."""
    if not 7 <= len(arguments) <= 8 or not isinstance(arguments[6], Name):
        raise RefusedError("a torch tensor with a malformed state")
    dtype = _DTYPES.get(arguments[6].label.removeprefix("torch."))
    if dtype is None:
        raise RefusedError(f"a torch tensor of type {arguments[6].label}; save it as float32")
    _plain_metadata(arguments[7] if len(arguments) > 7 else None)
    storage, offset, size, stride = arguments[:4]
    return _tensor(storage, offset, size, stride, dtype)


def _parameter(machine: Machine, arguments: tuple[Any, ...]) -> Array:
    if not arguments or not isinstance(arguments[0], Array):
        raise RefusedError("a torch parameter without a tensor")
    return arguments[0]


def _size(machine: Machine, arguments: tuple[Any, ...]) -> tuple[int, ...]:
    return whole_numbers(
        tuple(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else (), "a torch.Size"
    )


def _device(machine: Machine, arguments: tuple[Any, ...]) -> str:
    if not arguments or not all(isinstance(part, str | int) for part in arguments) or len(arguments) > 2:
        raise RefusedError("a torch.device with a malformed state")
    return ":".join(map(str, arguments))


NAMES: Names = {
    **PLAIN,
    **entries("torch", dict.fromkeys(_STORAGES) | dict.fromkeys(_DTYPES) | {"Size": _size, "device": _device}),
    **entries("torch.storage", {"UntypedStorage": None}),
    **entries(
        "torch._utils",
        {
            "_rebuild_tensor": _rebuild,
            "_rebuild_tensor_v2": _rebuild,
            "_rebuild_tensor_v3": _rebuild_v3,
            "_rebuild_parameter": _parameter,
        },
    ),
}
"""What is plain, and tensors."""
