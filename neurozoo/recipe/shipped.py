"""The recipes and trained models that come with neurozoo, known by name wherever it is installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["shipped_model", "shipped_models", "shipped_path", "shipped_recipes"]

_HERE = Path(__file__).resolve().parents[1]
_DESCRIPTION = re.compile(r"^description:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def shipped_path(name: str) -> Path | None:
    """The file of a shipped recipe, by its name with or without ``.yaml``; None where there is none."""
    return _files().get(name.removesuffix(".yaml"))


def shipped_recipes() -> dict[str, str]:
    """What each shipped recipe is, by name: its ``description``, read without parsing the file."""
    return {name: _description(path.read_text(encoding="utf-8")) for name, path in _files().items()}


def shipped_model(name: str) -> Path | None:
    """The folder of a shipped model, by its name; None where there is none."""
    manifest = _manifests().get(name)
    return None if manifest is None else manifest.parent


def shipped_models() -> dict[str, str]:
    """What each shipped model is, by name: its recipe's ``description``."""
    return {
        name: str(json.loads(manifest.read_text(encoding="utf-8"))["description"])
        for name, manifest in _manifests().items()
    }


def _manifests() -> dict[str, Path]:
    from neurozoo.runs.packed import MANIFEST  # which brings pydantic, and --help has no use for either

    return {path.parent.name: path for path in sorted(_HERE.glob(f"zoo/*/{MANIFEST}"))}


def _files() -> dict[str, Path]:
    # In a wheel they lie inside the package, in a clone beside it.
    inside, beside = _HERE / "recipes", _HERE.parent / "recipes"
    return {path.stem: path for path in sorted((inside if inside.is_dir() else beside).glob("*.yaml"))}


def _description(text: str) -> str:
    found = _DESCRIPTION.search(text)
    return found[1].strip("'\"") if found else ""
