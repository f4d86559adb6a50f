"""Leaves of nested plain values, such as a recipe's, with their dotted paths and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["leaf_text", "leaves"]


def leaves(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings with their dotted paths; an empty mapping is a value."""
    for key, value in content.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, here)
        else:
            yield here, value


def leaf_text(value: object) -> str:
    """Return a value as one line of YAML."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(leaf_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {leaf_text(each)}' for key, each in value.items())}}}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
