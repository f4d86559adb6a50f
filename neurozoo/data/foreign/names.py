"""What names in a file stand for, and what may be a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurozoo.data.foreign.refused import RefusedError, shown
from neurozoo.data.foreign.values import OldStr

if TYPE_CHECKING:
    from neurozoo.data.foreign.machine import Machine

__all__ = ["Make", "Name", "Names", "as_key", "entries"]

_KEYS = (str, OldStr, int, float, bool, bytes, type(None))
_KEY_PARTS = 16

Make = Callable[["Machine", tuple[Any, ...]], Any]
"""Makes data of the arguments of a call."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """What a name in the file stands for.

    Attributes:
        label: The name.
        make: Makes data of the arguments; None for what may be named and not called.
    """

    label: str
    make: Make | None = None


Names = Mapping[tuple[str, str], Name]


def entries(module: str, makes: dict[str, Make | None]) -> dict[tuple[str, str], Name]:
    """Entries of a table of names, of one module."""
    return {(module, name): Name(f"{module}.{name}", make) for name, make in makes.items()}


def as_key(key: Any) -> Any:
    """A key of a dict or an element of a set: hashing anything else could take for ever.

    Raises:
        RefusedError: It is no plain value or short tuple of such.
    """
    if type(key) in _KEYS:
        return key
    if type(key) is tuple and len(key) <= _KEY_PARTS and all(type(part) in _KEYS for part in key):
        return key
    raise RefusedError(
        f"a key or element of a set that is {shown(type(key).__name__)}; only numbers and short texts may be"
    )
