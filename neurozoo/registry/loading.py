"""One plugin, loaded by itself; or the reason why it cannot be.

Whatever a plugin does while it is loaded (raise, exit, print, warn) is told of it and stops no
other; only Ctrl-C goes through.
"""

from __future__ import annotations

import importlib.util
import io
import re
import warnings
from collections.abc import Container, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from neurozoo.errors import PluginError, nearest
from neurozoo.registry.discovery import Found
from neurozoo.registry.hookspecs import API_VERSION, KINDS, Component

if TYPE_CHECKING:
    import importlib.metadata

__all__ = ["Place", "Plugin", "load_plugin", "place"]

HOOKS = ("neurozoo_components",)
_API = re.compile(r"(\d+)\.(\d+)")
_API_IN_SOURCE = re.compile(r"""^neurozoo_api\b[^=\n]*=\s*["'](\d+\.\d+)["']""", re.MULTILINE)
_LINE_TO_ADD = f'neurozoo_api = "{API_VERSION}"'


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found, loaded or not.

    Attributes:
        name: The entry point's name.
        distribution: The distribution it comes from, with its version.
        components: What it added; nothing where it was refused.
        api: The version of the plugin API that it declares; empty where it does not.
        error: Why it was refused; empty where all went well.
        note: What its user should know though it was loaded; empty where there is nothing.
    """

    name: str
    distribution: str
    components: tuple[Component, ...] = ()
    api: str = ""
    error: str = ""
    note: str = ""


def load_plugin(found: Found, manager: pluggy.PluginManager) -> Plugin:
    """Load one plugin and read what it offers, all or nothing.

    Args:
        found: The plugin.
        manager: Knows the hooks.

    Returns:
        The plugin with its components, each of the right form, or with its error.
    """
    printed = io.StringIO()
    api = ""
    try:
        if found.entry is None:
            raise PluginError(found.problem)
        # What a plugin prints must not get between the lines of a command's own output.
        with redirect_stdout(printed), warnings.catch_warnings(record=True) as warned:
            plugin = _imported(found.entry, found.source)
            api, note = _declared_api(plugin, found.source)
            components = tuple(_offered(plugin, manager, f"{found.source}:{found.name}"))
        for component in components:
            if problem := _problem(component):
                raise PluginError(problem)
    except (Exception, SystemExit) as error:
        return Plugin(found.name, found.source, api=api, error=_told(error, found))
    notes = [note, *(_one_line(f"it warned: {each.message}") for each in warned or ())]
    if text := _one_line(printed.getvalue()):
        notes.append(f"it printed {text if len(text) < 80 else text[:77] + '...'!r} when it was loaded")
    return Plugin(found.name, found.source, components, api, note="; ".join(filter(None, notes)))


@dataclass(frozen=True)
class Place:
    """A line of code that an exception passed through.

    Attributes:
        module: Its name.
        file: Its file.
        line: The line.
        depth: How many calls deep; the innermost has the largest.
    """

    module: str
    file: str
    line: int
    depth: int


def place(error: BaseException, packages: Container[str], but: Container[str] = ()) -> Place | None:
    """The innermost line of some packages, without some of their modules, that an exception passed through."""
    found, trace, depth = None, error.__traceback__, 0
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in packages and module not in but:
            found = Place(module, trace.tb_frame.f_code.co_filename, trace.tb_lineno, depth)
        trace, depth = trace.tb_next, depth + 1
    return found


def _imported(entry: importlib.metadata.EntryPoint, source: str) -> Any:
    if not re.fullmatch(r"\s*[\w.]+\s*(:\s*[\w.]+\s*)?", entry.value):
        raise PluginError(f"its entry point {entry.name} = {entry.value!r} is malformed; name a module")
    try:
        return entry.load()
    except Exception as error:
        # Written for another API, it may well fail before it can say so.
        _refuse_other_major(_api_in_source(entry.module), source, error)
        raise


def _declared_api(plugin: Any, source: str) -> tuple[str, str]:
    """The API that a plugin declares, and a note where it is newer than this one.

    Raises:
        PluginError: It declares none, or another major.
    """
    api = getattr(plugin, "neurozoo_api", None)
    if api is None:
        raise PluginError(f"it does not say which plugin API it was written for; add {_LINE_TO_ADD} beside its hook")
    if not isinstance(api, str) or not _API.fullmatch(api):
        raise PluginError(f"it declares neurozoo_api = {api!r}, which is no MAJOR.MINOR; write {_LINE_TO_ADD}")
    _refuse_other_major(api, source)
    if int(api.partition(".")[2]) > int(API_VERSION.partition(".")[2]):
        note = f"it was written for plugin API {api}, and this neurozoo offers {API_VERSION}"
        return api, f"{note}; should a part of it fail, install a newer neurozoo"
    return api, ""


def _refuse_other_major(api: str, source: str, cause: BaseException | None = None) -> None:
    major, ours = api.partition(".")[0], API_VERSION.partition(".")[0]
    if api and int(major) != int(ours):
        raise PluginError(
            f"{source} was written for plugin API {major}.x, and this neurozoo offers {API_VERSION}; "
            f"install a neurozoo that offers {major}.x, or a version of the plugin for {ours}.x"
        ) from cause


def _api_in_source(module: str) -> str:
    """What a module that cannot be imported declares, read off its text."""
    try:
        # Of a package alone: for what is inside one, the package would have to be imported.
        spec = importlib.util.find_spec(module.partition(".")[0])
        text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin and "." not in module else ""
    except (OSError, ValueError, ImportError):
        return ""
    declared = _API_IN_SOURCE.search(text)
    return declared[1] if declared else ""


def _offered(plugin: Any, manager: pluggy.PluginManager, name: str) -> list[Any]:
    """What a plugin's hook yields, whatever it is.

    Raises:
        PluginError: A hook has another name than those there are, or none is marked.
    """
    hooks = [each for each in dir(plugin) if hasattr(getattr(plugin, each, None), "neurozoo_impl")]
    unknown = [each for each in hooks if each not in HOOKS]
    if unknown:
        guess = nearest(unknown[0], HOOKS)
        hint = f"; did you mean {guess}?" if guess else ""
        raise PluginError(f"unknown hook {', '.join(unknown)}; there are: {', '.join(HOOKS)}{hint}")
    if not hooks:
        unmarked = hasattr(plugin, HOOKS[0])
        what = f"its {HOOKS[0]} is not marked" if unmarked else "it offers nothing"
        raise PluginError(f"{what}; mark a function {HOOKS[0]} with @hookimpl of neurozoo.registry.hookspecs")
    manager.register(plugin, name=name)
    implementations = manager.hook.neurozoo_components.get_hookimpls()
    yielded: list[Any] = [each.function() for each in implementations if each.plugin is plugin]
    if not all(isinstance(each, Iterable) for each in yielded):
        raise PluginError(f"its {HOOKS[0]} returns no components; yield one Component for each part")
    return [component for components in yielded for component in components]


def _problem(component: object) -> str:
    """What is wrong with the form of a component; empty where nothing is."""
    if not isinstance(component, Component):
        return f"it offers {component!r}; yield Component(kind, name, 'module:attribute', summary) instead"
    if component.kind not in KINDS:
        return f"{component.name!r} is of unknown kind {component.kind!r}; there are: {', '.join(KINDS)}"
    texts = ("name", "target", "summary", "install")
    if wrong := [each for each in texts if not isinstance(getattr(component, each), str)]:
        return f"{component.kind} {component.name!r}: {wrong[0]} is {getattr(component, wrong[0])!r}; give a text"
    if component.name.split() != [component.name]:
        return f"{component.kind} {component.name!r}: a name is one word; recipes name the part by it"
    if not all(component.target.partition(":")):
        return f"{component.kind} {component.name!r}: its target is {component.target!r}; give 'module:attribute'"
    for each in ("requires", "tested"):
        given = getattr(component, each)
        # A text is a sequence of texts too: without the comma, ("name") would be read letter by letter.
        if isinstance(given, str) or not all(isinstance(text, str) for text in given):
            return f"{component.kind} {component.name!r}: {each} is {given!r}; give a tuple of texts, such as ('name',)"
    return ""


def _told(error: BaseException, found: Found) -> str:
    """An exception for the plugin's user and author, with its place in the plugin."""
    if isinstance(error, PluginError):
        return _one_line(str(error))
    module = found.entry.module if found.entry else ""
    top = module.partition(".")[0]
    text = _one_line(f"{type(error).__name__}: {error}")
    where = place(error, (top,))
    text += f" ({where.file}, line {where.line})" if where else ""
    install = f"pip install {found.distribution}" if found.distribution else "pip"
    if isinstance(error, ModuleNotFoundError) and where is None:
        return f"{text}; the plugin is not installed whole, install it again with: {install}"
    if isinstance(error, ModuleNotFoundError):
        return f"{text}; install what it needs with: {install}"
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())
