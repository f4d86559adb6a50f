"""What a new plugin may be called."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import unicodedata

from neurozoo.errors import UserError
from neurozoo.registry.discovery import canonical
from neurozoo.registry.hookspecs import Kind
from neurozoo.registry.registry import Registry

__all__ = ["PREFIX", "checked_name"]

PREFIX = "neurozoo-"
LONGEST = 40
_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def checked_name(given: str, kind: Kind, registry: Registry) -> str:
    """The name in its normal form, without ``neurozoo-``; becomes a distribution, a package and a component.

    Args:
        given: As the user wrote it, with or without ``neurozoo-``.
        kind: Of the component.
        registry: What is installed.

    Raises:
        UserError: It cannot be a name, or it is taken; suggests another.
    """
    name = canonical(given).removeprefix(PREFIX)
    if not _NAME.fullmatch(given) or not _NAME.fullmatch(name) or len(name) > LONGEST or name == "neurozoo":
        raise UserError(
            f"{given!r} cannot be a plugin's name; use letters, digits and '-', a letter first, {LONGEST} characters "
            f"at most{_suggested(given)}"
        )
    taken = _taken(name, kind, registry)
    if taken:
        raise UserError(f"{taken}; choose another name, such as 'my-{name}'")
    return name


def _suggested(given: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", given).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-").removeprefix(PREFIX)
    if name in ("", "neurozoo"):
        return ", such as 'my-lif'"
    name = name if name[0].isalpha() else f"my-{name}"
    return f", such as {name[:LONGEST].rstrip('-')!r}"


def _taken(name: str, kind: Kind, registry: Registry) -> str:
    """By whom the name is taken already; empty where it is free."""
    distribution, package = PREFIX + name, (PREFIX + name).replace("-", "_")
    if any(canonical(each) == distribution for each in _distributions()):
        return f"a distribution {distribution} is installed already"
    if name in registry.components(kind):
        return f"a {kind} {name!r} is registered already, by {registry.owner(kind, name)}"
    for plugin in registry.plugins:
        if plugin.name == name:
            return f"a plugin {name!r} is installed already, by {plugin.distribution}"
    if importlib.util.find_spec(package) is not None:
        return f"there is a module {package} already"
    return ""


def _distributions() -> list[str]:
    return [str(each.metadata["Name"] or "") for each in importlib.metadata.distributions()]
