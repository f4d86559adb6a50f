"""The recipes and arenas of this distribution, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from neurozoo.core.earlier_names import current_name

__all__ = ["arena_path", "shipped_arenas", "shipped_path", "shipped_recipes"]

_PACKAGE = Path(__file__).resolve().parents[1]
_ARENAS = "arenas/*.yaml"
_DESCRIPTION = re.compile(r"^description:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def shipped_path(name: str) -> Path | None:
    """Return the file of a shipped recipe, by its name of now or earlier, with or without ``.yaml``, or None."""
    return _files().get(current_name("recipe", name.removesuffix(".yaml")))


def shipped_recipes() -> dict[str, str]:
    """Return the ``description`` of each shipped recipe by name, read without parsing the file."""
    return _descriptions(_files())


def arena_path(name: str) -> Path | None:
    """Return the file of a shipped arena by its name, or None."""
    return _files(_ARENAS).get(name)


def shipped_arenas() -> dict[str, str]:
    """Return the ``description`` of each shipped arena by name, read without parsing the file."""
    return _descriptions(_files(_ARENAS))


def _descriptions(files: Mapping[str, Path]) -> dict[str, str]:
    found = {name: _DESCRIPTION.search(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return {name: match[1].strip("'\"") if match else "" for name, match in found.items()}


def _files(pattern: str = "*.yaml") -> dict[str, Path]:
    # In a wheel they are inside the package, in a clone next to it.
    inside, outside = _PACKAGE / "recipes", _PACKAGE.parent / "recipes"
    return {path.stem: path for path in sorted((inside if inside.is_dir() else outside).glob(pattern))}
