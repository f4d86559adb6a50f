"""``KEY=VALUE`` of the command line, as the values that a component's annotations ask for."""

from __future__ import annotations

import json
import typing
from typing import Any

__all__ = ["parsed"]


def parsed(text: str, annotation: Any) -> Any:
    """A value written as text: a list is parted at commas, a text stays one, all else is read as JSON."""
    if annotation is str:
        return text
    if typing.get_origin(annotation) is not None and str in typing.get_args(annotation):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return text
