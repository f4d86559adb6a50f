"""From recipe and data to model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.core.interfaces import Batch
from neurozoo.errors import DataError
from neurozoo.models.build import assemble, describe, inputs_of, open_data, shapes_of
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
    assert list(view.modalities) == ["text", "audio", "vision"]
    assert [p.name for p in empty_home.iterdir()] == ["mosei-synthetic-v1-20-7-60"]


def test_an_installed_data_set_wins_over_the_stand_in(empty_home: Path, store: Path) -> None:
    empty_home.mkdir()
    store.rename(empty_home / "cmu-mosei")
    with pytest.raises(
        DataError, match=r"text has 5 features and the recipe expects 300; use other data, or set data\.exp"
    ):
        open_data(load_recipe("smile_mosei"))
    expect = "data.expect={text: {dim: 5, length: 6}, audio: {dim: 4, length: 8}, vision: {dim: 3, length: 7}}"
    with pytest.raises(DataError, match=r"its labels are calm, angry, sad and the recipe expects happy, sad, anger"):
        open_data(load_recipe("smile_mosei", [expect]))
    view = open_data(load_recipe("smile_mosei", [expect, "data.labels=[calm, angry, sad]"]))
    assert not view.description.synthetic


def test_without_data_the_recipe_gives_the_shapes() -> None:
    modalities, labels, from_data = shapes_of(load_recipe("smile_nemu"))
    assert not from_data
    assert set(modalities) == {"text", "audio", "vision"}
    assert len(labels) == 12
    with pytest.raises(DataError, match="no data set 'nemu' is installed"):
        open_data(load_recipe("smile_nemu"))


def test_the_published_model_has_its_parameters() -> None:
    told = describe(load_recipe("smile_mosei", ["data.instead=null"]))
    assert told["total"] == 175_233
    assert told["shapes_from"] == "recipe"
    assert told["parameters"]["project"] == 30 * (300 + 74 + 35)


@pytest.mark.parametrize(
    "backend", [name for name, each in default_registry().components("backend").items() if not each.native]
)
def test_a_backend_adds_nothing_to_a_checkpoint(
    recipe: Callable[..., Recipe], random_batch: Callable[..., Batch], backend: str
) -> None:
    small = recipe()
    inputs = inputs_of(small, {"text": 5, "audio": 4, "vision": 3}, 3)
    expected = assemble(small, inputs, backend="torch").state_dict().keys()
    model = assemble(small, inputs, backend=backend)
    model(random_batch({"text": (6, 5), "audio": (8, 4), "vision": (7, 3)})).sum().backward()
    assert model.state_dict().keys() == expected


@pytest.mark.parametrize("name", ["type", "keys", "a.b"])
def test_a_modality_with_a_name_that_no_part_can_have(recipe: Callable[..., Recipe], name: str) -> None:
    small = recipe(f"data.spiking=[{name}]", "data.context=null")
    with pytest.raises(DataError, match="cannot be called"):
        inputs_of(small, {name: 4}, 3)
