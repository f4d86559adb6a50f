"""How plugins are found, loaded one by one, and reported when broken.

Nothing here imports torch or a spiking library: a component is a name and a target until
:meth:`Registry.resolve` imports it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pluggy

from neurozoo import hookspecs
from neurozoo.errors import PluginError, UnknownNameError
from neurozoo.hookspecs import KINDS, Component, Kind

__all__ = ["Plugin", "Registry", "default_registry"]

ENTRY_POINT_GROUP = "neurozoo"


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found, loaded or not.

    Attributes:
        name: The entry point's name.
        distribution: The distribution it comes from, with its version.
        components: What it added.
        error: Why it (or a part of it) could not be loaded; empty where all went well.
    """

    name: str
    distribution: str
    components: tuple[Component, ...] = ()
    error: str = ""


class Registry:
    """The components that plugins registered, by kind and name.

    Args:
        entry_points: The plugins to load; by default those installed under the entry-point
            group ``neurozoo``. The core's own parts come by the same way.
    """

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        self._manager = pluggy.PluginManager("neurozoo")
        self._manager.add_hookspecs(hookspecs)
        self._components: dict[tuple[str, str], Component] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self.plugins: list[Plugin] = []
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        # The core first, so that a stranger's duplicate of a core name is the one refused.
        found = {(entry.name, entry.value): entry for entry in entry_points}
        for entry in sorted(found.values(), key=lambda e: (_owner(e) != "neurozoo", e.name, e.value)):
            self.plugins.append(self._load(entry))

    def _load(self, entry: importlib.metadata.EntryPoint) -> Plugin:
        """Load one plugin; whatever it raises is reported and stops no other."""
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        try:
            plugin = entry.load()
            known = {name for name in dir(hookspecs) if name.startswith("neurozoo_")}
            misspelt = [name for name in dir(plugin) if _is_hook(plugin, name) and name not in known]
            if misspelt:
                raise PluginError(f"unknown hook {', '.join(misspelt)}; there are: {', '.join(sorted(known))}")
            self._manager.register(plugin, name=f"{source}:{entry.name}")
            hooks = [
                implementation.function
                for implementation in self._manager.hook.neurozoo_components.get_hookimpls()
                if implementation.plugin is plugin
            ]
            if not hooks:
                raise PluginError("it offers nothing; mark a function neurozoo_components with @hookimpl")
            yielded: list[Any] = [hook() for hook in hooks]
            offered = tuple(component for components in yielded for component in components)
            # All or none, so that what there is does not depend on where it failed.
            for component in offered:
                self._check(component, source)
        except (Exception, SystemExit) as error:
            return Plugin(entry.name, source, error=f"{type(error).__name__}: {error}")
        for component in offered:
            key = (component.kind, component.name)
            self._components[key], self._owners[key] = component, source
        return Plugin(entry.name, source, offered)

    def _check(self, component: object, source: str) -> None:
        if not isinstance(component, Component) or ":" not in component.target:
            raise PluginError(
                f"it offers {component!r}; yield Component(kind, name, 'module:attribute', summary) instead"
            )
        if component.kind not in KINDS:
            kinds = ", ".join(KINDS)
            raise PluginError(f"{component.name!r} is of unknown kind {component.kind!r}; there are: {kinds}")
        key = (component.kind, component.name)
        if key in self._components:
            raise PluginError(
                f"{component.kind} {component.name!r} of {source} is already registered by "
                f"{self._owners[key]}; uninstall one of the two, or rename it"
            )

    def components(self, kind: Kind) -> dict[str, Component]:
        """The components of a kind, by name, in the order of their names."""
        return {name: self._components[k, name] for k, name in sorted(self._components) if k == kind}

    def get(self, kind: Kind, name: str) -> Component:
        """The component of that kind and name.

        Raises:
            UnknownNameError: There is none; says what there is and which plugin failed.
        """
        if (kind, name) not in self._components:
            broken = [plugin.name for plugin in self.plugins if plugin.error]
            hint = (
                f"plugins that failed to load: {', '.join(broken)} (`neurozoo list plugins` says why)" if broken else ""
            )
            raise UnknownNameError(kind, name, self.components(kind), hint)
        return self._components[kind, name]

    def owner(self, kind: Kind, name: str) -> str:
        """The distribution (name and version) that registered a component."""
        self.get(kind, name)
        return self._owners[kind, name]

    def missing(self, kind: Kind, name: str) -> list[str]:
        """The libraries that a component needs and that are not installed; imports none of them."""
        tops = dict.fromkeys(library.partition(".")[0] for library in self.get(kind, name).requires)
        return [library for library in tops if importlib.util.find_spec(library) is None]

    def resolve(self, kind: Kind, name: str) -> Any:
        """Import the class behind a component.

        Raises:
            UnknownNameError: Nothing of that kind has that name.
            PluginError: A library it needs is missing, its import failed, or it is not what its
                kind must be.
        """
        component = self.get(kind, name)
        module, _, attribute = component.target.partition(":")
        if missing := self.missing(kind, name):
            remedy = f"; install it with: {component.install}" if component.install else ""
            raise PluginError(f"{kind} {name!r} needs {', '.join(missing)}, which is not installed{remedy}")
        owner = self._owners[kind, name]
        try:
            target = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise PluginError(
                f"{kind} {name!r} of {owner} could not be imported from {component.target!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if problem := _interface_problem(kind, target):
            raise PluginError(f"{kind} {name!r} of {owner}: {component.target!r} {problem}")
        return target


_INTERFACES = {
    "backend": "Neuron",
    "model": "ZooModel",
    "fusion": "Fusion",
    "label-head": "LabelHead",
    "threshold": "ThresholdPolicy",
    "scaling": "Scaling",
    "activation": "Activation",
}
"""The class of ``neurozoo.interfaces`` that a component of each kind is a subclass of."""


def _interface_problem(kind: str, target: Any) -> str:
    if kind not in _INTERFACES:
        return "" if callable(target) else "cannot be called"
    from neurozoo import interfaces

    wanted = getattr(interfaces, _INTERFACES[kind])
    if not isinstance(target, type) or not issubclass(target, wanted):
        return f"is not a subclass of neurozoo.interfaces.{wanted.__name__}"
    lacking = sorted(getattr(target, "__abstractmethods__", ()))
    return f"lacks {', '.join(lacking)}, which {wanted.__name__} asks for" if lacking else ""


def _owner(entry: importlib.metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""


def _is_hook(plugin: object, name: str) -> bool:
    return name.startswith("neurozoo_") and hasattr(getattr(plugin, name, None), "neurozoo_impl")


@cache
def default_registry() -> Registry:
    """The registry of everything installed, made once a process."""
    return Registry()
