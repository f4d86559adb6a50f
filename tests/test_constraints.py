"""constraints.txt pins whatever the project and its plugins ask for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]


def pins() -> dict[str, str]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_there_are_plugins_to_look_at() -> None:
    assert len(PROJECTS) >= 4


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.parent.name)
def test_every_requirement_is_pinned_to_a_version_it_allows(project: Path) -> None:
    declared = tomllib.loads(project.read_text(encoding="utf-8"))
    texts = [*declared["build-system"]["requires"], *declared["project"].get("dependencies", [])]
    texts += [text for extra in declared["project"].get("optional-dependencies", {}).values() for text in extra]
    wanted = [r for r in map(Requirement, texts) if not canonicalize_name(r.name).startswith("neurozoo")]
    assert wanted
    for requirement in wanted:
        version = pins().get(canonicalize_name(requirement.name))
        assert version is not None, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement} does not admit the pinned {version}"
