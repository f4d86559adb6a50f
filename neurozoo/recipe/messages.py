"""Validation problems in words: what was found, and what to give instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from neurozoo.errors import suggestion

__all__ = ["MOST_PROBLEMS", "explain", "shown"]

MOST_PROBLEMS = 50
"""Largest number of problems of a recipe that are collected and shown."""

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a section of keys",
    "mapping_type": "a section of keys",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": ("too small", "more than", "gt"),
    "greater_than_equal": ("too small", "at least", "ge"),
    "less_than": ("too large", "less than", "lt"),
    "less_than_equal": ("too large", "at most", "le"),
}


def shown(value: object) -> str:
    """Describe a value of a recipe in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value if len(value) <= 60 else value[:57] + '...'!r}"
    if isinstance(value, Mapping):
        return "a section of keys"
    return "a list" if isinstance(value, list | tuple) else f"the number {value}"


def explain(error: Mapping[str, Any]) -> str:
    """Describe an error of pydantic as ``what was found; what to give``."""
    kind, value, context = str(error["type"]), error["input"], error.get("ctx", {})
    if kind in _WANTED:
        return f"found {shown(value)}; give {_WANTED[kind]}"
    if kind in _BOUNDS:
        fault, relation, key = _BOUNDS[kind]
        return f"{value} is {fault}; give {relation} {context[key]}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        guess = suggestion(value, known) if isinstance(value, str) else ""
        return f"found {shown(value)}; give one of: {', '.join(known) or context['expected']}{guess}"
    if kind == "finite_number":
        return f"{value} is not a finite number; give one"
    if kind == "too_short" and context["min_length"] > 1:
        return f"found {context['actual_length']} entries; give at least {context['min_length']}"
    if kind in ("too_short", "string_too_short"):
        return "it is empty; give at least one entry" if kind == "too_short" else "it is empty; give some text"
    return f"{error['msg']}; found {shown(value)}"
