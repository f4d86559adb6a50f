"""Checks of an installation: versions, devices, plugins, data, recipes, and a small test of each backend."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement

from neurozoo.errors import DISTRIBUTION, DeviceError, NeurozooError
from neurozoo.registry.discovery import GROUP, canonical, find_plugins, installed_distributions
from neurozoo.registry.isolation import text_of
from neurozoo.registry.loading import Plugin
from neurozoo.registry.registry import CORE, Registry, default_registry
from neurozoo.runs.threads import thread_waiting

if TYPE_CHECKING:
    import torch

    from neurozoo.core.neuron import Neuron

__all__ = ["SECTIONS", "Finding", "Status", "examine", "refuses_device"]

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        section: One of :data:`SECTIONS`.
        name: What was checked.
        status: ``ok``, ``failed``, or a ``warning`` for the user to judge.
        said: What was found, and what to do if it is not ok.
        details: The same for programs.
    """

    section: str
    name: str
    status: Status
    said: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fix(self) -> str:
        """The shell command in ``said`` that mends what is not ok; empty if it names none."""
        if self.status == "ok":
            return ""
        command = re.search(r"(?:with|needs [^:]+): (\S.*)$", self.said)
        setting = re.search(r"set (OMP_NUM_THREADS=\d+)", self.said)
        return command[1] if command else f"export {setting[1]}" if setting else ""


Section = Callable[[Registry], Iterator[Finding]]


def examine(registry: Registry | None = None, sections: Iterable[str] | None = None) -> Iterator[Finding]:
    """Run checks in the order of :data:`SECTIONS`; one that raises does not stop the others.

    What is installed is checked in a process of its own, so that an installation that ends a process is a finding.

    Args:
        registry: Other plugins than those installed, which are checked in this process.
        sections: Those to run; all by default.
    """
    sections = list(SECTIONS if sections is None else sections)
    if registry is None:
        yield from _examine_apart(sections)
        return
    # Once, and first: a second import of a library whose first one failed half-way can end the process.
    broken = _import_problem("torch") if set(sections) - {"versions", "plugins", "data"} else ""
    for section in sections:
        if broken and section != "versions":
            yield Finding(section, section, "failed", f"not examined, as torch cannot be imported: {broken}")
            continue
        try:
            yield from SECTIONS[section](registry)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # an installation can be broken in any way
            said = f"could not be checked: {type(error).__name__}: {text_of(error)}"
            yield Finding(section, section, "failed", said)


def _run_item(_item: str) -> bool:
    return True


begin_item: Callable[[str], bool] = _run_item
"""Called before each item that loads other people's code, with its name; an item is skipped where it returns False."""


def _import_problem(library: str) -> str:
    """Why a library cannot be imported; empty if it can."""
    try:
        importlib.import_module(library)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {text_of(error)}"
    return ""


