"""Every shipped recipe builds its model and takes a step without its data; published models' heads quote their scores.

That every recipe has a head is tested in test_recipe.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.recipe.recipe import load_recipe
from neurozoo.recipe.shipped import shipped_path, shipped_recipes
from neurozoo.registry.registry import default_registry

NAMES = sorted(shipped_recipes())


def head(name: str) -> str:
    """Return the comment with which a recipe's file begins."""
    path = shipped_path(name)
    assert path is not None
    found = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8"))
    return "" if found is None else found[0]


def is_published(name: str) -> bool:
    model = load_recipe(name, registry=default_registry()).model.name
    return bool(default_registry().resolve("model", model).variants)


def test_there_are_recipes() -> None:
    assert len(NAMES) > 50


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_needs_no_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", name, "--dry-run"]) == 0, capsys.readouterr().err
    assert "nothing was written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in NAMES if is_published(name)])
def test_a_published_model_s_score_is_reported_or_measured(name: str) -> None:
    expected = re.search(r"# Expected: +((?:.*\n)(?:#           +.*\n)*)", head(name))
    assert expected is not None
    text = re.sub(r"\n#? *", " ", expected[1])
    if "not measured here" in text.lower():
        assert re.search(r"reported|no score|Published: ", head(name)), "it does not say what the authors report"
    else:
        assert re.search(r"\d on (the .*)?(valid|test)\b", text), text
