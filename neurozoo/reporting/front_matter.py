"""The YAML at the top of a Markdown page, which model hubs read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["front_matter"]

# What YAML does not take for printable, or takes for the end of a line, and JSON leaves as it is.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_KEY = re.compile(r"[a-z][a-z0-9_-]*")


def front_matter(content: Mapping[str, object]) -> str:
    """Nested mappings, lists and scalars between two lines ``---``.

    Every text is in double quotes, so that no reader, of YAML 1.1 or 1.2, takes one for a number, a date or ``false``.

    Args:
        content: Keys are lower-case words; values are text, numbers, truth values, None, and lists and mappings of
            them that are not empty.

    Raises:
        ValueError: A key is no such word, or a number is not finite.
    """
    return "\n".join(["---", *_mapping(content), "---", ""])


def _mapping(content: Mapping[str, object]) -> Iterator[str]:
    for key, value in content.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} cannot be a key; give a lower-case word")
        if isinstance(value, Mapping):
            yield f"{key}:"
            yield from (f"  {line}" for line in _mapping(value))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield f"{key}:"
            yield from (f"  {line}" for line in _list(value))
        else:
            yield f"{key}: {_scalar(value)}"


def _list(values: Sequence[object]) -> Iterator[str]:
    for value in values:
        lines = _mapping(value) if isinstance(value, Mapping) else iter((_scalar(value),))
        yield f"- {next(lines)}"
        yield from (f"  {line}" for line in lines)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return _ESCAPED.sub(lambda sign: f"\\u{ord(sign[0]):04x}", quoted)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number; leave it out")
        # YAML 1.1 takes 1e-05 for text.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return json.dumps(value)
