"""What ``plugins new`` writes: whole or not at all, under a name that can be used, in clean code."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import is_normalized_name

from neurozoo.errors import UserError
from neurozoo.files.writing import write_whole
from neurozoo.registry.hookspecs import API_VERSION
from neurozoo.registry.registry import default_registry
from neurozoo.registry.scaffold import KINDS_OF_PLUGIN, checked_name, write_plugin

ROOT = Path(__file__).parents[2]


def test_there_are_these_kinds() -> None:
    kinds = ["neuron", "fusion", "label-head", "model", "part", "task", "data", "representation"]
    assert list(KINDS_OF_PLUGIN) == kinds


@pytest.mark.parametrize("kind", KINDS_OF_PLUGIN)
def test_a_distribution_is_written_whole(kind: str, tmp_path: Path) -> None:
    written = write_plugin("My.Own", kind, tmp_path)
    assert written.path == tmp_path / "neurozoo-my-own"
    assert {str(p.relative_to(written.path)) for p in written.path.rglob("*") if p.is_file()} == set(written.files)
    assert [path.name for path in tmp_path.iterdir()] == ["neurozoo-my-own"]
    project = tomllib.loads((written.path / "pyproject.toml").read_text())["project"]
    assert project["name"] == written.distribution == "neurozoo-my-own"
    assert project["entry-points"] == {"neurozoo": {"my-own": "neurozoo_my_own"}}
    assert "neurozoo-toolkit" in [Requirement(each).name for each in project["dependencies"]]
    hook = (written.path / written.package / "__init__.py").read_text()
    assert f'neurozoo_api = "{API_VERSION}"' in hook
    target = f'"{written.package}.{Path(written.part).stem}:'
    assert target in hook
    defined = ast.parse((written.path / written.part).read_text()).body
    name = hook.partition(target)[2].partition('"')[0]
    assert name in [node.name for node in defined if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("name", ["a", "my-own", "x" * 40])
@pytest.mark.parametrize("kind", KINDS_OF_PLUGIN)
def test_the_code_is_clean(kind: str, name: str, tmp_path: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    folder = write_plugin(name, kind, tmp_path).path
    for command in (["check"], ["format", "--check"]):
        # In the stranger's folder, where neurozoo is a library like others.
        options = ["--no-cache", "--config", str(ROOT / "pyproject.toml"), "."]
        done = subprocess.run([ruff, *command, *options], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_neuron_kind_may_be_called_a_backend(tmp_path: Path) -> None:
    assert write_plugin("neurozoo-mine", "neuron", tmp_path).part == "neurozoo_mine/neuron.py"


def test_an_unknown_kind_has_the_kinds_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'label_head'; there are: data, fusion, label-head.*mean 'label-head'"):
        write_plugin("mine", "label_head", tmp_path)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("my lif", "'my-lif'"),
        ("3d-lif", "'my-3d-lif'"),
        ("größer", "'groer'"),
        ("-lif-", "'lif'"),
        ("", "'my-lif'"),
        ("neurozoo", "'my-lif'"),
        ("../lif", "'lif'"),
        ("x" * 41, f"'{'x' * 40}'"),
    ],
)
def test_a_name_that_cannot_be_used_has_a_suggestion(name: str, suggested: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        write_plugin(name, "neuron", tmp_path)
    assert "cannot be a plugin's name; use letters, digits and '-', a letter first, 40 characters" in str(caught.value)
    assert str(caught.value).endswith(f"such as {suggested}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("torch", "neuron", "a neuron 'torch' is registered already, by neurozoo-toolkit "),
        ("concat", "fusion", "a fusion 'concat' is registered already"),
        ("builtin", "model", "a plugin 'builtin' is installed already, by neurozoo-toolkit "),
    ],
)
def test_a_name_that_is_taken_says_by_whom(name: str, kind: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        write_plugin(name, kind, tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).endswith(f"choose another name, such as 'my-{name}'")


def test_a_distribution_that_is_installed_is_not_written_again(install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("neurozoo-mine", entry_points="")
    with pytest.raises(UserError, match="a distribution neurozoo-mine is installed already"):
        write_plugin("Mine", "neuron", tmp_path)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "neurozoo-mine").mkdir()
    with pytest.raises(UserError, match="neurozoo-mine is there already; give another name, or another folder"):
        write_plugin("mine", "neuron", tmp_path)
    assert not list((tmp_path / "neurozoo-mine").iterdir())


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "test_conformance.py":
            raise OSError(28, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr("neurozoo.registry.scaffold.write_whole", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        write_plugin("mine", "neuron", tmp_path)
    assert not list(tmp_path.iterdir())


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=50))
def test_a_name_is_normal_and_a_package_or_is_refused(given: str) -> None:
    try:
        name = checked_name(given, "neuron", default_registry())
    except UserError:
        return
    assert is_normalized_name(f"neurozoo-{name}")
    assert f"neurozoo_{name}".replace("-", "_").isidentifier()
