"""Overrides ``key.sub=value``: write them, and apply them to a recipe's plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from neurozoo.errors import RecipeError
from neurozoo.recipe.messages import shown
from neurozoo.recipe.params import Key
from neurozoo.recipe.yaml_text import Origins, Reader, compose, is_plain

__all__ = ["apply_override", "expand_names", "override", "put_value", "set_value"]


def override(path: str, value: Any) -> str:
    """Return the shortest override ``key.sub=value`` that sets a value that JSON can hold."""
    if isinstance(value, str) and is_plain(value):
        return f"{path}={value}"
    return f"{path}={json.dumps(value, ensure_ascii=False)}"


def apply_override(content: dict[str, Any], origins: Origins, override: str) -> Iterator[str]:
    """Apply ``key.sub=value``; yields its problems."""
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys):
        yield f"{override!r} is not key=value; write for example training.epochs=3"
        return
    try:
        node = compose(text, f"{dotted}=")
    except RecipeError as error:
        yield str(error)
        return
    reader = Reader()
    value = None if node is None else reader.value(node, ())
    if reader.problems:
        yield from (f"{dotted}: {problem}" for _, problem in reader.problems)
        return
    problem = set_value(content, origins, keys, value)
    if problem:
        yield f"{dotted}: {problem}"


def set_value(content: dict[str, Any], origins: Origins, keys: tuple[str, ...], value: Any) -> str:
    """Set a value by its path; returns the problem, or an empty text."""
    around: Any = content
    for depth, key in enumerate(keys[:-1], 1):
        around = around.get(key)
        if around is not None and not isinstance(around, dict):
            return f"{'.'.join(keys[:depth])} is no section, it is {shown(around)}; set it as a whole"
        if around is None:
            break
    put_value(content, origins, keys, value)
    return ""


def put_value(content: dict[str, Any], origins: Origins, keys: tuple[str, ...], value: Any) -> None:
    """Set a value given on the command line; creates the sections around it."""
    section = content
    for depth, key in enumerate(keys[:-1], 1):
        if section.get(key) is None:
            section[key] = {}
            origins.places[keys[:depth]] = None
        section = section[key]
    section[keys[-1]] = value
    for path in [path for path in origins.places if path[: len(keys)] == keys]:
        del origins.places[path]
    origins.places[keys] = None
    for below in _paths(value, keys):
        origins.places[below] = None


def _paths(value: object, path: Key) -> Iterator[Key]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*path, key)
        yield from _paths(below, (*path, key))


def expand_names(content: dict[str, Any], origins: Origins) -> None:
    """Replace the short form of components, a bare name, by ``{name: NAME}``."""
    data, model, training = (content.get(section) for section in ("data", "model", "training"))
    holders: list[tuple[Any, Key, Sequence[str | int]]] = []
    if "task" in content:
        holders.append((content, (), ("task",)))
    if isinstance(data, dict) and "instead" in data:
        holders.append((data, ("data",), ("instead",)))
    if isinstance(data, dict) and isinstance(data.get("represent"), dict):
        represent, place = data["represent"], ("data", "represent")
        holders.append((represent, place, tuple(represent)))
        holders += [
            (each, (*place, key), range(len(each))) for key, each in represent.items() if isinstance(each, list)
        ]
    if isinstance(model, dict) and isinstance(model.get("parts"), dict):
        holders.append((model["parts"], ("model", "parts"), tuple(model["parts"])))
    for listed in ("augment", "losses", "loggers"):
        if isinstance(training, dict) and isinstance(training.get(listed), list):
            holders.append((training[listed], ("training", listed), range(len(training[listed]))))
    for holder, path, keys in holders:
        for key in keys:
            if isinstance(holder[key], str):
                holder[key] = {"name": holder[key]}
                origins.places[*path, key, "name"] = origins.places.get((*path, key))
