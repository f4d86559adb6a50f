"""JSON documents for programs, and files that a command writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from neurozoo.errors import UserError
from neurozoo.files.writing import write_whole

__all__ = ["emit", "plain", "write"]


def emit(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON document."""
    print(json.dumps(plain(value), indent=indent, allow_nan=False), flush=True)


def write(out: Path, page: str) -> None:
    """Write a page whole, or not at all.

    Raises:
        UserError: It cannot be written.
    """
    try:
        write_whole(out, page.encode())
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}; give another file") from error


def plain(value: Any) -> Any:
    """A value that JSON can hold; NaN and infinity become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
