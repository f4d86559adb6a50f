"""From recipe and data to model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch
from neurozoo.errors import DataError
from neurozoo.models.build import build_model, describe, expected_problem, make_problem, open_data
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_stand_in_is_used_where_the_data_is_not_installed(empty_home: Path) -> None:
    view = open_data(load_recipe("smile_mosei", ["data.instead.params.size=20"]))
    assert view.description.synthetic
    assert view.description.splits["train"] == 20
    assert list(view.signals) == ["text", "audio", "vision"]
    assert [p.name for p in empty_home.iterdir()] == ["mosei-synthetic-v1-20-7-60"]


def test_an_installed_data_set_wins_over_the_stand_in(empty_home: Path, store: Path) -> None:
    empty_home.mkdir()
    store.rename(empty_home / "cmu-mosei")
    with pytest.raises(
        DataError,
        match=r"text has positions of \[5\] and the recipe expects \[300\]; use other data, or set "
        r"data\.expect\.text\.dim=5",
    ):
        open_data(load_recipe("smile_mosei"))
    expect = "data.expect={text: {dim: 5, length: 6}, audio: {dim: 4, length: 8}, vision: {dim: 3, length: 7}}"
    with pytest.raises(DataError, match=r"its outputs are calm, angry, sad and the recipe expects happy, sad, anger"):
        open_data(load_recipe("smile_mosei", [expect]))
    view = open_data(load_recipe("smile_mosei", [expect, "data.labels=[calm, angry, sad]"]))
    assert not view.description.synthetic


def test_without_data_the_recipe_gives_the_shapes() -> None:
    problem, from_data = expected_problem(load_recipe("smile_nemu"))
    assert not from_data
    assert set(problem.signals) == {"text", "audio", "vision"}
    assert len(problem.task.outputs) == problem.outputs == 12
    with pytest.raises(DataError, match="no data set 'nemu' is installed"):
        open_data(load_recipe("smile_nemu"))


def test_the_published_model_has_its_parameters() -> None:
    told = describe(load_recipe("smile_mosei", ["data.instead=null"]))
    assert told["total"] == 175_233
    assert told["shapes_from"] == "recipe"
    assert told["parameters"]["project"] == 30 * (300 + 74 + 35)


@pytest.mark.parametrize(
    "backend", [name for name, each in default_registry().components("neuron").items() if not each.native]
)
def test_a_backend_adds_nothing_to_a_checkpoint(
    recipe: Callable[..., Recipe], random_batch: Callable[..., Batch], backend: str
) -> None:
    small = recipe()
    signals = {name: SignalShape((dim,), 8) for name, dim in {"text": 5, "audio": 4, "vision": 3}.items()}
    problem = make_problem(small, signals, ("a", "b", "c"))
    expected = build_model(small, problem, backend="torch").state_dict().keys()
    model = build_model(small, problem, backend=backend)
    model(random_batch({"text": (6, 5), "audio": (8, 4), "vision": (7, 3)})).sum().backward()
    assert model.state_dict().keys() == expected


@pytest.mark.parametrize("name", ["type", "keys", "a.b"])
def test_a_modality_with_a_name_that_no_part_can_have(recipe: Callable[..., Recipe], name: str) -> None:
    small = recipe(f"data.inputs=[{name}]", "model.params.context=null")
    with pytest.raises(DataError, match="cannot be called"):
        build_model(small, make_problem(small, {name: SignalShape((4,), 8)}, ("a", "b", "c")))
