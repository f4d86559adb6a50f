"""Imports point one way, and each library has its room: read off the source, without importing it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "neurozoo"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))

# The wings from top to bottom; a module may import from its own wing and from those below it.
WINGS = (
    "cli",
    "hub",
    "reporting",
    "bench",
    "testing",
    "exporting",
    "nir",
    "studies",
    "compare",
    "operations",
    "training",
    "evaluation",
    "runs",
    "models",
    "fusions",
    "heads",
    "tasks",
    "data",
    "recipe",
    "registry",
    "nn",
    "backends",
    "core",
    "files",
    "errors",
)
FLOOR = {wing: len(WINGS) - place for place, wing in enumerate(WINGS)} | {"__init__": len(WINGS) + 1}
# Imports that point up, with why they still do: nothing else may.
UPWARD: dict[tuple[str, str], str] = {}

# Which part of the core may import a library; "" is nobody.
ROOMS = {
    "typer": ("neurozoo.cli",),
    "rich": ("neurozoo.cli",),
    "ruamel": ("neurozoo.recipe.yaml_text",),
    "yaml": ("",),
    "safetensors": ("neurozoo.data.shards", "neurozoo.data.vectors", "neurozoo.runs.checkpoint"),
    "requests": ("neurozoo.data.fetch",),
    "urllib3": ("neurozoo.data.fetch",),
    "lightning_fabric": ("neurozoo.training.engine",),
    "nir": (
        "neurozoo.nir.export.model_graph",
        "neurozoo.nir.reading",
        "neurozoo.nir.writing",
    ),
    "huggingface_hub": ("neurozoo.hub.publishing", "neurozoo.runs.from_hub", "neurozoo.testing.local_hub"),
    "matplotlib": ("neurozoo.reporting.figures", "neurozoo.reporting.plot", "neurozoo.reporting.timelines"),
    "PIL": ("neurozoo.reporting.pixels",),
    "dask": ("neurozoo.studies.launchers.dask",),
    "distributed": ("neurozoo.studies.launchers.dask",),
    "onnx": ("",),
    "onnxruntime": ("neurozoo.exporting.onnx_file",),
    "optuna": ("neurozoo.studies.tuning",),
    "pandas": ("neurozoo.runs.table",),
    "pyarrow": ("neurozoo.data.importers.table_rows",),
    "submitit": ("neurozoo.studies.launchers.slurm",),
    "soundfile": ("neurozoo.data.importers.sound_files",),
    "torch.utils.tensorboard": ("neurozoo.training.tensorboard",),
    "pickle": ("neurozoo.data.untrusted.pickles",),
    "cloudpickle": ("",),
    "dill": ("",),
    "joblib": ("",),
    "marshal": ("",),
    "shelve": ("",),
}
# Libraries that plugins run neurons with.
SPIKING = ("brian2", "lava", "norse", "nirtorch", "numba", "sinabs", "snntorch", "spikingjelly", "triton")
PUBLIC_TO_PLUGINS = (
    "neurozoo.backends",
    "neurozoo.core",
    "neurozoo.data",
    "neurozoo.errors",
    "neurozoo.models.smile",
    "neurozoo.nir.readers",
    "neurozoo.nn",
    "neurozoo.registry.hookspecs",
    "neurozoo.tasks",
    "neurozoo.testing",
    "neurozoo.training.loggers",
)


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = {module_name(path, ROOT): path for path in sorted(CORE.rglob("*.py"))}


def imports(path: Path, *, package: str, top_level_only: bool = False) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, with the line; inside functions too, as a late import is one as well."""
    tree = parse(path)
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                # `from neurozoo import registry` is the module, `from neurozoo import load` the package.
                name = f"{base}.{alias.name}"
                yield (name if name in MODULES else base), node.lineno


@cache
def core_imports() -> tuple[tuple[str, str, str], ...]:
    """(importing module, imported module, where) over the whole core."""
    found = []
    for name, path in MODULES.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for imported, line in imports(path, package=package):
            found.append((name, imported, f"{path.relative_to(ROOT)}:{line}"))
    return tuple(found)


