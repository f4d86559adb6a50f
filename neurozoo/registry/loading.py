"""Load one plugin, or return the reason why it cannot be loaded.

Exceptions of any kind, exits, prints, warnings and changes of the process's state during loading are recorded with the
plugin and do not affect others; only Ctrl-C propagates.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Container, Iterable
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import pluggy

from neurozoo.errors import PluginError, suggestion
from neurozoo.registry.discovery import Found
from neurozoo.registry.hookspecs import API_VERSION, CHANGES, KINDS, Component
from neurozoo.registry.isolation import isolated, text_of

if TYPE_CHECKING:
    import importlib.metadata

__all__ = ["Place", "Plugin", "failed_import", "load_plugin", "place"]

HOOKS = ("neurozoo_components",)
MOST = 1000
"""Largest number of components of a plugin."""
_API = re.compile(r"(\d+)\.(\d+)")
_API_IN_SOURCE = re.compile(r"""^neurozoo_api\b[^=\n]*=\s*["'](\d+\.\d+)["']""", re.MULTILINE)
_LINE_TO_ADD = f'neurozoo_api = "{API_VERSION}"'


@dataclass(frozen=True)
class Plugin:
    """An installed plugin, loaded or refused.

    Attributes:
        name: The entry point's name.
        distribution: The distribution it comes from, with its version.
        components: Its components; none if it was refused.
        api: Version of the plugin API that it declares; empty if it declares none.
        error: Why it was refused; empty if it was loaded.
        note: Remarks for the user on a loaded plugin; may be empty.
    """

    name: str
    distribution: str
    components: tuple[Component, ...] = ()
    api: str = ""
    error: str = ""
    note: str = ""


def load_plugin(found: Found, manager: pluggy.PluginManager) -> Plugin:
    """Load one plugin; returns it with its components, all of them well-formed, or with its error."""
    api, note, error = "", "", ""
    components: tuple[Component, ...] = ()
    with isolated() as traces:
        try:
            if found.entry is None:
                raise PluginError(found.problem)
            plugin = _import(found.entry, found.source)
            api, note = _declared_api(plugin, found.source)
            offered = _components(plugin, manager, f"{found.source}:{found.name}")
            components = tuple(map(_checked, offered))
        except KeyboardInterrupt:
            raise
        except BaseException as reason:  # whatever it raises costs this plugin alone; Rust's panics are no Exception
            error = _describe(reason, found) or type(reason).__name__
    notes = "; ".join(filter(None, [note, *traces.notes("loaded")]))
    return Plugin(found.name, found.source, components, api, error, notes)


@dataclass(frozen=True)
class Place:
    """A line of code in a traceback; of several calls the innermost has the largest ``depth``."""

    module: str
    file: str
    line: int
    depth: int


def place(error: BaseException, packages: Container[str], but: Container[str] = ()) -> Place | None:
    """Return the innermost line of a traceback in ``packages``, except the modules ``but``; None if there is none."""
    innermost = None
    for depth, (frame, line) in enumerate(walk_tb(error.__traceback__)):
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in packages and module not in but:
            innermost = Place(module, frame.f_code.co_filename, line, depth)
    return innermost


def failed_import(error: BaseException) -> str:
    """Return which library could not be imported, and why, if an exception comes from that; else an empty text.

    The frames of a module that is being imported are those of its top level; one that failed is not kept.
    """
    found = ""
    for frame, _ in walk_tb(error.__traceback__):
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and top not in ("neurozoo", "__main__") and not sys.modules.get(top):
            found = found or top
    reason = f"{type(error).__name__}: {text_of(error)}"
    return f"{found} cannot be imported ({reason}); install it again" if found else ""


def _import(entry: importlib.metadata.EntryPoint, source: str) -> Any:
    if not re.fullmatch(r"\s*[\w.]+\s*(:\s*[\w.]+\s*)?", entry.value):
        raise PluginError(f"its entry point {entry.name} = {entry.value!r} is malformed; name a module")
    try:
        return entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A plugin for another API version may fail to import before its declaration can be read.
        _refuse_other_major(_api_in_source(entry.module), source, error)
        raise


def _declared_api(plugin: Any, source: str) -> tuple[str, str]:
    """Return the API version that a plugin declares, of this major, and a note if it is newer than this one."""
    api = getattr(plugin, "neurozoo_api", None)
    if api is None:
        raise PluginError(f"it does not declare its plugin API version; add {_LINE_TO_ADD} next to its hook")
    if not isinstance(api, str) or not _API.fullmatch(api):
        raise PluginError(f"it declares neurozoo_api = {api!r}, which is not MAJOR.MINOR; write {_LINE_TO_ADD}")
    _refuse_other_major(api, source)
    if int(api.partition(".")[2]) > int(API_VERSION.partition(".")[2]):
        note = f"it was written for plugin API {api}, and this neurozoo offers {API_VERSION}"
        return api, f"{note}; if a component fails, install a newer neurozoo"
    return api, ""


def _refuse_other_major(api: str, source: str, cause: BaseException | None = None) -> None:
    major, ours = api.partition(".")[0], API_VERSION.partition(".")[0]
    if api and int(major) != int(ours):
        change = f". To change it: {CHANGES[major]}" if major in CHANGES else ""
        raise PluginError(
            f"{source} was written for plugin API {major}.x, and this neurozoo offers {API_VERSION}; "
            f"install a neurozoo that offers {major}.x, or a version of the plugin for {ours}.x{change}"
        ) from cause


def _api_in_source(module: str) -> str:
    """Return the API version that a module which cannot be imported declares, read from its source text."""
    try:
        # Top-level modules only: finding a submodule would import its package.
        spec = importlib.util.find_spec(module.partition(".")[0])
        text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin and "." not in module else ""
    except (OSError, ValueError, ImportError):
        return ""
    declared = _API_IN_SOURCE.search(text)
    return declared[1] if declared else ""


def _components(plugin: Any, manager: pluggy.PluginManager, name: str) -> list[Any]:
    """Return the objects that a plugin's hook yields, unchecked."""
    hooks = [each for each in dir(plugin) if hasattr(getattr(plugin, each, None), "neurozoo_impl")]
    unknown = [each for each in hooks if each not in HOOKS]
    if unknown:
        hint = suggestion(unknown[0], HOOKS)
        raise PluginError(f"unknown hook {', '.join(unknown)}; there are: {', '.join(HOOKS)}{hint}")
    if not hooks:
        unmarked = hasattr(plugin, HOOKS[0])
        what = f"its {HOOKS[0]} is not marked" if unmarked else "it has no hook"
        raise PluginError(f"{what}; mark a function {HOOKS[0]} with @hookimpl of neurozoo.registry.hookspecs")
    manager.register(plugin, name=name)
    implementations = manager.hook.neurozoo_components.get_hookimpls()
    yielded: list[Any] = [each.function() for each in implementations if each.plugin is plugin]
    if not all(isinstance(each, Iterable) for each in yielded):
        raise PluginError(f"its {HOOKS[0]} returns no components; yield one Component each")
    components = list(islice((component for components in yielded for component in components), MOST + 1))
    if len(components) > MOST:
        raise PluginError(f"its {HOOKS[0]} yields more than {MOST} components; yield one Component each")
    return components


def _checked(component: object) -> Component:
    """Return a well-formed component as a new object without the plugin's own classes."""
    if problem := _problem_of(component):
        raise PluginError(problem)
    assert isinstance(component, Component)
    made = {each.name: getattr(component, each.name) for each in fields(Component)}
    made |= {name: tuple(made[name]) for name in ("requires", "tested", "fused")}
    return Component(**made | {name: text_of(made[name]) for name in ("summary", "install")})


def _problem_of(component: object) -> str:
    """Return what is malformed in a component; empty if nothing is."""
    if not isinstance(component, Component):
        return f"it yields {component!r}; yield Component(kind, name, 'module:attribute', summary) instead"
    if not isinstance(component.kind, str) or component.kind not in KINDS:
        return f"{component.name!r} is of unknown kind {component.kind!r}; there are: {', '.join(KINDS)}"
    for wanted, names in ((str, ("name", "target", "summary", "install")), (bool, ("exact", "native"))):
        for each in names:
            if type(getattr(component, each)) is not wanted:
                what = "a text" if wanted is str else "True or False"
                return f"{component.kind} {component.name!r}: {each} is {getattr(component, each)!r}; give {what}"
    if component.name.split() != [component.name] or text_of(component.name) != component.name:
        return f"{component.kind} {component.name!r}: give a name of one word, as recipes need it"
    if not all(component.target.partition(":")):
        return f"{component.kind} {component.name!r}: its target is {component.target!r}; give 'module:attribute'"
    for each in ("requires", "tested", "fused"):
        given = getattr(component, each)
        # ("name") without a comma is a text, and would be read letter by letter.
        if not isinstance(given, tuple | list) or not all(type(text) is str for text in given):
            return f"{component.kind} {component.name!r}: {each} is {given!r}; give a tuple of texts, such as ('name',)"
    return ""


def _describe(error: BaseException, found: Found) -> str:
    """Describe an exception to the plugin's user and author, with its place in the plugin."""
    if isinstance(error, PluginError):
        return text_of(error)
    top = found.entry.module.partition(".")[0] if found.entry else ""
    text, where = f"{type(error).__name__}: {text_of(error)}", place(error, (top,))
    text += f" ({where.file}, line {where.line})" if where else ""
    install = f"pip install {found.distribution}" if found.distribution else "pip"
    if isinstance(error, ModuleNotFoundError) and where is None:
        return f"{text}; the plugin is not completely installed, install it again with: {install}"
    if isinstance(error, ModuleNotFoundError):
        return f"{text}; install what it needs with: {install}"
    return text
