"""JSON from files that may be somebody else's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from neurozoo.errors import DataError, UserError
from neurozoo.files.opening import LARGEST, read_bytes
from neurozoo.files.text import decode_text

__all__ = ["parse_json", "read_json"]

DEEPEST = 64
"""Levels of lists and objects; neurozoo writes at most 12."""


def parse_json(text: str | bytes, where: str | Path, *, error: type[UserError] = DataError) -> Any:
    """Return the value of a JSON document.

    Stricter than :func:`json.loads`: keys occur once in an object, numbers are finite (``NaN``, ``Infinity`` and
    ``1e400`` are refused), and lists and objects nest at most :data:`DEEPEST` levels. Bytes are decoded by
    :func:`~neurozoo.files.text.decode_text`; ``where`` names the file in messages, and the line of JSON lines.

    Raises:
        UserError: Of class ``error``: it is not such a document.
    """
    if isinstance(text, bytes):
        text = decode_text(text, where, error=error)
    try:
        value = _DECODER.decode(text.removeprefix("\ufeff"))
        if _too_deep(value):
            raise RecursionError
    except RecursionError as reason:
        raise error(f"{where}: cannot be read as JSON: nested deeper than {DEEPEST} levels") from reason
    except ValueError as reason:
        raise error(f"{where}: cannot be read as JSON: {reason}") from reason
    return value


def read_json(
    path: Path, *, limit: int = LARGEST, inside: Path | None = None, error: type[UserError] = DataError
) -> Any:
    """Read a file by :func:`~neurozoo.files.opening.read_bytes` and return its value by :func:`parse_json`.

    Raises:
        UserError: Of class ``error``: it cannot be read, is larger than ``limit`` bytes, or is not such a document.
    """
    return parse_json(read_bytes(path, limit=limit, inside=inside, error=error), path, error=error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 40:
        raise ValueError(f"the number {digits[:20]}... has {len(digits):,} digits")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_constant)


def _too_deep(value: Any) -> bool:
    level = _containers([value])
    for _ in range(DEEPEST):
        level = _containers(each for one in level for each in (one.values() if isinstance(one, dict) else one))
    return bool(level)


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]
