"""Every shipped recipe builds its model and takes a step without its data; published models' heads quote their scores.

That every recipe has a head, and is valid, is tested in test_recipe.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neurozoo.cli import main
from neurozoo.recipe.shipped import shipped_path, shipped_recipes
from neurozoo.registry.registry import default_registry

NAMES = sorted(shipped_recipes())
LARGE = re.compile("cifar10|iemocap|metr_la|_ssc|(?<!smile_mosei)(?<!smile_nemu)_corrected$")
"""Recipes that take seconds, and twins of the same sizes; of each of their models another recipe is quick."""

SMALLER = {
    "carat": ["queue=64", "layers=1"],
    "hhmpn": ["encoder_hidden=16", "encoder_layers=1", "hidden=16", "decoder_layers=1"],
    "lddu": ["queue=64", "layers=1"],
    "misa": ["hidden=8", "inner=8"],
    "mult": ["layers=1"],
    "spikemo": ["hidden=16", "layers=1", "inner=16", "time_steps=4"],
    "tailor": ["layers=1", "cross_layers=1"],
}
"""By model, parameters of a smaller one, where the published one takes seconds, or gigabytes."""


def head(name: str) -> str:
    """Return the comment with which a recipe's file begins."""
    path = shipped_path(name)
    assert path is not None
    found = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8"))
    return "" if found is None else found[0]


def model(name: str) -> str:
    """Return the name of a recipe's model, without reading the whole recipe."""
    path = shipped_path(name)
    assert path is not None
    found = re.search(r"^model:\n  name: (\S+)$", path.read_text(encoding="utf-8"), re.M)
    assert found is not None
    return found[1]


def is_published(name: str) -> bool:
    return bool(default_registry().resolve("model", model(name)).variants)


def test_there_are_recipes() -> None:
    assert len(NAMES) > 50


def test_of_every_model_a_recipe_is_quick() -> None:
    assert {model(name) for name in NAMES} == {model(name) for name in NAMES if not LARGE.search(name)}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if LARGE.search(name) else []) for name in NAMES]
)
def test_a_dry_run_needs_no_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    smaller = [f"model.params.{each}" for each in SMALLER.get(model(name), [])]
    assert main(["train", name, "--dry-run", *smaller]) == 0, capsys.readouterr().err
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
