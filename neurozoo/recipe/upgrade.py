"""Recipes of earlier versions: those of schema 1 as recipes of schema 2, and what was called something else.

Schema 1 has multi-label tasks only, and the roles of SMILE's modalities are in its data section.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neurozoo.core.earlier_names import current_name

__all__ = ["moved_path", "upgraded", "upgraded_overrides", "with_names_of_now"]

Key = tuple[str | int, ...]

_MOVED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("data", "labels"): ("task", "outputs"),
    ("training", "loss", "name"): ("task", "params", "loss"),
    ("training", "loss", "gamma"): ("task", "params", "gamma"),
    ("training", "loss", "weights"): ("task", "params", "weights"),
    ("training", "label_smoothing"): ("task", "params", "label_smoothing"),
    ("evaluation", "decision", "rule"): ("task", "params", "decision"),
    ("evaluation", "decision", "threshold"): ("task", "params", "threshold"),
}
"""Where each value of schema 1 went, but for the roles, which become ``data.inputs`` and ``model.params.context``."""


def upgraded(content: Mapping[str, Any], moved: Callable[[Key, Key], None] = lambda _old, _new: None) -> dict[str, Any]:
    """Return the content of a schema 1 recipe in the form of schema 2.

    Sections that are not of the right form stay where they are, for the checks to name them. Parts must not be in
    their short form. ``moved`` is called with the old and the new path of each value that moves.
    """
    new = copy.deepcopy(dict(content))
    new["schema"] = 2
    new["task"] = {"name": "multilabel", "params": {}}
    data = new.get("data")
    if isinstance(data, dict) and isinstance(data.get("spiking"), list):
        context, spiking = data.pop("context", None), data.pop("spiking")
        data["inputs"] = [*([] if context is None else [context]), *spiking]
        moved(("data", "spiking"), ("data", "inputs"))
        for place in range(len(spiking)):
            moved(("data", "spiking", place), ("data", "inputs", place + (context is not None)))
        model = new.get("model")
        if context is not None and isinstance(model, dict):
            if not isinstance(model.get("params"), dict):
                model["params"] = {}
            model["params"].setdefault("context", context)
            moved(("data", "context"), ("model", "params", "context"))
            moved(("data", "context"), ("data", "inputs", 0))
    for old, goal in _MOVED.items():
        section: Any = new
        for key in old[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict) or old[-1] not in section:
            continue
        value = section.pop(old[-1])
        if goal == ("task", "outputs") and value is None:
            continue
        (new["task"] if len(goal) == 2 else new["task"]["params"])[goal[-1]] = value
        moved(old, goal)
    for around, emptied in (("training", "loss"), ("evaluation", "decision")):
        section = new.get(around)
        if isinstance(section, dict) and section.get(emptied) == {}:
            del section[emptied]
    training = new.setdefault("training", {})
    if isinstance(training, dict) and isinstance(training.setdefault("initialisation", {}), dict):
        training["initialisation"].setdefault("name", "default")  # as schema 1 had it
    variants: Any = new.get("ablations") if isinstance(new.get("ablations"), dict) else {}
    for name, overrides in variants.items():
        if isinstance(overrides, list) and all(isinstance(each, str) for each in overrides):
            variants[name] = upgraded_overrides(overrides, content)
    tune = new.get("tune")
    if isinstance(tune, dict) and isinstance(tune.get("space"), dict):
        for path in tune["space"]:
            moved(("tune", "space", path), ("tune", "space", moved_path(path)))
        tune["space"] = {moved_path(path): value for path, value in tune["space"].items()}
    # The task stands between data and model.
    first = {key: new[key] for key in ("schema", "description", "seed", "backend", "data", "task") if key in new}
    return first | new


def upgraded_overrides(overrides: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    """Return overrides ``key.sub=value`` of a schema 1 recipe as overrides of its upgraded form.

    ``content`` is the recipe's, of schema 1, for the roles that are not overridden.
    """
    data, model = content.get("data"), content.get("model")
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
    context, spiking = _text(roles.get("context")), roles.get("spiking") or ()
    if isinstance(spiking, str):
        spiking = spiking.strip().strip("[]").split(",")
    names = [_text(each) for each in (context, *spiking)]
    inputs = [f"data.inputs={json.dumps([each for each in names if each is not None])}"]
    if isinstance(model, Mapping) and model.get("name") in ("smile", "spiking-sequence"):  # the models with roles
        inputs.append(f"model.params.context={json.dumps(context)}")
    return [*inputs, *kept]


def with_names_of_now(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's content with the current description of a shipped recipe, if it has an earlier one."""
    if isinstance(content.get("description"), str):
        return {**content, "description": current_name("description", content["description"], quiet=True)}
    return dict(content)


def moved_path(path: str) -> str:
    """Return where the value at a dotted path of schema 1 is in schema 2; the roles keep their paths."""
    keys = tuple(path.strip().split("."))
    return ".".join(_MOVED.get(keys, keys))


def _text(value: Any) -> str | None:
    """A role's name, as a recipe or an override holds it; None where there is none."""
    text = "" if value is None else str(value).strip()
    return None if text in ("null", "~", "") else text.strip("\"'")