def _versions(registry: Registry) -> Iterator[Finding]:
    yield Finding("versions", "python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Finding("versions", "neurozoo", "ok", importlib.metadata.version(DISTRIBUTION))
    for text in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _required(requirement)
    yield from _damaged_distributions()


def _damaged_distributions() -> Iterator[Finding]:
    """Distributions whose metadata cannot be read, which torch and pydantic read of all that are installed."""
    for distribution in installed_distributions():
        location = str(getattr(distribution, "_path", "")) or "a distribution without a location"
        try:
            name = str(distribution.metadata["Name"] or location)
            for entry in distribution.entry_points:
                _ = (entry.group, entry.module, entry.attr)
        except Exception as error:
            reason = f"{type(error).__name__}: {text_of(error)}"
            said = f"its metadata is damaged ({reason}); install {location} again, or remove it"
            yield Finding("versions", Path(location).name, "warning", said)
            continue
        if not distribution.metadata["Version"]:
            yield Finding("versions", name, "warning", f"its metadata has no version; install {location} again")


def _required(wanted: Requirement) -> Finding:
    found = _version(wanted.name)
    details = {"version": found, "requires": str(wanted.specifier)}
    if found is not None and wanted.specifier.contains(found, prereleases=True):
        return Finding("versions", wanted.name, "ok", found, details)
    said = f"{found or 'is not installed'}; neurozoo needs {wanted}: pip install '{wanted}'"
    return Finding("versions", wanted.name, "failed", said, details)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices(registry: Registry) -> Iterator[Finding]:
    import torch

    from neurozoo.runs.device import choose_device

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("devices", "cpu", "ok", f"{platform.machine()}, {cores} cores for this process", {"cores": cores})
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        yield Finding("devices", f"cuda:{index}", "ok", f"{found.name}, {found.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "ok", "Apple's GPU")
    chosen = str(choose_device("auto"))
    yield Finding("devices", "auto", "ok", f"training.device=auto is {chosen}", {"device": chosen})
    threads, asked = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    said = f"{threads} a process" + (f", by OMP_NUM_THREADS={asked}" if asked else "")
    if threads > cores:
        said += f": more than the {cores} cores, which is slow; set OMP_NUM_THREADS={cores} or training.threads"
    yield Finding("devices", "threads", "warning" if threads > cores else "ok", said, {"threads": threads})
    waiting = thread_waiting()
    status: Status = "warning" if waiting.set_by == "nobody" else "ok"
    yield Finding("devices", "thread waiting", status, waiting.describe(), waiting.to_dict())


def _plugins(registry: Registry) -> Iterator[Finding]:
    for plugin in registry.plugins:
        name = f"{plugin.name} ({plugin.distribution})"
        tested = [each.name for each in _tested(plugin) if isinstance(each, Requirement)]
        versions = {name: version for name in tested if (version := _version(name)) is not None}
        details: dict[str, Any] = {"api": plugin.api, "libraries": versions}
        if plugin.error:
            yield Finding("plugins", name, "failed", f"not loaded: {plugin.error}", details)
            continue
        problems = [plugin.note] if plugin.note else []
        problems += _untested(plugin)
        # What the core lacks are optional extras.
        optional = list(_missing(plugin, registry)) if plugin.distribution.partition(" ")[0] == CORE else []
        problems += [] if optional else _missing(plugin, registry)
        for problem in problems:
            yield Finding("plugins", name, "warning", problem, details)
        if not problems:
            count = len(plugin.components)
            said = f"loaded, {count} component{'s' if count != 1 else ''}, plugin API {plugin.api}"
            said += "".join(f", {library} {version}" for library, version in versions.items())
            said += "".join(f"; {each}" for each in optional)
            yield Finding("plugins", name, "ok", said, details)
    yield from _silent_distributions(registry)


def _tested(plugin: Plugin) -> Iterator[Requirement | str]:
    """The requirements that the plugin was tested with; text that is no requirement is yielded unchanged."""
    for text in dict.fromkeys(text for each in plugin.components for text in each.tested):
        try:
            yield Requirement(text)
        except InvalidRequirement:
            yield text


def _missing(plugin: Plugin, registry: Registry) -> Iterator[str]:
    """Components that cannot be used because a library is not installed."""
    for each in plugin.components:
        if missing := registry.missing(each.kind, each.name):
            remedy = f"; install it with: {each.install}" if each.install else ""
            yield f"{each.kind} {each.name} cannot be used: {', '.join(missing)} is not installed{remedy}"


def _untested(plugin: Plugin) -> Iterator[str]:
    """Libraries whose installed version is not one that the plugin was tested with."""
    for tested in _tested(plugin):
        if isinstance(tested, str):
            yield f"it says it was tested with {tested!r}, which is no requirement; write such as 'thelibrary >=1.0,<2'"
            continue
        found = _version(tested.name)
        # A missing library is reported with the component that needs it.
        if found is not None and not tested.specifier.contains(found, prereleases=True):
            yield f"{tested.name} is {found}, and the plugin was tested with {tested.specifier}; check it before use"


def _silent_distributions(registry: Registry) -> Iterator[Finding]:
    """Distributions named like plugins that register nothing, such as by a misspelt entry point."""
    known = {canonical(plugin.distribution.partition(" ")[0]) for plugin in registry.plugins}
    for distribution in installed_distributions():
        try:
            name = str(distribution.metadata["Name"] or "")
            groups = sorted({entry.group for entry in distribution.entry_points})
        except Exception:  # damaged, which is reported with the versions
            continue
        if not canonical(name).startswith(f"{GROUP}-") or canonical(name) in known:
            continue
        known.add(canonical(name))
        has = f"; its entry points are in {', '.join(map(repr, groups))}" if groups else "; it has no entry points"
        said = f"is installed and offers nothing{has}: a plugin's is in the group {GROUP!r}"
        yield Finding("plugins", name, "warning", said)


def _data(registry: Registry) -> Iterator[Finding]:
    from neurozoo.data.locations import data_home, installed
    from neurozoo.data.manifest import Manifest

    home = data_home()
    by = "NEUROZOO_DATA" if os.environ.get("NEUROZOO_DATA") else "the default; NEUROZOO_DATA names another"
    yield _writable(home, by)
    for name, path in installed().items():
        try:
            found = Manifest.read(path).description
        except (NeurozooError, OSError) as error:
            yield Finding("data", name, "failed", str(error), {"path": str(path)})
            continue
        sizes = ", ".join(f"{split} {samples}" for split, samples in found.splits.items())
        made_up = "SYNTHETIC, " if found.synthetic else ""
        said = f"{made_up}{sizes}; values not verified here: neurozoo data info {path}"
        yield Finding("data", name, "ok", said, {"path": str(path), "checksum": found.checksum})


def _writable(folder: Path, by: str) -> Finding:
    """Whether data sets can be written to a folder, tried in its nearest parent that exists."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        said = f"cannot be written ({error.strerror}); set NEUROZOO_DATA to a folder that can"
        return Finding("data", str(folder), "failed", said)
    return Finding("data", str(folder), "ok", f"can be written ({by})")


def _recipes(registry: Registry) -> Iterator[Finding]:
    from neurozoo.data.locations import installed
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.recipe.shipped import shipped_recipes

    names = shipped_recipes()
    if not names:
        yield Finding("recipes", "recipes", "failed", "none came with neurozoo; install it again")
    for name in filter(begin_item, names):
        try:
            data = load_recipe(name, registry=registry).data
        except NeurozooError as error:
            yield Finding("recipes", name, "failed", str(error))
            continue
        if data.name in installed() or data.root is not None:
            said = f"its data is {data.root or data.name}"
        elif data.name in registry.components("data"):
            said = f"its data is {data.name}, made or unpacked on first use"
        elif data.instead is not None:
            said = f"{data.name} is not installed; {data.instead.name} stands in"
        else:
            said = f"{data.name} is not installed"
        yield Finding("recipes", name, "ok", said)


def _conformance(registry: Registry) -> Iterator[Finding]:
    for name, component in registry.components("neuron").items():
        if component.native:
            said = "not held against the oracle: it is what its library gives"
            yield Finding("conformance", name, "ok", said)
        elif not registry.missing("neuron", name) and begin_item(name):  # what is missing is reported with the plugins
            try:
                yield _conforms(name, registry)
            except KeyboardInterrupt:
                raise
            except NeurozooError as error:
                yield Finding("conformance", name, "failed", str(error))
            except BaseException as error:  # costs this backend alone
                yield Finding("conformance", name, "failed", f"{type(error).__name__}: {text_of(error)}")


def _conforms(name: str, registry: Registry) -> Finding:
    from neurozoo.core.kinds import LIFSpec
    from neurozoo.testing import check, registered
    from neurozoo.testing.kits import require_kit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, at import
        candidate = registered("neuron", name, registry=registry)
        report = check(candidate, require_kit("neuron").tiny)
    if report.passed:
        said = f"{len(report.results)} quick cases passed; all of them: neurozoo plugins check {name}"
        return Finding("conformance", name, "ok", said, report.to_dict())
    if report.failures and (refusal := refuses_device(candidate.target(LIFSpec()), "cpu")):
        # The kit's currents are on the CPU.
        return Finding("conformance", name, "ok", f"not held against the oracle here: {refusal}")
    wrong = "; ".join(f"{each.name}: {each.problem}" for each in report.failures) or "no case could be run"
    said = f"{wrong}; all cases: neurozoo plugins check {name}"
    return Finding("conformance", name, "failed", said, report.to_dict())


SECTIONS: Mapping[str, Section] = {
    "versions": _versions,
    "devices": _devices,
    "plugins": _plugins,
    "data": _data,
    "recipes": _recipes,
    "conformance": _conformance,
}
"""All checks, in order."""


def refuses_device(neuron: Neuron, device: torch.device | str) -> str:
    """Why a neuron refuses currents on a device; empty if it runs there, or fails for another reason."""
    import torch

    try:
        neuron.scan(torch.zeros(1, 1, 1, device=device), None, 1.0)
    except DeviceError as error:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # reported where the neuron is run
        return ""
    return ""


# The process that examines


_CODE = "from neurozoo.testing.doctor import _send; _send()"


def _examine_apart(todo: list[str]) -> Iterator[Finding]:
    """Run checks in a child, which sends its findings as JSON lines.

    Compiled libraries end a process if they are damaged, or imported a second time after they failed. If the child
    ends, the item it was at has failed, and another child continues after that item.
    """
    done, without = list[str](), list[str]()
    while todo:
        section, item, plugin = todo[0], "", ""
        wanted = {"sections": todo, "skipped": done, "without": without}
        command = [sys.executable, "-c", _CODE, json.dumps(wanted)]
        # Its standard input is closed: a plugin that reads it must not wait for the user.
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    try:
                        kind, value = json.loads(line)
                    except ValueError:  # the end of the process cut it
                        continue
                    if kind == "plugin":
                        plugin = value
                    elif kind == "section":
                        section, item, done, plugin = value, "", [], ""
                        todo = todo[todo.index(section) :]
                    elif kind == "item":
                        item = value
                        done.append(item)
                    elif kind == "finding":
                        yield Finding(**value)
                    elif kind == "end":
                        todo = []
            finally:
                child.kill()
        how = _how(child.returncode)
        if todo and plugin:
            without.append(plugin)
            said = f"loading it ended the process ({how}); uninstall it, or install it again"
            yield Finding("plugins", plugin, "failed", said)
        elif todo:
            said = f"the check ended its process ({how}); a library that it loads is damaged: install it again"
            yield Finding(section, item or section, "failed", said)
            if not item:
                todo, done = todo[1:], []


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _send() -> None:
    """The child: run the sections that the command names, and write the protocol to what was its standard output."""
    wanted = json.loads(sys.argv[1])
    # Whatever else is printed, by Python or below it, goes to the standard error.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(kind: str, value: object) -> None:
        out.write(json.dumps([kind, value], default=str) + "\n")
        out.flush()

    def begin(item: str) -> bool:
        if item in skipped:
            return False
        send("item", item)
        return True

    global begin_item
    begin_item = begin
    skipped: Sequence[str] = wanted["skipped"]
    entries = []
    for found in find_plugins():
        if found.entry is not None and found.source not in wanted["without"]:
            send("plugin", found.source)
            Registry([found.entry])
            entries.append(found.entry)
    send("plugin", "")
    registry = Registry(entries) if wanted["without"] else default_registry()
    for section in wanted["sections"]:
        if section != wanted["sections"][0] or not skipped:
            send("section", section)
        for finding in examine(registry, [section]):
            send("finding", asdict(finding))
        skipped = ()
    send("end", None)
    out.flush()
    os._exit(0)  # not by the interpreter's end, where a damaged library can still fail