def wing(module: str) -> str:
    """The part of the core that a module belongs to: ``data`` of ``neurozoo.data.store``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_there_is_a_core_and_plugins_to_look_at() -> None:
    assert {"neurozoo.core.equations", "neurozoo.core.layer", "neurozoo.cli"} <= set(MODULES)
    assert len(core_imports()) > 50
    assert len(PLUGINS) >= 3


def test_the_root_holds_wings_and_nothing_else() -> None:
    assert {path.name for path in CORE.glob("*.py")} == {"__init__.py", "errors.py"}
    homeless = {wing(name) for name in MODULES} - set(FLOOR)
    assert not homeless, f"give {sorted(homeless)} a place in WINGS, or put them into a wing that has one"


def test_imports_point_down() -> None:
    up, where_up = set(), []
    for name, imported, where in core_imports():
        if is_inside(imported, "neurozoo") and FLOOR.get(wing(imported), 0) > FLOOR[wing(name)]:
            up.add((name, imported))
            if (name, imported) not in UPWARD:
                where_up.append(f"{where}: {name} imports {imported}")
    assert not where_up, "\n".join(where_up)
    assert up == set(UPWARD), f"take {sorted(set(UPWARD) - up)} out of UPWARD"


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph: dict[str, set[str]] = {}
    for name, imported, _ in core_imports():
        if (name, imported) in UPWARD:
            continue
        if imported in MODULES and imported != name:
            graph.setdefault(name, set()).add(imported)
    assert graph
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


@pytest.mark.parametrize("library", ROOMS)
def test_each_library_has_its_room(library: str) -> None:
    intruders = [
        f"{where}: {name} imports {imported}"
        for name, imported, where in core_imports()
        if is_inside(imported, library) and not any(is_inside(name, room) for room in ROOMS[library])
    ]
    assert not intruders, "\n".join(intruders)


def test_no_unpickling_by_another_door() -> None:
    doors = []
    for name, path in MODULES.items():
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            opens = ast.unparse(node.func) in ("torch.load", "torch.save")
            allows = any(k.arg == "allow_pickle" and not _is_false(k.value) for k in node.keywords)
            if opens or allows:
                doors.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    assert not doors, "\n".join(doors)


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def test_the_core_knows_no_spiking_library() -> None:
    imported = [
        f"{where}: {name} imports {library}"
        for name, library, where in core_imports()
        if library.partition(".")[0] in SPIKING
    ]
    named = [
        f"{path.relative_to(ROOT)}:{node.lineno}: the core decides by the name {node.value!r}"
        for path in MODULES.values()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and node.value in SPIKING
    ]
    assert not imported + named, "\n".join(imported + named)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_keeps_to_its_library_and_to_the_public_core(plugin: Path) -> None:
    packages = sorted(plugin.glob("neurozoo_*/__init__.py"))
    assert packages, f"{plugin.name} has no package neurozoo_NAME"
    own = packages[0].parent.name
    project = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w.-]", line)[0].replace("-", "_").lower() for line in project["dependencies"]}
    for path in sorted(packages[0].parent.rglob("*.py")):
        for imported, line in imports(path, package=own):
            top, where = imported.partition(".")[0], f"{path.relative_to(ROOT)}:{line}: imports {imported}"
            assert top in declared or top not in SPIKING, f"{where}, which is not in its dependencies"
            if top == "neurozoo":
                assert any(is_inside(imported, public) for public in PUBLIC_TO_PLUGINS), where
    early = {name.partition(".")[0] for name, _ in imports(packages[0], package=own, top_level_only=True)}
    assert not early & {"torch", *SPIKING}, f"{own}/__init__.py imports {early} before the backend is used"


def test_the_list_of_components_imports_no_torch() -> None:
    heavy = ("torch", "numpy", "sklearn", *SPIKING)
    code = (
        "import sys, neurozoo, neurozoo.cli\n"
        "from neurozoo.registry.registry import default_registry\n"
        "assert default_registry().components('neuron')\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
