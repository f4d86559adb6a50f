"""The beginning of a plugin: a distribution that installs, works and passes its own conformance test."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import NamedTuple

from neurozoo.errors import DISTRIBUTION, UnknownNameError, UserError
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.writing import write_whole
from neurozoo.registry.discovery import canonical
from neurozoo.registry.hookspecs import API_VERSION, Kind
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["KINDS_OF_PLUGIN", "PREFIX", "Written", "checked_name", "write_plugin"]


class _Part(NamedTuple):
    """What differs between the kinds."""

    ending: str  # of the class name
    conformance: str  # the class of ``neurozoo.testing`` that its test is a subclass of
    title: str  # what the template has
    use: str  # commands that use it
    needs: tuple[str, ...] = ("torch>=2.4", "pydantic>=2.8")


_SMILE, _CONVNET = "neurozoo train smile_mosei_corrected --dry-run", "neurozoo train spiking_convnet --dry-run"
KINDS_OF_PLUGIN: Mapping[Kind, _Part] = {
    "neuron": _Part(
        "Neuron",
        "BackendConformance",
        "a leaky integrate-and-fire neuron",
        f"neurozoo compare --backends torch,$name\n{_SMILE} --backend $name",
        ("torch>=2.4",),
    ),
    "fusion": _Part(
        "Fusion",
        "FusionConformance",
        "the modalities one after another, gated",
        f"{_SMILE} model.parts.fusion=$name",
    ),
    "label-head": _Part(
        "Head",
        "LabelHeadConformance",
        "attention pooling, a query for each label",
        f"{_SMILE} model.parts.head=$name",
    ),
    "model": _Part("Model", "ModelConformance", "a small spiking convnet", f"{_CONVNET} 'model={{name: $name}}'"),
    "part": _Part(
        "Neuron",
        "PartConformance",
        "LIF neurons with a learned leak",
        f"{_CONVNET} model.parts.neuron=$name",
        ("pydantic>=2.8",),
    ),
    "task": _Part(
        "Task",
        "TaskConformance",
        "classes in an order",
        f"{_CONVNET} 'task={{name: $name}}'",
        ("torch>=2.4", "numpy>=1.26", "pydantic>=2.8"),
    ),
    "data": _Part(
        "Data",
        "DataConformance",
        "SYNTHETIC small sequences",
        f"{_SMILE} 'data={{name: $name, inputs: [text, audio]}}' model.params.context=text task.outputs=null",
        ("numpy>=1.26", "pydantic>=2.8"),
    ),
    "representation": _Part(
        "Representation",
        "RepresentationConformance",
        "the logarithm of counts of events",
        f"{_CONVNET} 'data={{name: events-synthetic, represent: {{events: $name}}}}'",
        ("pydantic>=2.8",),
    ),
}
"""What ``plugins new`` can write, by kind."""


@dataclass(frozen=True)
class Written:
    """A plugin that was written, with the kind and name of its component."""

    path: Path
    distribution: str  # what pip calls it
    package: str  # what Python calls it
    kind: Kind
    name: str
    part: str  # the file to change, from the folder
    files: tuple[str, ...]  # all of them, from the folder

    @property
    def next_commands(self) -> tuple[str, ...]:
        """What to run now."""
        return (
            f"pip install -e {shlex.quote(str(self.path))}",
            "neurozoo plugins list",
            f"neurozoo plugins check {self.distribution}",
            f"pytest {shlex.quote(str(self.path))}",
        )


def write_plugin(name: str, kind: str, out: Path) -> Written:
    """Write a new plugin's folder ``neurozoo-NAME`` in the folder ``out``, whole or not at all.

    Args:
        name: Of the plugin and its component, with or without ``neurozoo-``.
        kind: What to write, see :data:`KINDS_OF_PLUGIN`.

    Raises:
        UserError: The kind is unknown, the name cannot be used or is taken, the folder is there
            already or cannot be written.
    """
    chosen = next((each for each in KINDS_OF_PLUGIN if each == kind), None)
    if chosen is None:
        raise UnknownNameError("kind of plugin to begin with", kind, KINDS_OF_PLUGIN)
    name = checked_name(name, chosen, default_registry())
    path = out / (PREFIX + name)
    if path.exists():
        raise UserError(f"{path} is there already; give another name, or another folder with --out")
    package, module, part = (PREFIX + name).replace("-", "_"), chosen.replace("-", "_"), KINDS_OF_PLUGIN[chosen]
    words = "".join(word.capitalize() for word in name.split("-"))
    fields = {
        "name": name,
        "distribution": PREFIX + name,
        "package": package,
        "kind": chosen,
        "module": module,
        "class_name": words if words.endswith(part.ending) else words + part.ending,
        "conformance": part.conformance,
        "title": part.title,
        "use": Template(part.use).substitute(name=name),
        "dependencies": ", ".join(f'"{each}"' for each in (_neurozoo_requirement(), *part.needs)),
        "api": API_VERSION,
    }
    templates = {
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        ".gitignore": "gitignore",
        f"{package}/__init__.py": "init.py",
        f"{package}/{module}.py": f"{module}.py",
        "tests/test_conformance.py": "test_conformance.py",
    }
    folder = files("neurozoo.registry.scaffold") / "templates"
    content = {
        where: Template((folder / f"{source}.tmpl").read_text(encoding="utf-8")).substitute(fields)
        for where, source in templates.items()
    }
    content[f"{package}/py.typed"] = ""
    _write(path, content)
    return Written(path, PREFIX + name, package, chosen, name, f"{package}/{module}.py", tuple(content))


def _neurozoo_requirement() -> str:
    """Return a requirement of compatible versions: the same minor one before 1.0, the same major one after."""
    major, minor = (int(each) for each in importlib.metadata.version(DISTRIBUTION).split(".")[:2])
    above = f"{major + 1}" if major else f"0.{minor + 1}"
    return f"{DISTRIBUTION}>={major}.{minor},<{above}"


def _write(path: Path, content: Mapping[str, str]) -> None:
    try:
        with PartialFolder(path) as new:
            for name, text in content.items():
                write_whole(new.path / name, text.encode())
            new.finish()
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); give another folder with --out") from error


PREFIX = "neurozoo-"
LONGEST = 40
_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def checked_name(given: str, kind: Kind, registry: Registry) -> str:
    """Return the normalised name without ``neurozoo-``, for a distribution, a package and a component.

    Raises:
        UserError: It cannot be a name, or it is taken; suggests another.
    """
    name = canonical(given).removeprefix(PREFIX)
    if not _NAME.fullmatch(given) or not _NAME.fullmatch(name) or len(name) > LONGEST or name == "neurozoo":
        raise UserError(
            f"{given!r} cannot be a plugin's name; use letters, digits and '-', a letter first, {LONGEST} characters "
            f"at most{_suggested(given)}"
        )
    if taken := _taken(name, kind, registry):
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
    """Return what has the name already; empty if it is free."""
    distribution, package = PREFIX + name, (PREFIX + name).replace("-", "_")
    installed = (str(each.metadata["Name"] or "") for each in importlib.metadata.distributions())
    if any(canonical(each) == distribution for each in installed):
        return f"a distribution {distribution} is installed already"
    if name in registry.components(kind):
        return f"a {kind} {name!r} is registered already, by {registry.owner(kind, name)}"
    for plugin in registry.plugins:
        if plugin.name == name:
            return f"a plugin {name!r} is installed already, by {plugin.distribution}"
    if importlib.util.find_spec(package) is not None:
        return f"there is a module {package} already"
    return ""
