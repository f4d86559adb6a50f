"""What a file is read into: plain values, and descriptions of text, arrays and storages.

Nothing here can be called and nothing here does anything when the file sets its state, beyond checking
the state and keeping it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.stretches import Data

__all__ = ["Array", "Built", "Fields", "OldStr", "Ordered", "Storage", "Text", "whole_number", "whole_numbers"]

_AXES = 32
_LARGEST = 2**48


class Built:
    """Something whose state the file sets after making it."""

    __slots__ = ()

    def build(self, state: Any, machine: Any) -> None:
        """Take the state.

        Raises:
            RefusedError: It has none, or it is malformed.
        """
        raise RefusedError(f"a state {shown(type(state).__name__)} for what has none")


class Fields(Built):
    """An ``argparse.Namespace``, as a dict."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    def build(self, state: Any, machine: Any) -> None:
        if not isinstance(state, dict):
            raise RefusedError("an argparse.Namespace whose state is no dict")
        self.values = state


class Ordered(dict[Any, Any]):
    """A mapping that may have attributes, as an ``OrderedDict`` of torch has; they are left out."""

    __slots__ = ()


class OldStr(str):
    """A short text of Python 2, which has bytes of an unknown encoding: here as Latin-1, which loses nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A long text, not decoded yet; ``latin-1`` are the bytes of Python 2."""

    data: Data
    encoding: str


@dataclass(slots=True)
class Storage:
    """A torch storage.

    Attributes:
        dtype: Of its elements, as :class:`Array` has it.
        size: Bytes.
        data: Its bytes; None until they have come, in torch's older format.
    """

    dtype: str
    size: int
    data: Data | None = None


@dataclass(slots=True)
class Array(Built):
    """An array: what it is, and where its bytes are.

    Attributes:
        dtype: As numpy writes it, such as ``<f4``, or ``bfloat16``, or ``O`` for objects.
        shape: Sizes of the axes; None until the file has set them.
        strides: Steps in bytes along the axes.
        offset: Where the first element is in ``data``, in bytes.
        data: The bytes.
        items: The objects, of an array of those, in the order ``order``.
    """

    dtype: str = ""
    shape: tuple[int, ...] | None = None
    strides: tuple[int, ...] = ()
    offset: int = 0
    data: Data | Storage = b""
    items: list[Any] = field(default_factory=list)
    order: str = "C"

    def build(self, state: Any, machine: Any) -> None:
        """Numpy's state: version, shape, dtype, whether in Fortran's order, and the bytes or objects."""
        if self.shape is not None or not isinstance(state, tuple) or len(state) not in (4, 5):
            raise RefusedError("a numpy array with a malformed state")
        shape, dtype, fortran, raw = state[-4:]
        self.fill(shape, dtype, "F" if fortran is True or fortran == 1 else "C", raw)

    def fill(self, shape: Any, dtype: Any, order: Any, raw: Any, axes: Any = None) -> None:
        """Set the content.

        Args:
            shape: Sizes of the axes.
            dtype: What a numpy dtype was read into.
            order: ``C`` or ``F``: which axis is contiguous.
            raw: The bytes, of exactly the right number; a list for an array of objects.
            axes: The order of the axes after that, if another one.

        Raises:
            RefusedError: They do not fit together.
        """
        shape = whole_numbers(shape, "the shape of an array")
        if order not in ("C", "F") or not hasattr(dtype, "name"):
            raise RefusedError("a numpy array with a malformed state")
        self.dtype, self.order, n = dtype.name, order, prod(shape)
        if self.dtype == "O":
            if type(raw) is not list or len(raw) != n:
                raise RefusedError(f"an array of {n} objects with a list of another length")
            self.items = raw
        else:
            raw = raw.data if isinstance(raw, Text) and raw.encoding == "latin-1" else raw
            raw = raw.encode("latin-1") if isinstance(raw, OldStr) else raw
            if not isinstance(raw, Data) or len(raw) != n * dtype.size:
                found = f"{len(raw)} bytes" if isinstance(raw, Data) else shown(type(raw).__name__)
                raise RefusedError(
                    f"an array {list(shape)} of {self.dtype} needs {n * dtype.size} bytes and has {found}"
                )
            self.data = raw
        self.strides = _strides(shape, dtype.size, order)
        self.shape = shape
        if axes is not None:
            self._transpose(axes)

    def _transpose(self, axes: Any) -> None:
        axes = whole_numbers(axes, "the axes of an array")
        if self.shape is None or sorted(axes) != list(range(len(self.shape))) or self.dtype == "O":
            raise RefusedError("an array with malformed axes")
        self.shape = tuple(self.shape[i] for i in axes)
        self.strides = tuple(self.strides[i] for i in axes)


def _strides(shape: tuple[int, ...], size: int, order: str) -> tuple[int, ...]:
    steps, step = [], size
    for n in shape if order == "F" else reversed(shape):
        steps.append(step)
        step *= n
    return tuple(steps if order == "F" else reversed(steps))


def whole_number(value: Any, what: str) -> int:
    """A whole number that an address can have.

    Raises:
        RefusedError: It is something else, negative or huge.
    """
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise RefusedError(f"{what} is {shown(value) if isinstance(value, int) else shown(type(value).__name__)}")
    return value


def whole_numbers(value: Any, what: str) -> tuple[int, ...]:
    """A tuple of :func:`whole_number`, one an axis.

    Raises:
        RefusedError: It is something else, or too long.
    """
    if type(value) is int:
        value = (value,)
    if type(value) is not tuple or len(value) > _AXES:
        raise RefusedError(f"{what} is no tuple of at most {_AXES} numbers")
    numbers = tuple(whole_number(each, what) for each in value)
    if prod(numbers) >= _LARGEST:
        raise RefusedError(f"{what} is {list(numbers)}, more than can be addressed")
    return numbers
