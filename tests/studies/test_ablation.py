"""A recipe against its variants, and the page that shows it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from neurozoo.core.shapes import SignalShape
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.data.writer import StoreWriter
from neurozoo.errors import DataError, RecipeError, RunError, UserError
from neurozoo.models.build import open_data, open_experiment
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.reporting.results_page import results_page
from neurozoo.reporting.time_page import time_page
from neurozoo.studies.ablation import ablate
from neurozoo.studies.baseline import baselines, on_pooled_features, pooled_features, time_bins
from neurozoo.studies.intervals import paired_difference
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.training.train import train

ABLATIONS = """
ablations:
  no spikes: [model.parts.scaling=none]
  audio alone: ["data.inputs=[audio]", model.params.context=null]
"""


@pytest.fixture
def path(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    recipe()
    file = tmp_path / "small.yaml"
    file.write_text(file.read_text() + ABLATIONS)
    return file


def test_paired_differences_by_hand() -> None:
    found = paired_difference([0.5, 0.6, 0.7], [0.4, 0.4, 0.4])
    assert found.mean == pytest.approx(0.2)
    assert found.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3))
    assert math.isnan(paired_difference([0.5], [0.4]).half_width)


@pytest.mark.slow
def test_an_ablation_and_its_page(path: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    options = ["training.epochs=1"]
    found = ablate(path, options, seeds=2, out=tmp_path / "out", on_progress=lambda *args: told.append(args))
    assert sorted(name for name, _, _ in told) == sorted(
        f"{variant}, seed {seed}" for variant in ("full", "no spikes", "audio alone") for seed in (1, 2)
    )
    assert [done for _, done, _ in told] == [1, 2, 3, 4, 5, 6]
    assert found.values["no spikes"]["lesion"] == [0.0, 0.0]
    assert all(value > 0 for value in found.values["full"]["lesion"])
    assert found.columns == ("accuracy", "micro_f1", "macro_f1", "map", "lesion")
    for column in found.columns:
        pairs = np.array(found.values["audio alone"][column]) - np.array(found.values["full"][column])
        assert found.differences["audio alone"][column].mean == pytest.approx(pairs.mean())
    assert json.loads((tmp_path / "out" / "ablation.json").read_text())["seeds"] == [1, 2]

    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("summary.json")}
    assert len(stamps) == 6
    again = ablate(path, options, seeds=2, out=tmp_path / "out")
    assert again.values == found.values
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    with pytest.raises(RunError, match="made with another recipe or other data; give another --out"):
        ablate(path, ["training.epochs=2"], seeds=2, out=tmp_path / "out")

    page = results_page([tmp_path / "out"])
    assert "## small\n" in page
    assert "SYNTHETIC" not in page
    assert "| no spikes |" in page
    assert "`model.parts.scaling=none`" in page
    assert "logistic regression on means and deviations (C = " in page
    assert "`neurozoo ablate small training.epochs=1 --seeds 2`" in page


def test_what_is_not_there_is_named(path: Path, tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(UserError, match="no ablation no brain; there are: no spikes, audio alone"):
        ablate(path, seeds=1, out=tmp_path / "out", only=["no brain"])
    recipe()
    with pytest.raises(UserError, match="small has no ablation at all; there are: none; add a section `ablations"):
        ablate(tmp_path / "small.yaml", seeds=1, out=tmp_path / "out")
    with pytest.raises(RunError, match=r"holds no finished ablation.*neurozoo ablate RECIPE --out"):
        results_page([tmp_path])
    (tmp_path / "ablation.json").write_text("{}")
    with pytest.raises(RunError, match="not what `neurozoo ablate` writes"):
        results_page([tmp_path])


@pytest.mark.usefixtures("trained_here")
def test_an_interrupted_training_goes_on(
    path: Path, tmp_path: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    folder = tmp_path / "out" / "full" / "1"
    begun_with = load_recipe(path, ["training.epochs=1", "seed=1", "training.threads=1"], registry=default_registry())
    with interrupted_at(1):
        train(begun_with, out=folder)
    assert not (folder / "summary.json").is_file()
    begun = (folder / "run.json").stat().st_mtime_ns
    found = ablate(path, ["training.epochs=1"], seeds=1, out=tmp_path / "out", only=["no spikes"], jobs=1)
    assert (folder / "summary.json").is_file()
    assert (folder / "run.json").stat().st_mtime_ns == begun
    text = (tmp_path / "out" / "ablation.json").read_text()
    assert "NaN" not in text
    assert math.isnan(found.differences["no spikes"]["map"].half_width)
    assert "| no spikes |" in results_page([tmp_path / "out"])


def test_leaving_stops_what_is_running(path: Path, tmp_path: Path) -> None:
    def enough(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate(path, ["training.epochs=1"], seeds=9, out=tmp_path / "out", on_progress=enough)
    time.sleep(0.5)
    before = sorted(tmp_path.rglob("*"))
    time.sleep(2)
    assert sorted(tmp_path.rglob("*")) == before


def test_every_variant_is_checked_before_any_training(path: Path, tmp_path: Path) -> None:
    path.write_text(path.read_text() + "  wrong: [model.parts.foo=1]\n  also wrong: [training.epochs=0]\n")
    with pytest.raises(RecipeError) as caught:
        ablate(path, seeds=1, out=tmp_path / "out")
    assert any(p.startswith("ablations.wrong: ") and "no slot 'foo'" in p for p in caught.value.problems)
    assert any(p.startswith("ablations.also wrong: ") for p in caught.value.problems)
    assert not (tmp_path / "out").exists()


def test_pooled_features_by_hand(recipe: Callable[..., Recipe]) -> None:
    view = open_data(recipe())
    pooled = pooled_features(view, "valid")
    assert pooled.shape == (10, 2 * (5 + 4 + 3))
    batch = next(iter(view.batches("valid", 1)))
    rows = batch.signals["text"].values[0][batch.signals["text"].mask[0]].double().numpy()
    np.testing.assert_allclose(pooled[0, :5], rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(pooled[0, 5:10], rows.std(0), atol=1e-6)


def test_the_baseline_learns(recipe: Callable[..., Recipe]) -> None:
    experiment = open_experiment(recipe())
    found = on_pooled_features(experiment.view, experiment.problem.task)
    assert found.name == "logistic regression on means and deviations"
    assert found.metrics["map"] > 0.5
    assert found.strength in (0.001, 0.01, 0.1, 1.0)


def test_without_a_test_split_nothing_is_trained(path: Path, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s", labels=("calm", "angry", "sad"), origin={}) as writer:
        for split in ("train", "valid"):
            shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
            features = {m: np.ones((6, *shape), np.float32) for m, shape in shapes.items()}
            writer.add(split, features, np.eye(3, dtype=int)[[0, 1, 2] * 2])
    with pytest.raises(DataError, match="the baseline needs the split test, and the data has: train, valid"):
        ablate(path, [f"data.root={tmp_path / 's'}"], seeds=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("trained_here")
def test_one_seed_proves_nothing(path: Path, tmp_path: Path) -> None:
    ablate(path, ["training.epochs=1"], seeds=1, out=tmp_path / "out", only=["no spikes"], jobs=1)
    assert "add nothing" not in results_page([tmp_path / "out"])


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_a_score_that_is_not_defined_is_shown_as_such(path: Path, tmp_path: Path) -> None:
    ablate(path, ["training.epochs=1"], seeds=1, out=tmp_path / "out", only=["no spikes"], jobs=1)
    file = tmp_path / "out" / "ablation.json"
    found = json.loads(file.read_text())
    found["baselines"][0]["metrics"]["map"] = None
    found["baselines"][0]["differences"]["map"] = {"mean": None, "low": None, "high": None}
    found["means"]["full"]["map"]["mean"] = None
    found["differences"]["no spikes"]["map"] = {"mean": None, "half_width": None}
    file.write_text(json.dumps(found))
    page = results_page([tmp_path / "out"])
    assert "| - |" in page


def test_stretches_of_time_by_hand(tmp_path: Path) -> None:
    lengths = [20, 25, 3]
    shape = SignalShape((1,), 25, "float32", ragged=True)
    of = {"task": "multiclass", "outputs": ["a", "b"], "origin": {}}
    with StoreWriter(tmp_path / "s", signals={"x": shape}, **of) as writer:
        writer.add("train", {"x": [np.arange(n, dtype=np.float32)[:, None] for n in lengths]}, [0, 1, 0])
    found = time_bins(DataView(Store(tmp_path / "s")), "train")
    np.testing.assert_allclose(found[0], 2 * np.arange(10) + 0.5)
    np.testing.assert_allclose(found[1], [0.5, 3, 5.5, 8, 10.5, 13, 15.5, 18, 20.5, 23])
    np.testing.assert_allclose(found[2], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_of_a_task_per_step_the_baselines_see_the_past_alone(tmp_path: Path) -> None:
    shape = SignalShape((1,), 5, "float32", ragged=False)
    of = {"task": "multiclass", "outputs": ["a", "b"], "origin": {}, "along": "x", "target_masked": True}
    x, counts = np.array([[3, 1, 4, 1, 5]], np.float32)[..., None], np.array([[1, 1, 0, 1, 1]])
    with StoreWriter(tmp_path / "s", signals={"x": shape}, **of) as writer:
        for split in ("train", "valid", "test"):
            writer.add(split, {"x": np.repeat(x, 4, 0)}, [[0, 1, 0, 1, 0]] * 4, target_mask=np.repeat(counts, 4, 0))
    view = DataView(Store(tmp_path / "s"))
    bins, pooled = time_bins(view, "train"), pooled_features(view, "train")
    assert bins.shape == (16, 4)
    np.testing.assert_allclose(bins[:4], [[3, 3, 3, 3], [1, 2, 2, 2], [1, 2.5, 2.25, 2.25], [5, 3, 2.75, 2.8]])
    np.testing.assert_allclose(pooled[:4], [[3, 0], [2, 1], [2.25, np.std([3, 1, 4, 1])], [2.8, 1.6]], rtol=1e-5)
    found = baselines(view, Multiclass(("a", "b"), per_step=True))
    assert [each.name.partition(" on ")[2] for each in found] == [
        "means and deviations of the past",
        "means of the last 1, 2, 4, ... steps",
    ]
    assert found[1].metrics["accuracy"] == 1.0


@pytest.mark.usefixtures("trained_here")
def test_time_shuffled_and_what_a_sample_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "home"))
    file, size = tmp_path / "timed.yaml", "{name: spikes-synthetic, params: {size: 96}}"
    text = (Path(__file__).parents[2] / "recipes" / "spiking_recurrent.yaml").read_text()
    text = text.replace("name: spikes-synthetic", f"name: none-installed\n  instead: {size}").replace("[64]", "[16]")
    variants = 'shuffled: [data.shuffle_steps=1]\n  gated: ["model={name: gru, params: {hidden: 8}}"]'
    file.write_text(f"{text}\nablations:\n  {variants}\n")
    options = ["training.epochs=2"]
    alone = ablate(file, options, seeds=2, out=tmp_path / "out", only=["full"])
    assert set(alone.values) == {"full"}
    with pytest.raises(RunError, match="made without time"):
        time_page([tmp_path / "out"])
    found = ablate(file, options, seeds=2, out=tmp_path / "out", time=True)
    assert set(found.shuffled) == set(found.costs) == {"full", "shuffled", "gated"}
    assert found.shuffled["full"]["accuracy"] != found.values["full"]["accuracy"]
    assert found.costs["full"].acs > 0
    assert found.costs["gated"].macs > 0
    assert found.costs["gated"].updates == 0
    assert all(each.milliseconds > 0 for each in found.costs.values())
    page = time_page([tmp_path / "out"])
    assert "| **full** |" in page
    assert "Shuffled at test the model loses" in page
    assert "`neurozoo ablate timed training.epochs=2 --seeds 2 --time`" in page
    assert "means of 10 stretches of time" in page
