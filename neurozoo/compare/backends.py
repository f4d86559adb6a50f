"""What a backend declares of itself, and what it is installed from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from neurozoo.errors import UserError
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["Backend", "check_names", "declared"]


@dataclass(frozen=True)
class Backend:
    """A backend to be compared.

    Attributes:
        name: What to call it.
        exact: Whether it promises the oracle's spikes, every one.
        native: Whether it is what its library gives by itself, another model.
        libraries: Import names of what it runs on.
        versions: Of the distributions it is installed from.
    """

    name: str
    exact: bool = True
    native: bool = False
    libraries: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def declared(name: str, registry: Registry | None = None) -> Backend:
    """A registered backend, by what it declares.

    Raises:
        UnknownNameError: There is none of that name.
    """
    registry = registry or default_registry()
    component = registry.get("backend", name)
    versions = {"torch": str(torch.__version__)}
    plugin, _, version = registry.owner("backend", name).partition(" ")
    versions[plugin] = version
    for library in component.requires:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # its distribution has another name
            versions[library] = "unknown"
    return Backend(name, component.exact, component.native, component.requires, versions)


def check_names(names: Sequence[str]) -> None:
    """Refuse a choice of backends that cannot be compared.

    Raises:
        UserError: There are fewer than two, or one is named twice.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            f"given were the backends {', '.join(names) or 'none'}; give two or more different ones, "
            "such as torch and one of a plugin; `neurozoo list backends` has them"
        )
