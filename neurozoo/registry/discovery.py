"""Find the installed plugins by their entry points, without importing any."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neurozoo.errors import PluginError
from neurozoo.registry.isolation import text_of

if TYPE_CHECKING:
    import importlib.metadata

__all__ = [
    "GROUP",
    "Found",
    "canonical",
    "find_plugins",
    "installed_distributions",
]

GROUP = "neurozoo"


@dataclass(frozen=True)
class Found:
    """An installed plugin before it is loaded."""

    name: str  # of the entry point
    distribution: str  # empty for an entry point without one
    version: str = ""
    entry: importlib.metadata.EntryPoint | None = None
    problem: str = ""  # why the entry point cannot be read; empty if it can

    @property
    def source(self) -> str:
        """The distribution with its version, for messages."""
        return f"{self.distribution} {self.version}".strip() or (self.entry.value if self.entry else self.name)

    @staticmethod
    def of(entry: importlib.metadata.EntryPoint) -> Found:
        """Wrap an entry point with its distribution, if it has one."""
        return Found(entry.name, entry.dist.name if entry.dist else "", entry.dist.version if entry.dist else "", entry)


def find_plugins() -> Iterator[Found]:
    """Yield the installed plugins; of several copies of a distribution, the first on the path.

    ``importlib.metadata.entry_points`` is not used, as one distribution with malformed metadata makes it fail.
    """
    seen: set[str] = set()
    for distribution in installed_distributions():
        name = ""
        try:
            text = distribution.read_text("entry_points.txt") or ""
            if f"[{GROUP}]" not in text:
                continue
            name, version = str(distribution.metadata["Name"] or ""), str(distribution.metadata["Version"] or "")
            if not name or not version:
                raise PluginError("its metadata lacks a name or a version")
            entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # malformed metadata can raise any exception
            folder = getattr(distribution, "_path", None)  # of its metadata, such as neurozoo_x-0.1.dist-info
            where = text_of(name or Path(str(folder or "unknown")).stem)
            if where.lower().startswith(GROUP):
                problem = f"its metadata cannot be read ({text_of(error)}); install it again"
                yield Found(where, where, problem=problem)
            continue
        if canonical(name) not in seen:
            seen.add(canonical(name))
            for entry in entries:
                yield Found(text_of(entry.name), text_of(name), text_of(version), entry)


def installed_distributions() -> Iterator[importlib.metadata.Distribution]:
    """Yield the installed distributions; an entry of the module path that cannot be read ends them."""
    import importlib.metadata

    found = iter(importlib.metadata.distributions())
    while True:
        try:
            distribution = next(found, None)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return
        if distribution is None:
            return
        yield distribution


def canonical(distribution: str) -> str:
    """Normalise a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
