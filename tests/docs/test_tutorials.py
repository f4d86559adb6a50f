"""The notebooks of docs/tutorials run, and hold what they print and draw; and so do those that run and show them."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
MOST_BYTES, MOST_PICTURE_BYTES = 300_000, 60_000
_PLACES = re.compile(r"(?<![\w.~-])/(?:home|root|tmp|work|usr|Users|var|opt)/|[A-Z]:\\\\|file://")
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_NUMBER = re.compile(r"@?\b[0-9a-f]{12,}\b|(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
_WORST = re.compile(r"(?<=of the largest), in [^;]+")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebooks = _module(ROOT / "tests" / "docs" / "notebooks.py")
pages = _module(ROOT / "docs" / "hooks" / "notebook_pages.py")


def _text(outputs: list[dict[str, Any]]) -> str:
    """What a cell printed and returned; pictures count as their number alone."""
    parts = [each.get("text") or each["data"]["text/plain"] for each in outputs]
    return "".join(line for part in parts for line in part)


def _shape(text: str) -> list[str]:
    """The lines of an output without its numbers, what the width of a column decides, and where rounding is worst."""
    return [" ".join(_NUMBER.sub("0", _WORST.sub("", line)).split()) for line in text.splitlines()]


def _numbers(text: str) -> list[float]:
    return [float(each.replace(",", "")) for each in _NUMBER.findall(text) if not re.match(r"@?[0-9a-f]{12}", each)]


# What is stored


def test_there_are_six() -> None:
    assert [path.name[0] for path in NOTEBOOKS] == list("123456")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_whole(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert (found := _PLACES.search(text)) is None, f"a place of a machine: {found}"
    nbformat.validate(nbformat.reads(text, as_version=4))

    notebook = json.loads(text)
    cells, code = notebook["cells"], notebooks.code_cells(notebook)
    words = [notebooks.source(cell) for cell in cells if cell["cell_type"] == "markdown"]
    assert re.match(r"# \d\. [^\n]+\n\n\*[^\n]+\?\*\n", words[0]), "the question stands in the first lines"
    assert any("**What to look at.**" in each for each in words)
    assert "## What to try next" in words[-1]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell["outputs"]) for cell in code) >= len(code) / 2

    outputs = [output for cell in code for output in cell["outputs"]]
    assert {each["output_type"] for each in outputs} <= {"stream", "display_data", "execute_result"}
    assert {each["name"] for each in outputs if each["output_type"] == "stream"} == {"stdout"}
    for cell in code:
        for picture in (each["data"]["image/png"] for each in cell["outputs"] if "image/png" in each.get("data", {})):
            assert len(base64.b64decode(picture)) < MOST_PICTURE_BYTES
            assert cell["metadata"]["alt"], "a picture needs words for who does not see it"

    # As `make notebooks` writes it, which leaves out what an editor adds.
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    notebooks.store(copy, [cell["outputs"] for cell in code])
    assert copy.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    words = [notebooks.source(cell) for cell in notebooks.read(path)["cells"] if cell["cell_type"] == "markdown"]
    links = [link for each in words for link in _LINK.findall(each) if "://" not in link]
    assert links
    assert [link for link in links if not (path.parent / link).is_file()] == []


def test_each_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS if f": tutorials/{path.name}\n" not in menu] == []


# They run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_holds(path: Path, tmp_path: Path, data: Path) -> None:
    code = notebooks.code_cells(notebooks.read(path))
    for cell, outputs in zip(code, notebooks.run(path, tmp_path, data), strict=True):
        text, now, before = notebooks.source(cell), _text(outputs), _text(cell["outputs"])
        assert _shape(now) == _shape(before), f"{text}\nprinted\n{now}"
        # What was trained is another model on another processor.
        if "varies" not in cell["metadata"].get("tags", []):
            assert _numbers(now) == pytest.approx(_numbers(before), rel=0.05, abs=1e-5), f"{text}\nprinted\n{now}"


# The runner

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a notebook of code cells, as an editor might leave it."""

    def made(*cells: str) -> Path:
        path = tmp_path / "made.ipynb"
        fresh = [
            {"cell_type": "code", "metadata": {"collapsed": True}, "source": text, "outputs": [], "execution_count": 9}
            for text in cells
        ]
        path.write_text(json.dumps({"cells": fresh, "metadata": {"who": "me"}, "nbformat": 4, "nbformat_minor": 4}))
        return path

    return made


def test_a_run_gives_what_is_printed_and_the_last_value(write: Write, tmp_path: Path) -> None:
    path = write("x = 2\nprint('one')\nx", "x + 1;", "!echo $((20 + 3))\n!ls", "import os\nos.environ['HOME']")
    outputs = notebooks.run(path, tmp_path)
    assert [_text(each) for each in outputs] == ["one\n2", "", "23\n", repr(str(tmp_path / "home"))]
    notebooks.store(path, outputs)
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert [cell.execution_count for cell in stored.cells] == [1, 2, 3, 4]
    assert "me" not in stored.metadata.values()
    assert stored.cells[0].metadata == {}


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("!exit 3", "ended with 3"),
        ("import warnings\nwarnings.warn('odd')", "UserWarning: odd"),
        ("import socket\nsocket.create_connection(('203.0.113.1', 80))", "a tutorial wanted"),
        ("import sys\nsys.exit()", "SystemExit"),
    ],
)
def test_a_cell_that_fails_is_an_error(cell: str, said: str, write: Write, tmp_path: Path) -> None:
    with pytest.raises(notebooks.CellError, match=said):
        notebooks.run(write(cell), tmp_path)


# The pages


def test_a_cell_as_markdown() -> None:
    picture = {"output_type": "display_data", "data": {"image/png": "iVBO\nRw=="}, "metadata": {}}
    printed = {"output_type": "stream", "name": "stdout", "text": ["```\n", "a\n"]}
    code = {"cell_type": "code", "source": ["f()\n", "1"], "outputs": [printed, picture], "metadata": {"alt": 'a "b"'}}
    assert list(pages.parts(code)) == [
        "```python\nf()\n1\n```",
        "````text\n```\na\n````",
        '<p><img alt="a &quot;b&quot;" src="data:image/png;base64,iVBORw=="></p>',
    ]
    shell = {"cell_type": "code", "source": ["!ls\n", "!pwd"], "outputs": [], "metadata": {}}
    assert list(pages.parts(shell)) == ["```console\n$ ls\n$ pwd\n```"]
    assert list(pages.parts({"cell_type": "markdown", "source": ["# A\n", "b"], "metadata": {}})) == ["# A\nb"]


def test_python_here_is_that_of_the_environment(write: Write, tmp_path: Path) -> None:
    assert _text(notebooks.run(write("import sys\nprint(sys.executable)"), tmp_path)[0]).strip() == sys.executable
