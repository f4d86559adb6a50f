"""The smallest recipe, data and the name of a model, trains a net that fires, whatever the scale of the inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurozoo
from neurozoo.data.importers.run_importer import import_data
from neurozoo.errors import RecipeError
from neurozoo.models.smile.model import SMILE
from neurozoo.recipe.recipe import load_recipe
from neurozoo.recipe.upgrade import upgraded
from neurozoo.recipe.yaml_text import parse
from neurozoo.registry.registry import default_registry

N = 48
RNG = np.random.default_rng(0)
Y = np.arange(N) % 3
SERIES = RNG.normal(size=(N, 12, 4)) + Y[:, None, None]
FRAMES = RNG.random((N, 5, 2, 16, 16)) < 0.05 * (1 + Y[:, None, None, None, None])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name, x in (("small", SERIES / 100), ("large", SERIES * 100), ("frames", FRAMES)):
        np.savez(folder / f"{name}.npz", x=x, y=Y)
        import_data("arrays", folder / f"{name}.npz", folder / name)
    return folder


@pytest.mark.parametrize(
    ("model", "store"),
    [
        ("recurrent", "small"),
        ("cuba-mlp", "large"),
        ("smile", "small"),
        ("spiking-sequence", "large"),
        ("spiking-convnet", "frames"),
    ],
)
def test_data_and_a_model_are_enough(model: str, store: str, stores: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"schema: 2\ndata: {{root: {stores / store}}}\nmodel: {{name: {model}}}\n")
    summary = neurozoo.train(str(recipe), "training.epochs=2", "training.threads=1", out=tmp_path / "run")
    rates = {name: layer["rate"] for name, layer in summary["health"]["valid"].items()}
    assert rates
    assert all(0.01 <= rate <= 0.5 for rate in rates.values()), rates


def test_the_task_is_the_stores(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("schema: 2\ndata: {root: small}\nmodel: {name: smile}\n")
    monkeypatch.chdir(stores)
    read = load_recipe(recipe, registry=default_registry())
    assert (read.task.name, read.task.per_step, read.task.outputs) == ("multiclass", False, None)
    assert {slot: part.name for slot, part in read.model.parts.items()} == {
        "activation": "lif",
        "threshold": "disagreement",
        "scaling": "rate-gain",
        "fusion": "interactive",
        "head": "label-decoder",
    }
    for root in ("elsewhere", ".", "small.npz"):
        with pytest.raises(RecipeError, match="the recipe needs the key 'task', which is missing"):
            load_recipe(recipe, [f"data.root={root}"])


def test_a_slot_without_a_default_has_to_be_named(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SMILE, "slot_defaults", {"activation": "lif", "scaling": "none", "fusion": "concat"})
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"schema: 2\ndata: {{root: {stores / 'small'}}}\nmodel: {{name: smile, parts: {{head: pooled}}}}\n"
    )
    with pytest.raises(
        RecipeError, match=r"model\.parts: nothing is named for the slot 'threshold'; give one of: const"
    ):
        load_recipe(recipe, registry=default_registry())


def test_recipes_of_schema_1_start_as_before() -> None:
    old = yaml_of(Path(__file__).parents[1] / "schema1/old.yaml")
    for training in ({"epochs": 2}, {"initialisation": {"firing_rate": 0.1}}):
        assert upgraded(old | {"training": training})["training"]["initialisation"]["name"] == "default"
    assert upgraded(old)["training"]["initialisation"]["name"] == "fluctuation-driven"


def yaml_of(path: Path) -> dict[str, Any]:
    content, _, problems = parse(path.read_text(), path.name)
    assert not problems
    return content
