"""The file of an arena: what is refused, and that the shipped ones are whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neurozoo.errors import RecipeError, UserError
from neurozoo.recipe.recipe import Recipe
from neurozoo.recipe.shipped import shipped_arenas
from neurozoo.studies.arena.description import Arena, ArenaFile, read_arena
from neurozoo.training.train import dry_run

TEXT = """
schema: 1
recipe: small.yaml
metric: map
rows:
  - {name: SMILE, family: spiking, threshold: 0.35}
  - {name: A twin (ReLU), family: without spikes, overrides: [model.parts.activation=relu], control_of: SMILE,
     without: spikes}
"""


@pytest.fixture
def write(recipe: Callable[..., Recipe], tmp_path: Path) -> Callable[[str], Path]:
    recipe()

    def write(text: str) -> Path:
        (tmp_path / "arena.yaml").write_text(text)
        return tmp_path / "arena.yaml"

    return write


def test_rows_change_the_recipe_next_to_the_file(write: Callable[[str], Path]) -> None:
    arena = read_arena(write(TEXT), ["training.epochs=3"])
    twin = arena.rows[1]
    assert twin.slug == "a-twin-relu"
    assert arena.recipes[twin.name].model.parts["activation"].name == "relu"
    assert {each.training.epochs for each in arena.recipes.values()} == {3}
    assert {each.training.best for each in arena.recipes.values()} == {"map"}
    assert [each.name for each in arena.recipes["SMILE"].training.loggers] == ["epochs"]
    assert arena.base.model.parts["activation"].name == "lif"


def test_a_row_may_have_another_model(write: Callable[[str], Path]) -> None:
    text = TEXT + "  - {name: linear, family: without spikes, model: {name: multimodal, params: {encoder: linear}}}\n"
    assert read_arena(write(text)).recipes["linear"].model.name == "multimodal"


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("metric: map", "metrics: map", "arena.yaml:4:1: metrics: the arena has no key 'metrics'"),
        ("metric: map", "metric: map\ntrials: 3", "needs a space to choose from"),
        ("control_of: SMILE,", "control_of: smile,", "is a control of 'smile', and there are: SMILE, A twin"),
        (", control_of: SMILE,\n     without: spikes", ", without: spikes", "a control needs both keys"),
        ("name: A twin (ReLU)", "name: Smile", "several rows would have the folder smile"),
        ("metric: map", "metric: map\ngroups: '('", "is no regular expression"),
        ("metric: map", "metric: map\ngroups: 'a+'", "has no group in parentheses"),
        ("activation=relu", "activation=nothing", r"A twin \(ReLU\): .*nothing"),
        ("metric: map", "metric: fame", "SMILE: .*fame"),
    ],
)
def test_what_is_wrong_is_named(write: Callable[[str], Path], before: str, after: str, problem: str) -> None:
    assert before in TEXT
    with pytest.raises(RecipeError, match=problem):
        read_arena(write(TEXT.replace(before, after)))


def test_what_is_not_there_is_named(write: Callable[[str], Path]) -> None:
    with pytest.raises(RecipeError, match=r"no such file; give an arena's file or a shipped arena: .*emotions"):
        read_arena("emotion")
    with pytest.raises(UserError, match="has no row 'SMILES'; there are: SMILE, A twin"):
        read_arena(write(TEXT), only=["SMILES"])


def test_groups_of_samples(write: Callable[[str], Path]) -> None:
    arena = read_arena(write(TEXT))
    assert [arena.group_of(each) for each in ("a[1]", "a[2]", "b")] == ["a", "a", "b"]
    speakers = ArenaFile.model_validate({**arena.file.model_dump(by_alias=True), "groups": "^[0-9]_([a-z]+)_"})
    known = Arena(arena.path, "a", speakers)
    assert [known.group_of(each) for each in ("3_george_1", "4_george_2", "other")] == ["george", "george", "other"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "fsdd-small" else pytest.mark.slow) for name in shipped_arenas()]
)
def test_shipped_arenas_are_valid(name: str) -> None:
    arena = read_arena(name)
    assert arena.file.description
    families = {row.family for row in arena.rows}
    assert {"spiking", "without spikes"} <= families
    assert any(row.without == "spikes" for row in arena.rows), "no row is a twin without spikes"


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_arenas())
def test_every_row_of_a_shipped_arena_takes_a_step(name: str) -> None:
    arena = read_arena(name)
    for row in arena.rows:
        assert np.isfinite(dry_run(arena.recipes[row.name])["loss"]), row.name
