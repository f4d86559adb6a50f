"""The pages for plugin authors: their examples pass the kits, and they name every case."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from neurozoo.registry.hookspecs import Kind
from neurozoo.testing import Candidate, check, kit_of

PAGES = Path(__file__).parents[2] / "docs" / "plugins"
KINDS: tuple[Kind, ...] = ("neuron", "fusion", "label-head", "model", "part", "task", "data")
DECLARED = {"neuron": {"exact": False, "requires": ("mylib",)}}
MYLIB = "def integrate(v, current, tau):\n    return v - v / tau + current\n"
SMALL = {"model": {"channels": 4}, "data": {"size": 8}}
PAGE_OF = {"neuron": "backend"}


def page(kind: Kind) -> str:
    return (PAGES / f"{PAGE_OF.get(kind, kind)}.md").read_text(encoding="utf-8")


def cases_of(kind: Kind) -> list[str]:
    kit = kit_of(kind)
    assert kit is not None
    return list(kit.cases)


def blocks(kind: Kind) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page(kind), re.M | re.S)


def written(source: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


# Cases that start processes, compile, or take a thousand steps; installed plugins pass them.
LONG = ("a_data_parallel_pair", "can_be_compiled", "a_thousand_steps", "back_through_a_thousand_steps")


@pytest.mark.parametrize(
    ("kind", "left_out"), [*((kind, LONG) for kind in KINDS), pytest.param("neuron", (), marks=pytest.mark.slow)]
)
def test_the_example_passes_its_kit(
    kind: Kind, left_out: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example, *_ = blocks(kind)
    written(MYLIB, "mylib", tmp_path, monkeypatch)
    module = written(example, f"example_{kind.replace('-', '_')}", tmp_path, monkeypatch)
    candidate = Candidate(kind, "mine", module.Mine, params=SMALL.get(kind, {}), **DECLARED.get(kind, {}))
    report = check(candidate, [case for case in cases_of(kind) if case not in left_out])
    report.raise_if_failed()


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_is_what_it_says(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, test, *_ = blocks(kind)
    suite = written(test, f"test_of_{kind.replace('-', '_')}", tmp_path, monkeypatch).TestMine
    assert (suite.kind, suite.name, dict(suite.params)) == (kind, "mine", SMALL.get(kind, {}))
    assert {f"test_{case}" for case in cases_of(kind)} <= set(dir(suite))


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_is_named(kind: Kind) -> None:
    text = page(kind)
    for shared in ("model", "fusion"):
        text += page(shared) if f"{shared}.md#what-the-kit-checks" in text else ""  # type: ignore[arg-type]
    missing = [case for case in cases_of(kind) if f"`{case}`" not in text]
    assert not missing
