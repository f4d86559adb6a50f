"""A recipe copied for a store of one's own: data, inputs, roles, task and outputs are the store's, and it trains."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurozoo
from neurozoo.cli import main
from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.run_importer import import_data
from neurozoo.data.store import StoreWriter
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.yaml_text import as_yaml
from neurozoo.training.own_recipe import recipe_for_store

N = 40
RNG = np.random.default_rng(0)
Y = np.arange(N) % 2


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    series = RNG.normal(size=(N, 10, 4))
    arrays: dict[str, dict[str, Any]] = {
        "classes": {"x": series, "y": np.array(["calm", "wild"])[Y]},
        "numbers": {"x": series, "y": RNG.normal(size=(N, 1))},
        "two": {"text": series, "face": series[:, :3], "labels": np.stack([Y, 1 - Y, Y[::-1]], 1)},
        "frames": {"x": RNG.random((N, 4, 2, 12, 12)) < 0.1, "y": Y},
    }
    for name, each in arrays.items():
        np.savez(folder / f"{name}.npz", **each)
        import_data("arrays", folder / f"{name}.npz", folder / name)
    shape = SignalShape.events((16,), 400, 1e-3)
    with StoreWriter(
        folder / "events", signals={"spikes": shape}, task="multiclass", outputs=["a", "b"], origin={}
    ) as writer:
        for split, n in (("train", 24), ("test", 8)):
            times = [np.sort(RNG.integers(0, 1000, 60)) for _ in range(n)]
            spikes = [np.stack([t, RNG.integers(0, 16, 60)], 1).astype(np.int32) for t in times]
            writer.add(split, {"spikes": spikes}, np.arange(n) % 2)
    return folder


def copied(name: str, store: Path, tmp_path: Path) -> Recipe:
    assert main(["recipe", "copy", name, str(tmp_path / "mine.yaml"), "--data", str(store)]) == 0
    return load_recipe(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("spiking_recurrent", "classes"),
        ("smile_mosei_corrected", "two"),
        ("spiking-convnet", "frames"),
        ("fsdd_small", "events"),
    ],
)
def test_a_copy_trains_a_net_that_fires(name: str, store: str, stores: Path, tmp_path: Path) -> None:
    copied(name, stores / store, tmp_path)
    few = ["training.epochs=2", "training.threads=1", "training.loggers=[]"]
    summary = neurozoo.train(str(tmp_path / "mine.yaml"), *few, out=tmp_path / "run")
    assert summary["data"]["name"] == store
    rates = {name: layer["rate"] for name, layer in summary["health"]["valid"].items()}
    assert rates
    assert all(0.01 <= rate <= 0.5 for rate in rates.values()), rates


def test_what_is_the_stores_and_what_is_the_recipes(
    stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = copied("smile_mosei_corrected", stores / "two", tmp_path)
    assert f"next: neurozoo train {shlex.quote(str(tmp_path / 'mine.yaml'))}" in capsys.readouterr().out
    assert (recipe.data.root, recipe.data.inputs) == (str(stores / "two"), ("text", "face"))
    assert (recipe.data.name, recipe.data.instead, recipe.data.expect) == (None, None, None)
    assert (recipe.task.outputs, recipe.task.params["threshold"]) == (("labels0", "labels1", "labels2"), 0.35)
    assert recipe.model.params["context"] == "text"
    assert recipe.model.parts["threshold"].name == "disagreement"
    assert (recipe.training.epochs, recipe.training.batch_size) == (15, 8)
    other = copied("smile_mosei_corrected", stores / "classes", tmp_path / "other")
    assert ("context" in other.model.params, other.data.inputs) == (False, ("features",))
    assert (other.task.name, other.task.outputs, other.task.params) == ("multiclass", ("calm", "wild"), {})
    numbers = copied("mosei_text_sequence", stores / "numbers", tmp_path / "numbers")
    assert (numbers.task.name, numbers.training.best) == ("regression", "loss")
    events = copied("recurrent", stores / "events", tmp_path / "events")
    represent = events.data.representations["spikes"][0]
    assert (represent.name, represent.params, events.data.standardise) == ("bins", {"step": 0.01}, False)
    assert events.data.valid is not None


@pytest.mark.parametrize(
    ("name", "store", "said"),
    [
        (
            "spiking_convnet",
            "classes",
            "features [10, 4]; choose another model, or other data; models that take this data: ",
        ),
        ("spiking_conv", "classes", "no recipe or model is called 'spiking_conv'"),
        ("recurrent", "nowhere", "there is no folder"),
    ],
)
def test_what_cannot_be_copied_writes_nothing(
    name: str, store: str, said: str, stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe", "copy", name, str(tmp_path / "mine.yaml"), "--data", str(stores / store)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays(stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    assert main(["recipe", "copy", "recurrent", str(tmp_path / "mine.yaml"), "--data", str(stores / "classes")]) == 2
    assert "is there already; give the name of a new file" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_recipe_of_ones_own_is_copied_too(stores: Path, tmp_path: Path) -> None:
    copied("gru", stores / "classes", tmp_path)
    again = recipe_for_store(str(tmp_path / "mine.yaml"), str(stores / "frames"))
    assert f"root: {stores / 'frames'}\n" in again.text
    assert "standardise" not in again.text
    assert again.left_out == {}


def test_augmentations_and_ablations_stay_where_they_fit(
    stores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that do not are named with the reason, on the screen, in JSON and in the file."""
    recipe = copied("smile_mosei_corrected", stores / "two", tmp_path)
    assert recipe.ablations == {
        "no spiking branch": ("model.parts.scaling=none",),
        "text alone": ('data.inputs=["text"]', "model.params.context=null"),
    }
    printed, text = capsys.readouterr().out, (tmp_path / "mine.yaml").read_text()
    for name in ("audio", "vision"):
        (line,) = [line for line in printed.splitlines() if line.startswith(f"left out: ablation {name} alone: ")]
        assert f"has no signal '{name}'" in line
        assert f"# - {line.removeprefix('left out: ')}\n" in text

    source = load_recipe("spiking_convnet").content
    mixup = {"name": "mixup", "params": {"alpha": 0.3}, "signals": ["frames"]}
    source["training"]["augment"] = [mixup, {"name": "event-jitter", "params": {}}]
    source["tune"] = {"space": {"training.optimizer.lr": {"low": 1e-4, "high": 1e-2}}, "metric": "accuracy"}
    source["ablations"] = {"ReLU": ["model.parts.neuron=relu"], "others": ["data.inputs=[others]"]}
    (tmp_path / "source.yaml").write_text(as_yaml(source))
    command = ["recipe", "copy", str(tmp_path / "source.yaml"), str(tmp_path / "frames.yaml"), "--json"]
    assert main([*command, "--data", str(stores / "frames")]) == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert {*left_out} == {"augmentation event-jitter", "ablation others"}
    assert "take it out" not in str(left_out)
    frames = load_recipe(tmp_path / "frames.yaml")
    (kept,) = frames.training.augment
    assert (kept.name, kept.params, kept.signals) == ("mixup", {"alpha": 0.3}, None)
    assert {*frames.ablations} == {"ReLU"}
    assert frames.tune is not None
