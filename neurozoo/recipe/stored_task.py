"""The task of a recipe that names its data and no task: the one that the store has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurozoo.errors import UserError
from neurozoo.files.json_text import read_json

__all__ = ["stored_task"]

_MANIFEST = "dataset.json"
"""A store's description; ``neurozoo.data.manifest``, a wing above, checks the rest of it when the store is opened."""


def stored_task(data: object) -> dict[str, Any] | None:
    """Return the section ``task`` for the store in ``data.root``; None if there is none to read."""
    root = data.get("root") if isinstance(data, Mapping) else None
    if not isinstance(root, str) or "\0" in root:
        return None
    path = Path(root).expanduser() / _MANIFEST
    try:
        content = read_json(path) if path.is_file() else None
    except (UserError, OSError):
        return None
    task = content.get("task") if isinstance(content, dict) else None
    if not isinstance(task, dict) or not isinstance(task.get("name"), str):
        return None
    return {"name": task["name"], "per_step": task.get("per_step") is True}
