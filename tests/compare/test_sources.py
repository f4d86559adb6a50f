"""Where a comparison's model and samples come from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path

import pytest
import torch

from neurozoo.compare.sources import recipe_source, run_source
from neurozoo.errors import CheckpointError, DataError, UserError
from neurozoo.nir.export import export_run
from neurozoo.operations.profiling import profile_run
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.run import Run
from neurozoo.training.train import train


def test_every_backend_gets_the_same_weights(recipe: Callable[..., Recipe]) -> None:
    source = recipe_source(recipe(), "torch", registry=default_registry())
    states = [source.build(name).state_dict() for name in ("torch", "norse")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    changed = source.build("torch")
    torch.nn.init.zeros_(changed.project["text"].weight)
    assert torch.equal(source.build("torch").state_dict()["project.text.weight"], states[0]["project.text.weight"])


def test_batches_are_the_first_of_the_split(recipe: Callable[..., Recipe]) -> None:
    source = recipe_source(recipe(), "torch", registry=default_registry())
    assert [len(batch) for batch in source.batches("valid", 2, 4)] == [4, 4]
    assert [len(batch) for batch in source.batches("valid", 9, 4)] == [4, 4, 2]
    assert source.batches("test", 1, 3)[0].index.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"no samples in the split 'bogus'; it has: train \(24\), valid \(10\), test"):
        source.batches("bogus", 1, 1)


def test_training_goes_on_after_an_epoch_in_another_order(recipe: Callable[..., Recipe]) -> None:
    source = recipe_source(recipe(), "torch", registry=default_registry())
    places = [batch.index.tolist() for batch in source.training_batches(6)]
    first, second = [*chain(*places[:3])], [*chain(*places[3:])]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second


def test_made_up_samples_are_others_in_valid_than_in_training() -> None:
    recipe = load_recipe("smile_emotions", registry=default_registry())
    source = recipe_source(recipe, "torch", registry=default_registry())
    assert source.setting.synthetic
    (valid,) = source.whole("valid", 4)
    trained = list(islice(source.training_batches(3), 3))
    name = next(iter(valid.signals))
    assert not any(torch.equal(valid.signals[name].values, batch.signals[name].values[:4]) for batch in trained)
    assert not torch.equal(trained[0].signals[name].values, trained[1].signals[name].values)


def test_a_run_gives_its_best_weights(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    source = run_source(tmp_path / "run", registry=default_registry())
    best, _ = read_tensors(Run(tmp_path / "run").best)
    assert all(torch.equal(source.weights[key], best[key]) for key in best)
    assert source.decision == 0.35
    assert (source.setting.trained, source.setting.run) == (True, str(tmp_path / "run"))
    with pytest.raises(UserError, match="'cuda:9' and is not available"):
        run_source(tmp_path / "run", registry=default_registry(), device="cuda:9")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    recipe: Callable[..., Recipe], tmp_path: Path, value: float
) -> None:
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    tensors, header = read_tensors(Run(tmp_path / "run").best)
    tensors["project.audio.weight"][0, 0] = value
    write_tensors(Run(tmp_path / "run").best, tensors, header)
    words = r"values are NaN or infinite in project\.audio\.weight, so that spikes mean nothing"
    for use in (
        lambda: run_source(tmp_path / "run", registry=default_registry()),
        lambda: profile_run(tmp_path / "run"),
        lambda: export_run(tmp_path / "run", tmp_path / "out", dt=1e-3),
    ):
        with pytest.raises(CheckpointError, match=words):
            use()


def test_a_run_on_other_data_than_its_own_says_so(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    record = tmp_path / "run" / "data.json"
    record.write_text(record.read_text().replace(Run(tmp_path / "run").read_json("data.json")["checksum"], "0" * 64))
    source = run_source(tmp_path / "run", registry=default_registry())
    assert source.setting.data.endswith("which is NOT the data that it was trained on")
