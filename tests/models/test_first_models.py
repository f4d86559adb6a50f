"""The first models besides SMILE: their recipes train, resume to the bit, and run on other backends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import DataError, SpikingError
from neurozoo.models.build import build_model, open_experiment
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.loading import load
from neurozoo.training.listener import Listener
from neurozoo.training.train import resume, train

SMALL = {
    "spiking_convnet": {"name": "frames-synthetic", "params": {"size": 128}},
    "spiking_transformer": {"name": "frames-synthetic", "params": {"size": 128}},
    "spiking_recurrent": {"name": "spikes-synthetic", "params": {"size": 128}},
    "spiking_recurrent_steps": {"name": "spikes-synthetic", "params": {"size": 128, "per_step": True}},
    "cuba_mlp": {"name": "series-synthetic", "params": {"size": 128}},
}
MODELS = ["spiking_convnet", "spiking_transformer", "spiking_recurrent", "spiking_recurrent_steps", "cuba_mlp"]
LAYERS = {"spiking_convnet": 2, "spiking_transformer": 8, "spiking_recurrent": 1, "cuba_mlp": 2}


def small(name: str, epochs: int = 3) -> list[str]:
    """Overrides that make a recipe of a few seconds: fewer samples and epochs."""
    return ["data.name=none-installed", f"data.instead={json.dumps(SMALL[name])}", f"training.epochs={epochs}"]


@pytest.fixture(autouse=True)
def _own_data_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path_factory.getbasetemp() / "first-models-data"))


@pytest.mark.parametrize("name", MODELS)
def test_its_recipe_learns_and_its_neurons_are_awake(name: str, tmp_path: Path) -> None:
    train(name, *small(name), out=tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["valid"]["loss"] for record in records if "valid" in record]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    recipe = load_recipe(name, [*small(name)])
    experiment = open_experiment(recipe)
    model = load(tmp_path / "run").module
    with recorded(model) as firings, torch.no_grad():
        model(next(iter(experiment.view.batches("valid", 32))))
    rates = {name: float(firings[name].spikes.mean()) for name in spiking_layers(model)}
    assert len(rates) == LAYERS[name.removesuffix("_steps")]
    assert all(0.01 <= rate <= 0.5 for rate in rates.values()), rates


@pytest.mark.parametrize("name", MODELS)
def test_an_interrupted_training_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(name, *small(name, 2), out=whole)

    class AfterOne(Listener):
        def epoch(self, record: Mapping[str, Any], checkpoint: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(name, *small(name, 2), out=tmp_path / "run", listener=AfterOne())
    resume(tmp_path / "run")
    one, two = (load(folder).module.state_dict() for folder in (whole, tmp_path / "run"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", MODELS)
def test_every_backend_gives_the_same_spikes_or_refuses_by_name(name: str) -> None:
    recipe = load_recipe(name, [*small(name)])
    experiment = open_experiment(recipe)
    batch = next(iter(experiment.view.batches("train", 8)))
    torch.manual_seed(0)
    oracle = build_model(recipe, experiment.problem, backend="torch").eval()
    with recorded(oracle) as expected, torch.no_grad():
        outputs = oracle(batch)
    registry, ran = default_registry(), []
    refused: dict[str, str] = {}
    for backend in registry.usable_backends():
        torch.manual_seed(0)
        try:
            model = build_model(recipe, experiment.problem, backend=backend).eval()
        except SpikingError as error:
            refused[backend] = str(error)
            continue
        model.load_state_dict(oracle.state_dict())
        with recorded(model) as found, torch.no_grad():
            got = model(batch)
        ran.append(backend)
        if not registry.get("neuron", backend).exact:
            continue  # its kit counts the spikes that rounding decides
        for layer in spiking_layers(oracle):
            assert torch.equal(found[layer].spikes, expected[layer].spikes), (backend, layer)
        torch.testing.assert_close(got, outputs)
    for backend, reason in refused.items():
        neuron = registry.resolve("neuron", backend)
        assert backend.removesuffix("-native") in reason.lower()
        assert not all(neuron.supports(layer.spec) for layer in spiking_layers(oracle).values())
    assert "torch" in ran
    assert "numba" in ran or "numba" not in registry.usable_backends()


@pytest.mark.parametrize("name", MODELS)
def test_other_data_and_tasks_are_refused_by_name(name: str) -> None:
    recipe = load_recipe(name, [*small(name)])
    problem = open_experiment(recipe).problem
    ((signal, shape),) = problem.signals.items()
    two = replace(problem, signals={signal: shape, "other": shape})
    with pytest.raises(DataError, match="the model takes one signal of"):
        build_model(recipe, two)
    flat = replace(problem, signals={signal: replace(shape, shape=(*shape.shape, 2))})
    with pytest.raises(DataError, match=r"choose another model, or other data"):
        build_model(recipe, flat)


@pytest.mark.parametrize("name", ["spiking_convnet", "spiking_transformer"])
def test_a_picture_is_held_and_has_no_steps(name: str) -> None:
    recipe = load_recipe(name, small(name))
    task = open_experiment(recipe).problem.task
    problem = Problem({"picture": SignalShape((1, 8, 8), 1, ragged=False)}, task)
    model = build_model(recipe, problem).eval()
    with recorded(model) as firings, torch.no_grad():
        outputs = model(Batch({"picture": Signal(torch.rand(3, 1, 1, 8, 8))}))
    assert outputs.shape == (3, problem.outputs)
    assert {len(firing.spikes) for firing in firings.values()} == {4}
    with pytest.raises(DataError, match="a picture has no steps"):
        build_model(recipe, replace(problem, task=type(task)(task.outputs, True)))


def test_patches_that_do_not_divide_and_blocks_that_leave_nothing_are_refused() -> None:
    recipe = load_recipe("spiking_transformer", [*small("spiking_transformer"), "model.params.patch=5"])
    with pytest.raises(DataError, match="patches of 5 do not divide frames of"):
        build_model(recipe, open_experiment(recipe).problem)
    recipe = load_recipe("spiking_convnet", [*small("spiking_convnet"), "model.params.channels=[2, 2, 2, 2, 2, 2]"])
    with pytest.raises(DataError, match="6 blocks halve frames"):
        build_model(recipe, open_experiment(recipe).problem)


def test_what_a_recurrent_net_fires_comes_back_a_step_later() -> None:
    recipe = load_recipe("spiking_recurrent", [*small("spiking_recurrent")], backend="torch")
    problem = open_experiment(recipe).problem
    model = build_model(recipe, problem).eval()
    (layer,) = (each for each in spiking_layers(model).values())
    assert isinstance(layer.neuron, TorchNeuron)
    x = 20 * torch.randn(20, 2, problem.signals["spikes"].dim)
    with torch.no_grad():
        currents, spikes = layer.currents(x), layer(x)
        driven = currents.clone()
        driven[1:] += layer.returned(spikes[:-1])
        again, _ = layer.neuron.scan(driven)
    assert spikes.any()
    assert torch.equal(again, spikes)
    assert not torch.equal(layer.neuron.scan(currents)[0], spikes)


@pytest.mark.parametrize("name", ["spiking_convnet", "spiking_recurrent_steps", "cuba_mlp"])
def test_a_run_is_reported_profiled_packed_and_loaded(name: str, tmp_path: Path) -> None:
    from neurozoo.cli import main

    run, pack, page = (str(tmp_path / each) for each in ("run", "pack", "report"))
    train(name, *small(name, 1), out=run)
    assert main(["report", run, "--out", page]) == 0
    assert main(["profile", run, "--samples", "2"]) == 0
    assert main(["pack", run, "--out", pack]) == 0
    one, two = load(run).module.state_dict(), load(pack).module.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
