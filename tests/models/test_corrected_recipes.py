"""After the initialisation that its recipe asks for, every layer of a published model in its corrected form fires.

Inputs are SYNTHETIC, of the recipe's shape. Quick tests are of smaller sizes of the same structure, all recipes as they
stand are slow.
"""

from __future__ import annotations

import pytest
import torch

from neurozoo.bench.published import SAMPLES, made_up_input
from neurozoo.core.model import Model, trained_modules
from neurozoo.core.published import Variant
from neurozoo.core.recording import frozen_statistics, recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.models.build import build_model, expected_problem
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.registry.registry import default_registry
from neurozoo.training.initialisation import initialise_fluctuation_driven

LOWEST, HIGHEST = 0.01, 0.5
"""Rates of a layer, in spikes a step."""

SMALLER = {
    "spikformer_cifar10_corrected": ["width=192", "heads=6", "depth=2"],
    "spikformer_cifar10_dvs_corrected": ["width=128", "heads=8", "depth=1", "length=4", "shape=[2, 64, 64]"],
    "qkformer_cifar10_corrected": ["width=96", "heads=4", "depth=1"],
    "qkformer_cifar10_dvs_corrected": ["width=128", "heads=8", "length=4", "shape=[2, 64, 64]"],
    "spike_driven_transformer_cifar10_corrected": ["width=128", "heads=4", "depth=1"],
    "spike_driven_transformer_cifar10_dvs_corrected": [
        "width=128",
        "heads=4",
        "depth=1",
        "length=4",
        "shape=[2, 64, 64]",
    ],
    "sew_resnet_dvs128_gesture_corrected": ["channels=[8, 8, 8, 8, 8, 8, 8]", "length=4"],
    "plif_net_n_mnist_corrected": ["channels=[32, 32]", "length=4"],
    "plif_net_dvs128_gesture_corrected": ["channels=[16, 16, 16, 16, 16]", "length=4", "shape=[2, 64, 64]"],
    "sparch_shd_corrected": ["hidden=[256, 256]"],
    "dcls_delays_shd_corrected": [],
    "lsnn_evidence": [],
    "cuba_rsnn_braille": [],
    "cuba_rsnn_shd_corrected": [],
    "spikegpt_enwik8_corrected": ["width=192", "depth=2", "length=128"],
    "ispikformer_metr_la_corrected": ["shape=[20]", "outputs=480"],
    "ispikformer_solar_corrected": ["shape=[20]", "outputs=480"],
}
"""What is smaller in the quick tests, by recipe: parameters of the model, shape and length of its signal."""
LONG = {"spikegpt_enwik8_corrected": ["length=128"]}
"""What is smaller in the slow tests."""
WITHOUT_RECIPE = {"sew-resnet": "published for ImageNet, of which no recipe is shipped"}


def read(name: str, smaller: tuple[str, ...] = ()) -> Recipe:
    plain = load_recipe(name, registry=default_registry())
    if not smaller:
        return plain
    (signal,) = plain.data.expect or ("none",)
    places = {"shape": f"data.expect.{signal}", "length": f"data.expect.{signal}", "outputs": "task"}
    changes = [f"{places.get(each.partition('=')[0], 'model.params')}.{each}" for each in smaller]
    if any(change.startswith(f"data.expect.{signal}.shape") for change in changes):
        changes.append(f"data.expect.{signal}.dim=null")
    return load_recipe(name, changes, registry=default_registry())


def model_class(recipe: Recipe) -> type[Model]:
    made: type[Model] = default_registry().resolve("model", recipe.model.name)
    return made


def is_corrected(recipe: Recipe) -> bool:
    made = model_class(recipe)
    return bool(made.variants) and all(
        recipe.model.params[name] == quirk.corrected for name, quirk in made.quirks.items()
    )


CORRECTED = sorted(name for name in shipped_recipes() if is_corrected(read(name)))


def rates(recipe: Recipe) -> dict[str, float]:
    """Return the rate of each layer in a training forward of the initialised model, in spikes a step."""
    problem, _ = expected_problem(recipe)
    ((name, shape),) = problem.signals.items()
    size = Variant(
        {}, shape.shape, shape.length, problem.outputs, 0, "", task=problem.task.name, per_step=problem.task.per_step
    )
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.seed)
        model = build_model(recipe, problem)
        lead = (SAMPLES, size.length) if size.per_step else (SAMPLES,)
        target = problem.task.made_up(*lead, generator=generator)
        batch = Batch({name: Signal(made_up_input(size, SAMPLES, generator))}, target)
        for _, module in trained_modules(model):
            module.prepare(target)
        chosen = recipe.training.initialisation
        if chosen.name == "fluctuation-driven":
            initialise_fluctuation_driven(model, batch, chosen.firing_rate)
        with frozen_statistics(model), recorded(model.train()) as firings:
            model(batch)
        layers = spiking_layers(model)
        assert layers.keys() <= firings.keys(), "a layer did not run"
        return {layer: float(firings[layer].spikes.mean()) for layer in layers}


def check(recipe: Recipe) -> None:
    found = rates(recipe)
    assert found
    wrong = {layer: round(rate, 4) for layer, rate in found.items() if not LOWEST <= rate <= HIGHEST}
    assert not wrong, f"of {len(found)} layers"


def test_every_published_model_has_a_corrected_recipe() -> None:
    published = {
        name for name in default_registry().components("model") if default_registry().resolve("model", name).variants
    }
    assert {read(name).model.name for name in CORRECTED} == published - WITHOUT_RECIPE.keys()
    assert {read(name).model.name for name in SMALLER} == published - WITHOUT_RECIPE.keys()


@pytest.mark.parametrize("name", SMALLER)
def test_every_layer_fires_in_a_smaller_size(name: str) -> None:
    check(read(name, tuple(SMALLER[name])))


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRECTED)
def test_every_layer_fires(name: str) -> None:
    check(read(name, tuple(LONG.get(name, ()))))


def test_a_silent_layer_is_found() -> None:
    silent = read("spikegpt_enwik8_corrected", ("width=24", "depth=1", "start=silent", "length=8"))
    found = rates(silent.with_overrides(["training.initialisation={name: default}"], registry=default_registry()))
    assert set(found.values()) == {0.0}
    with pytest.raises(AssertionError, match="of 2 layers"):
        check(silent.with_overrides(["training.initialisation={name: default}"], registry=default_registry()))
