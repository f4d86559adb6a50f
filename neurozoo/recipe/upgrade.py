"""Recipes of schema 1, read as schema 2: what moved, and where it went.

Schema 1 knew multi-label tasks alone, and the roles of SMILE's modalities were part of its data section.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["MOVED", "moved_path", "upgraded", "upgraded_overrides"]

Key = tuple[str | int, ...]

MOVED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("data", "labels"): ("task", "outputs"),
    ("data", "context"): ("model", "params", "context"),
    ("data", "spiking"): ("data", "inputs"),
    ("training", "loss", "name"): ("task", "params", "loss"),
    ("training", "loss", "gamma"): ("task", "params", "gamma"),
    ("training", "loss", "weights"): ("task", "params", "weights"),
    ("training", "label_smoothing"): ("task", "params", "label_smoothing"),
    ("evaluation", "decision", "rule"): ("task", "params", "decision"),
    ("evaluation", "decision", "threshold"): ("task", "params", "threshold"),
}
"""Where each value of schema 1 went."""


def upgraded(content: Mapping[str, Any], moved: Callable[[Key, Key], None] = lambda _old, _new: None) -> dict[str, Any]:
    """A recipe's content of schema 1 as one of schema 2.

    Sections that are not of the right form stay where they are, for the checks to name them.

    Args:
        content: Nested mappings, lists and scalars, without the short form of parts.
        moved: Called with the path of each value that has another place now, and that place.
    """
    new = _copied(content)
    new["schema"] = 2
    data, task = new.get("data"), {"name": "multilabel"}
    training, evaluation = new.get("training"), new.get("evaluation")
    params: dict[str, Any] = {}
    if isinstance(data, dict):
        context, spiking = data.get("context"), data.get("spiking")
        if isinstance(spiking, list):
            del data["spiking"]
            data["inputs"] = [*([] if context is None else [context]), *spiking]
            moved(("data", "spiking"), ("data", "inputs"))
            for place in range(len(spiking)):
                moved(("data", "spiking", place), ("data", "inputs", place + (context is not None)))
            data.pop("context", None)
            if context is not None and isinstance(new.get("model"), dict):
                _put(new, ("model", "params", "context"), context)
                moved(("data", "context"), ("model", "params", "context"))
                moved(("data", "context"), ("data", "inputs", 0))
        if data.get("labels") is not None:
            task["outputs"] = data["labels"]
            moved(("data", "labels"), ("task", "outputs"))
        data.pop("labels", None)
    for section, path, name in (
        (training, ("loss", "name"), "loss"),
        (training, ("loss", "gamma"), "gamma"),
        (training, ("loss", "weights"), "weights"),
        (training, ("label_smoothing",), "label_smoothing"),
        (evaluation, ("decision", "rule"), "decision"),
        (evaluation, ("decision", "threshold"), "threshold"),
    ):
        found, value = _taken(section, path)
        if found:
            params[name] = value
            top = "training" if section is training else "evaluation"
            moved((top, *path), ("task", "params", name))
    for section, emptied in ((training, "loss"), (evaluation, "decision")):
        if isinstance(section, dict) and section.get(emptied) == {}:
            del section[emptied]
    new["task"] = {**task, "params": params}
    for variants in [new.get("ablations")]:
        if isinstance(variants, dict):
            for name, overrides in variants.items():
                if isinstance(overrides, list) and all(isinstance(each, str) for each in overrides):
                    variants[name] = upgraded_overrides(overrides, content)
    tune = new.get("tune")
    if isinstance(tune, dict) and isinstance(tune.get("space"), dict):
        for path in tune["space"]:
            moved(("tune", "space", path), ("tune", "space", moved_path(path)))
        tune["space"] = {moved_path(path): value for path, value in tune["space"].items()}
    return _ordered(new)


def upgraded_overrides(overrides: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    """Overrides ``key.sub=value`` for a recipe of schema 1 as ones for its upgraded form.

    Args:
        overrides: In order.
        content: The recipe's content of schema 1, which says what the roles were.
    """
    data = content.get("data")
    roles = {key: data.get(key) for key in ("context", "spiking")} if isinstance(data, Mapping) else {}
    changed, kept = False, []
    for override in overrides:
        path, equals, value = override.partition("=")
        path = path.strip()
        if path in ("data.context", "data.spiking"):
            roles[path.removeprefix("data.")] = value
            changed = True
        else:
            kept.append(f"{moved_path(path)}{equals}{value}")
    if not changed:
        return kept
    context = _text(roles.get("context"))
    spiking = _list(roles.get("spiking"))
    inputs = [*([] if context is None else [context]), *spiking]
    model = content.get("model")
    knows_roles = isinstance(model, Mapping) and model.get("name") in ("smile", "spiking-sequence")
    role = [f"model.params.context={json.dumps(context)}"] if knows_roles else []
    return [f"data.inputs={json.dumps(inputs)}", *role, *kept]


def moved_path(path: str) -> str:
    """Where the value at a dotted path of schema 1 is now; roles, which are more than a name, stay."""
    keys = tuple(path.strip().split("."))
    return ".".join(keys if keys[:1] == ("data",) and keys[1:] != ("labels",) else MOVED.get(keys, keys))


def _text(value: Any) -> str | None:
    """A role's name, as a recipe or as an override holds it."""
    return None if value is None or str(value).strip() in ("null", "~", "") else str(value).strip().strip("\"'")


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [each.strip().strip("\"'") for each in value.strip().strip("[]").split(",") if each.strip()]
    return [str(each) for each in value or ()]


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _put(content: dict[str, Any], path: Sequence[str], value: Any) -> None:
    section = content
    for key in path[:-1]:
        if not isinstance(section.get(key), dict):
            section[key] = {}
        section = section[key]
    section.setdefault(path[-1], value)


def _taken(section: Any, path: Sequence[str]) -> tuple[bool, Any]:
    """Take a value out of a section; whether it was there, and the value."""
    for key in path[:-1]:
        section = section.get(key) if isinstance(section, dict) else None
    if not isinstance(section, dict) or path[-1] not in section:
        return False, None
    return True, section.pop(path[-1])


def _ordered(content: dict[str, Any]) -> dict[str, Any]:
    """The task stands between data and model, as people read it."""
    order = ("schema", "description", "seed", "backend", "data", "task")
    first = {key: content[key] for key in order if key in content}
    return {**first, **{key: value for key, value in content.items() if key not in first}}
