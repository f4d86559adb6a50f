"""The site: its menus, its README, and the hooks that build it."""

from __future__ import annotations

import importlib.util
import pydoc
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from markdown import Markdown
from ruamel.yaml import YAML

import neurozoo
from neurozoo.registry.hookspecs import KINDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MOST = 7


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def nav() -> list[Any]:
    read: list[Any] = YAML(typ="safe", pure=True).load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    return read


def pages(menu: list[Any]) -> list[str]:
    """The pages of a menu and of those within; every menu has at most seven entries, and the page that opens it."""
    opening = [each for each in menu if isinstance(each, str)]
    entries = [each for each in menu if isinstance(each, dict)]
    assert len(opening) <= 1, menu
    assert 1 <= len(entries) <= MOST, menu
    found = opening
    for entry in entries:
        ((name, content),) = entry.items()
        assert len(name) <= 55, name
        found += pages(content) if isinstance(content, list) else [content]
    return found


def test_menus_are_short_and_lead_to_every_page(nav: list[Any]) -> None:
    named = pages(nav)
    assert len(named) == len({*named})
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert {each for each in named if each.endswith(".md")} == written
    assert [each for each in named if not (DOCS / each).is_file()] == []


def test_the_reference_has_every_public_name_and_every_interface() -> None:
    named = [
        each
        for page in (DOCS / "api").glob("*.md")
        for each in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(named) == len({*named})
    assert {f"neurozoo.{name}" for name in neurozoo.__all__ if name != "__version__"} <= {*named}
    interfaces = {kind.interface.replace(":", ".") for kind in KINDS.values() if kind.interface}
    assert interfaces <= {*named}
    assert [each for each in named if pydoc.locate(each) is None] == []


def test_the_readme_is_a_page_whose_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    for command in ("make demo", "make test"):
        assert re.search(rf"^{command}\b", text, re.MULTILINE)
    links = re.findall(r"\]\(([^)#\s]+)", text)
    assert len(links) >= 10
    assert [each for each in links if "://" not in each and not (ROOT / each).exists()] == []


@pytest.fixture(scope="module")
def formulas() -> ModuleType:
    return hook("formulas")


def converted(formulas: ModuleType, text: str) -> str:
    return str(Markdown(extensions=["tables", "fenced_code", formulas.Formulas()]).convert(text))


def test_formulas_become_mathml(formulas: ModuleType) -> None:
    page = converted(
        formulas, "With $v_{t-1}$ and $\\tau$:\n\n$$\nv_t = \\begin{cases} 0 & s \\\\ h & \\end{cases}\n$$\n"
    )
    assert page.count("<math") == 3
    assert page.count('display="block"') == 1
    assert "<msub><mi>v</mi>" in page
    assert "$" not in page
    assert "tau" not in page


@pytest.mark.parametrize(
    "text",
    ["`$OUT` and `$HOME`", "```\necho $OUT $HOME\n```", "costs 5 $ or 7 $ a day", "$5 and $7", r"\$a\$"],
)
def test_dollars_that_are_no_formulas_stay(formulas: ModuleType, text: str) -> None:
    page = converted(formulas, text)
    assert "<math" not in page
    assert page.count("$") == 2


@pytest.mark.parametrize("part", ["\\notacommand x", "\\begin{aligned} a &= b \\end{aligned}"])
def test_a_formula_that_is_not_understood_stops_the_build(formulas: ModuleType, part: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        converted(formulas, f"${part}$")


def test_docstrings_are_readable_without_sphinx(monkeypatch: pytest.MonkeyPatch) -> None:
    # Griffe is installed by `make docs` alone.
    monkeypatch.setitem(sys.modules, "griffe", SimpleNamespace(Extension=object, Object=object))
    readable = hook("docstrings").readable
    assert readable("See :meth:`~a.b.Cls.run`, :data:`KINDS`, ``code``.") == "See `run`, `KINDS`, ``code``."
    assert readable("Do::\n\n    x\n\nExample:\n    >>> 1\n") == "Do:\n\n    x\n\nExamples:\n    >>> 1\n"


@pytest.fixture(scope="module")
def own_assets() -> ModuleType:
    return hook("own_assets")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>'),
        ("a.html", "<script src=//cdn.example/x.js></script>"),
        ("a.html", '<link rel="stylesheet" href="http://cdn.example/x.css">'),
        ("a.html", '<link rel="preconnect" href="https://fonts.example">'),
        ("a.html", '<img alt="" src="https://badges.example/x.svg">'),
        ("a.html", "<style>@font-face { src: url('https://fonts.example/x.woff2') }</style>"),
        ("a.html", '<p style="background: url(https://x.example/p.png)">'),
        ("a.html", '<pre class="mermaid"><code>graph</code></pre>'),
        ("a.svg", '<svg><image xlink:href="https://x.example/p.png"/></svg>'),
        ("a.css", '@import "https://fonts.example/css";'),
        ("a.css", "p { background: url(//x.example/p.png) }"),
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(own_assets: ModuleType, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (found,) = own_assets.foreign_in(tmp_path)
    assert found.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<a href="https://arxiv.org/abs/1">x</a><script src="../a.js"></script><img src="a.png">'),
        ("a.html", '<link rel="canonical" href="https://x.example/"><p>url(https://x.example/)</p>'),
        ("a.svg", '<svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/></svg>'),
        ("a.css", "p { background: url(data:image/svg+xml;charset=utf-8,<svg xmlns='http://www.w3.org/2000/svg'/>) }"),
    ],
)
def test_links_and_own_files_are_allowed(own_assets: ModuleType, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert [*own_assets.foreign_in(tmp_path)] == []
