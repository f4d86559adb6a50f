"""The components of all plugins by kind and name; a broken plugin is reported and affects no other.

No torch and no spiking library is imported here: a component is a name and a target until :meth:`Registry.resolve`
imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pluggy

from neurozoo.errors import DISTRIBUTION, PluginError, UnknownNameError
from neurozoo.registry import hookspecs
from neurozoo.registry.discovery import Found, find_plugins
from neurozoo.registry.hookspecs import KINDS, Component, Kind
from neurozoo.registry.isolation import Traces, isolated, text_of
from neurozoo.registry.loading import Plugin, failed_import, load_plugin, place

if TYPE_CHECKING:
    import importlib.metadata

__all__ = ["CORE", "Plugin", "Registry", "default_registry", "slot_kind"]

CORE = DISTRIBUTION
_PACKAGE = __name__.partition(".")[0]
_LOGGER = logging.getLogger(__name__)


class Registry:
    """The components that plugins registered, by kind and name.

    The plugins are those of the entry points, by default of the installed group ``neurozoo``. The core is one of them.
    """

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        self._manager = pluggy.PluginManager("neurozoo")
        self._manager.add_hookspecs(hookspecs)
        self._components: dict[tuple[str, str], Component] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._failed: dict[str, str] = {}
        self.plugins: list[Plugin] = []
        found = find_plugins() if entry_points is None else map(Found.of, entry_points)
        # The core first, so that a stranger's duplicate of a core name is the one refused.
        for each in sorted(found, key=lambda f: (f.distribution != CORE, f.name, f.distribution)):
            self.plugins.append(self._add(each))

    def _add(self, found: Found) -> Plugin:
        """Load one plugin and register its components, all or none."""
        namesake = next((each for each in self.plugins if each.name == found.name), None)
        if namesake is not None:
            error = f"a plugin of {namesake.distribution} is called {found.name!r} as well"
            return Plugin(found.name, found.source, error=f"{error}; uninstall one of the two, or rename it")
        plugin = load_plugin(found, self._manager)
        offered: dict[tuple[str, str], Component] = {}
        for component in plugin.components:
            key = (component.kind, component.name)
            if key in self._components or key in offered:
                owner = self._owners.get(key, "itself")
                error = f"{component.kind} {component.name!r} of {found.source} is already registered by {owner}"
                error += (
                    "; give each a name of its own" if key in offered else "; uninstall one of the two, or rename it"
                )
                return replace(plugin, components=(), error=error)
            offered[key] = component
        self._components |= offered
        self._owners |= dict.fromkeys(offered, plugin.distribution)
        return plugin

    def components(self, kind: Kind) -> dict[str, Component]:
        """The components of a kind, by name, in the order of their names."""
        return {name: self._components[k, name] for k, name in sorted(self._components) if k == kind}

    def get(self, kind: Kind, name: str, base: type[Any] | None = None) -> Component:
        """The component of that kind and name; ``base`` is the base class of its slot, for the error to name what fits.

        Raises:
            UnknownNameError: There is none; lists the known names and the plugins that failed.
        """
        if (kind, name) not in self._components:
            broken = [plugin.name for plugin in self.plugins if plugin.error]
            hint = (
                f"plugins that failed to load: {', '.join(broken)} (`neurozoo plugins list` says why)" if broken else ""
            )
            if (kind, name) in _ELSEWHERE:
                elsewhere = _ELSEWHERE[kind, name]
                where = f"install {name!r} with: pip install {elsewhere}, from plugins/ of the clone or its wheel"
                hint = where + (f"; {hint}" if hint else "")
            raise UnknownNameError(KINDS[kind].singular, name, self.fitting(kind, base), hint)
        return self._components[kind, name]

    def owner(self, kind: Kind, name: str) -> str:
        """The distribution (name and version) that registered a component."""
        self.get(kind, name)
        return self._owners[kind, name]

    def missing(self, kind: Kind, name: str) -> list[str]:
        """Return the libraries that a component needs and that are not installed; imports none."""
        tops = dict.fromkeys(library.partition(".")[0] for library in self.get(kind, name).requires)
        return [library for library in tops if not _is_there(library)]

    def usable(self, kind: Kind) -> list[str]:
        """The components of a kind whose libraries are installed, by name."""
        return [name for name in self.components(kind) if not self.missing(kind, name)]

    def fitting(self, kind: Kind, base: type[Any] | None = None) -> list[str]:
        """Return the components of a kind that fit a slot, by name; a part that cannot be imported fits none."""
        if base is None:
            return list(self.components(kind))
        fit = []
        for name in self.usable(kind):
            with suppress(PluginError):
                self.resolve(kind, name, base)
                fit.append(name)
        return fit

    def usable_backends(self) -> list[str]:
        """Return the installed backends except native ones, which are other models."""
        known = self.components("neuron")
        return [name for name in self.usable("neuron") if not known[name].native]

    def fastest_backend(self, device: str) -> str:
        """The name that a recipe's ``backend: fastest`` stands for: a fused, exact backend, else the core's own.

        It depends on the installed plugins and the device of the training only; a measurement would differ each time.
        Of several the first by name is taken.
        """
        kind = device.partition(":")[0]
        if kind == "auto":
            import torch

            kind = "cuda" if torch.cuda.is_available() else "cpu"
        known = self.components("neuron")
        fused = [name for name in self.usable_backends() if kind in known[name].fused and known[name].exact]
        return min(fused, default="torch")

    def resolve(self, kind: Kind, name: str, base: type[Any] | None = None) -> Any:
        """Import the class behind a component, which must be a subclass of ``base``, such as a model's slot has.

        Raises:
            UnknownNameError: Nothing of that kind has that name.
            PluginError: A library it needs is missing, its import failed, or it is not what its
                kind or its slot asks for.
        """
        component = self.get(kind, name, base)
        module, _, attribute = component.target.partition(":")
        if missing := self.missing(kind, name):
            remedy = f"; install it with: {component.install}" if component.install else ""
            raise PluginError(f"{kind} {name!r} needs {', '.join(missing)}, which is not installed{remedy}")
        owner = self._owners[kind, name]
        what = f"{kind} {name!r} of {owner}"
        if component.target in self._failed:
            raise PluginError(f"{what} {self._failed[component.target]}")
        target, problem, cause = None, "", None
        plugins_own = module.partition(".")[0] != _PACKAGE and module not in sys.modules
        with isolated() if plugins_own else nullcontext(Traces()) as traces:
            try:
                target = getattr(importlib.import_module(module), attribute)
                if wrong := _interface_problem(kind, target, base):
                    problem = f"{what}: {component.target!r} {wrong}"
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever it raises costs this component alone
                # Not imported a second time: what is left of a library that failed half way can end the process.
                text = _torch_failed(error) or f"{type(error).__name__}: {text_of(error)}"
                self._failed[component.target] = f"could not be imported from {component.target!r}: {text}"
                problem, cause = f"{what} {self._failed[component.target]}", error
        for note in traces.notes("imported"):
            _LOGGER.warning("%s: %s", what, note)
        if problem:
            raise PluginError(problem) from cause
        return target

    def culprit(self, error: BaseException) -> str:
        """Return the plugin in whose code an exception was raised, and the line; empty for the core's own code.

        Frames of other libraries are skipped, and those of core modules that plugins call: if a plugin passes wrong
        arguments to :mod:`neurozoo.core`, the mistake is the plugin's.
        """
        owners = {
            component.target.partition(":")[0].partition(".")[0]: self._owners[key]
            for key, component in self._components.items()
        }
        owners.pop(_PACKAGE, None)
        theirs, ours = place(error, owners), place(error, {_PACKAGE}, but=_CALLED_BY_PLUGINS)
        if theirs is None or (ours is not None and ours.depth > theirs.depth):
            return ""
        return f"{owners[theirs.module.partition('.')[0]]} ({theirs.file}, line {theirs.line})"


_CALLED_BY_PLUGINS = (
    "neurozoo.core.equations",
    "neurozoo.core.kinds",
    "neurozoo.core.layer",
    "neurozoo.core.neuron",
)

_ELSEWHERE = {("part", "numba-blocks"): "neurozoo-smile-numba"}
"""Components that moved to another distribution, and its name."""


_BROKEN_TORCH: list[str] = []
"""Why torch could not be imported, once it failed."""


def _torch_failed(error: BaseException) -> str:
    """Return why torch is broken, if an import failed for that, and keep it from being imported a second time.

    A second import would run its compiled initialisation again, which can end the process.
    """
    if sys.modules.get("torch") is None and (_BROKEN_TORCH or any(name.startswith("torch.") for name in sys.modules)):
        if not _BROKEN_TORCH:
            _BROKEN_TORCH.append(failed_import(error) or f"torch cannot be imported ({text_of(error)})")
        sys.modules["torch"] = None  # type: ignore[assignment]
        return _BROKEN_TORCH[0]
    return ""


def _interface_problem(kind: Kind, target: Any, base: type[Any] | None) -> str:
    interface = KINDS[kind].interface
    if base is None and not interface:
        return "" if callable(target) else "cannot be called"
    module, _, name = interface.partition(":")
    wanted = base or getattr(importlib.import_module(module), name)
    if not isinstance(target, type) or not issubclass(target, wanted):
        return f"is not a subclass of {wanted.__module__}.{wanted.__name__}"
    lacking = sorted(getattr(target, "__abstractmethods__", ()))
    return f"lacks {', '.join(lacking)}, which {wanted.__name__} asks for" if lacking else ""


def slot_kind(slot: Any) -> tuple[Kind, type[Any] | None]:
    """Return the kind of component that fits one of a model's ``slots``; for a ``part`` also the slot's base class."""
    return ("part", slot) if isinstance(slot, type) else (slot, None)


@cache
def _is_there(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except Exception:  # imported by hand, without a spec; or a finder of somebody's fails
        return library in sys.modules


@cache
def default_registry() -> Registry:
    """The registry of everything installed, made once a process."""
    return Registry()
