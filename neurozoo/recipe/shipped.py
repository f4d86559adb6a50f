"""The recipes and arenas of this distribution, by name."""

from __future__ import annotations

import re
from pathlib import Path

from neurozoo.core.earlier_names import current_name

__all__ = ["shipped_arenas", "shipped_path", "shipped_recipes"]

_PACKAGE = Path(__file__).resolve().parents[1]
_DESCRIPTION = re.compile(r"^description:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def shipped_path(name: str) -> Path | None:
    """Return the file of a shipped recipe, by its name of now or earlier, with or without ``.yaml``, or None."""
    return _files().get(current_name("recipe", name.removesuffix(".yaml")))


def shipped_recipes() -> dict[str, str]:
    """Return the ``description`` of each shipped recipe by name, read without parsing the file."""
    found = {name: _DESCRIPTION.search(path.read_text(encoding="utf-8")) for name, path in _files().items()}
    return {name: match[1].strip("'\"") if match else "" for name, match in found.items()}


def shipped_arenas() -> dict[str, Path]:
    """Return the file of each shipped arena by name."""
    return _files("arenas/*.yaml")


def _files(pattern: str = "*.yaml") -> dict[str, Path]:
    # In a wheel they are inside the package, in a clone next to it.
    inside, outside = _PACKAGE / "recipes", _PACKAGE.parent / "recipes"
    return {path.stem: path for path in sorted((inside if inside.is_dir() else outside).glob(pattern))}
