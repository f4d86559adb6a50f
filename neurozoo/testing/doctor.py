"""Checks of an installation: versions, devices, plugins, data, recipes, and a small test of each backend."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement

from neurozoo.errors import DeviceError, NeurozooError
from neurozoo.registry.discovery import GROUP, canonical
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


Section = Callable[[Registry], Iterator[Finding]]


def examine(registry: Registry | None = None) -> Iterator[Finding]:
    """Run all checks in the order of :data:`SECTIONS`; one that raises does not stop the others.

    Args:
        registry: The plugins; those installed by default.
    """
    registry = registry or default_registry()
    for section, look in SECTIONS.items():
        try:
            yield from look(registry)
        except Exception as error:  # an installation can be broken in any way
            yield Finding(section, section, "failed", f"could not be checked: {type(error).__name__}: {error}")


def _versions(registry: Registry) -> Iterator[Finding]:
    yield Finding("versions", "python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Finding("versions", "neurozoo", "ok", importlib.metadata.version("neurozoo"))
    for text in importlib.metadata.requires("neurozoo") or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _required(requirement)


def _required(wanted: Requirement) -> Finding:
    found = _version(wanted.name)
    details = {"version": found, "requires": str(wanted.specifier)}
    if found is None:
        said = f"is not installed; neurozoo needs {wanted}: pip install '{wanted}'"
        return Finding("versions", wanted.name, "failed", said, details)
    if not wanted.specifier.contains(found, prereleases=True):
        said = f"{found}; neurozoo needs {wanted}: pip install '{wanted}'"
        return Finding("versions", wanted.name, "failed", said, details)
    return Finding("versions", wanted.name, "ok", found, details)


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
        details: dict[str, Any] = {"api": plugin.api, "libraries": _libraries(plugin)}
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
            said += "".join(f", {library} {version}" for library, version in details["libraries"].items())
            said += "".join(f"; {each}" for each in optional)
            yield Finding("plugins", name, "ok", said, details)
    yield from _silent_distributions(registry)


def _libraries(plugin: Plugin) -> dict[str, str]:
    """The installed versions of the libraries that the plugin was tested with."""
    names = (requirement.name for requirement in _tested(plugin) if isinstance(requirement, Requirement))
    return {name: version for name in names if (version := _version(name)) is not None}


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
    for distribution in importlib.metadata.distributions():
        name = str(distribution.metadata["Name"] or "")
        if not canonical(name).startswith(f"{GROUP}-") or canonical(name) in known:
            continue
        known.add(canonical(name))
        try:
            groups = sorted({entry.group for entry in distribution.entry_points})
        except Exception:  # reported with the plugins if it is one
            continue
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
        except NeurozooError as error:
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
    for name in names:
        try:
            data = load_recipe(name, registry=registry).data
        except NeurozooError as error:
            yield Finding("recipes", name, "failed", str(error))
            continue
        if data.name in installed() or data.root is not None:
            said = f"its data is {data.root or data.name}"
        elif data.instead is not None:
            said = f"{data.name} is not installed; {data.instead.name} stands in"
        else:
            said = f"{data.name} is not installed"
        yield Finding("recipes", name, "ok", said)


def _conformance(registry: Registry) -> Iterator[Finding]:
    from neurozoo.core.kinds import LIFSpec
    from neurozoo.testing import check, registered
    from neurozoo.testing.kits import require_kit

    for name, component in registry.components("neuron").items():
        if component.native:
            said = "not held against the oracle: it is what its library gives"
            yield Finding("conformance", name, "ok", said)
            continue
        if registry.missing("neuron", name):
            continue  # reported with the plugins
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the library, at import
                candidate = registered("neuron", name, registry=registry)
                report = check(candidate, require_kit("neuron").tiny)
        except NeurozooError as error:
            yield Finding("conformance", name, "failed", str(error))
            continue
        if report.failures and (refusal := refuses_device(candidate.target(LIFSpec()), "cpu")):
            # The kit's currents are on the CPU.
            yield Finding("conformance", name, "ok", f"not held against the oracle here: {refusal}")
            continue
        details = report.to_dict()
        if report.passed:
            said = f"{len(report.results)} quick cases passed; all of them: neurozoo plugins check {name}"
            yield Finding("conformance", name, "ok", said, details)
            continue
        wrong = "; ".join(f"{each.name}: {each.problem}" for each in report.failures) or "no case could be run"
        yield Finding("conformance", name, "failed", f"{wrong}; all cases: neurozoo plugins check {name}", details)


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
    except Exception:  # reported where the neuron is run
        return ""
    return ""
