"""Which plugins are installed, found by their entry points without importing any."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neurozoo.errors import PluginError

if TYPE_CHECKING:
    import importlib.metadata

__all__ = ["GROUP", "Found", "canonical", "find_plugins"]

GROUP = "neurozoo"


@dataclass(frozen=True)
class Found:
    """A plugin that is installed, before it is loaded.

    Attributes:
        name: The entry point's name.
        distribution: The distribution's name; empty where an entry point was given without one.
        version: Its version.
        entry: The entry point; None where it cannot be read.
        problem: Why it cannot; empty where it can.
    """

    name: str
    distribution: str
    version: str = ""
    entry: importlib.metadata.EntryPoint | None = None
    problem: str = ""

    @property
    def source(self) -> str:
        """The distribution with its version, for people to read."""
        return f"{self.distribution} {self.version}".strip() or (self.entry.value if self.entry else self.name)

    @staticmethod
    def of(entry: importlib.metadata.EntryPoint) -> Found:
        """An entry point, with the distribution that it knows of."""
        return Found(entry.name, entry.dist.name if entry.dist else "", entry.dist.version if entry.dist else "", entry)


def find_plugins() -> Iterator[Found]:
    """The plugins installed, in one walk over the distributions; of several copies of one, the first on the path.

    Not ``importlib.metadata.entry_points``, in which one distribution with malformed metadata stops all others.
    """
    import importlib.metadata

    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        name = ""
        try:
            text = distribution.read_text("entry_points.txt") or ""
            if f"[{GROUP}]" not in text:
                continue
            name, version = str(distribution.metadata["Name"] or ""), str(distribution.metadata["Version"] or "")
            if not name or not version:
                raise PluginError("its metadata names no distribution or no version")
            entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
        except Exception as error:  # metadata that others wrote can be wrong in any way
            if _concerns_us(name, distribution):
                where = name or _folder(distribution)
                yield Found(where, where, problem=f"its metadata cannot be read ({error}); install it again")
            continue
        if canonical(name) not in seen:
            seen.add(canonical(name))
            yield from (Found(entry.name, name, version, entry) for entry in entries)


def canonical(distribution: str) -> str:
    """A distribution's name as all its spellings are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _concerns_us(name: str, distribution: importlib.metadata.Distribution) -> bool:
    return any(each.lower().startswith(GROUP) for each in (name, _folder(distribution)))


def _folder(distribution: importlib.metadata.Distribution) -> str:
    """The distribution as its folder of metadata is called, such as ``neurozoo_x-0.1``."""
    path = getattr(distribution, "_path", None)
    return Path(str(path)).stem if path is not None else "unknown"
