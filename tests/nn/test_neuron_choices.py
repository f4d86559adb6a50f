"""Neurons that a recipe chooses: the specification that its parameters make, and what of it is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from neurozoo.core.equations import SURROGATES
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, PLIFSpec, ReLUSpec
from neurozoo.core.layer import Learned, SpikingLayer
from neurozoo.core.neuron import NeuronSpec
from neurozoo.core.recording import neuron_layers
from neurozoo.errors import RecipeError
from neurozoo.models.build import open_experiment
from neurozoo.nn import neuron_choices
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.loading import load
from neurozoo.training.train import train

Recipes = Callable[..., Recipe]


def layers(recipe: Recipe) -> dict[str, SpikingLayer]:
    torch.manual_seed(0)
    return neuron_layers(open_experiment(recipe).build())


MADE: list[tuple[str, str, NeuronSpec]] = [
    ("lif", "{}", LIFSpec()),
    ("lif", "{tau: 3.0, decay_input: false, v_reset: null}", LIFSpec(tau=3.0, decay_input=False, v_reset=None)),
    ("lif", "{surrogate: triangle, alpha: 0.5, tie: silent}", LIFSpec(surrogate="triangle", alpha=0.5, tie="silent")),
    ("lif", "{detach_reset: true}", LIFSpec(detach_reset=True)),
    ("if", "{v_reset: 0.1}", IFSpec(v_reset=0.1)),
    ("plif", "{tau: 4.0}", PLIFSpec(leak=0.25)),
    (
        "adlif",
        "{learned: false, coupling: [0.0, 0.5]}",
        AdLIFSpec(
            membrane_decay=(math.exp(-1 / 5) + math.exp(-1 / 25)) / 2,
            adaptation_decay=(math.exp(-1 / 30) + math.exp(-1 / 120)) / 2,
            coupling=0.25,
            jump=1.0,
            surrogate="box",
            alpha=1.0,
        ),
    ),
    (
        "alif",
        "{tau: 10.0, tau_adaptation: 50.0, refractory: 2}",
        ALIFSpec(
            membrane_decay=math.exp(-0.1),
            adaptation_decay=math.exp(-0.02),
            refractory=2,
            surrogate="triangle",
            alpha=0.3,
        ),
    ),
    (
        "cuba",
        "{tau_synapse: 2.0, tau: 4.0, order: fire-first}",
        CubaSpec(
            synapse_decay=math.exp(-0.5),
            membrane_decay=math.exp(-0.25),
            gain=1 - math.exp(-0.25),
            order="fire-first",
            surrogate="superspike",
            alpha=10.0,
        ),
    ),
    ("relu", "{}", ReLUSpec()),
]


@pytest.mark.parametrize(("part", "params", "spec"), MADE)
def test_a_part_makes_its_specification(part: str, params: str, spec: NeuronSpec, recipe: Recipes) -> None:
    made = layers(recipe(f"model.parts.activation={{name: {part}, params: {params}}}"))
    assert list(made) == [f"branches.{m}.{n}" for m in ("audio", "vision") for n in ("first", "second")]
    assert {layer.spec for layer in made.values()} == {spec}
    assert not any(layer.gain for layer in made.values())


def test_every_kind_that_fires_can_be_chosen() -> None:
    registry = default_registry()
    offered = {registry.resolve("part", name)().spec.kind for name in registry.components("part") if name in CHOICES}
    assert offered == {"lif", "if", "plif", "adlif", "alif", "cuba", "relu"}


CHOICES = ("lif", "if", "plif", "adlif", "alif", "cuba", "relu")


@pytest.mark.parametrize("scope", ["layer", "neuron"])
def test_a_learned_time_constant_starts_where_the_recipe_says(scope: str, recipe: Recipes) -> None:
    made = layers(recipe(f"model.parts.activation={{name: plif, params: {{tau: 4.0, scope: {scope}}}}}"))
    for name, layer in made.items():
        width = {"first": 16, "second": 10}[name.rpartition(".")[2]]
        assert layer.stored["leak"].shape == ((width,) if scope == "neuron" else ())
        torch.testing.assert_close(layer.params()["leak"], torch.full_like(layer.stored["leak"], 0.25))
    assert layer.learned["leak"] == Learned(-math.log(3.0), scope, "sigmoid")  # type: ignore[arg-type]


def test_adaptive_neurons_draw_their_parameters_from_their_ranges(recipe: Recipes) -> None:
    ranges = "tau: [5.0, 10.0], tau_adaptation: [20.0, 40.0], coupling: [-0.5, 0.5], jump: [0.0, 1.0]"
    made = layers(recipe(f"model.parts.activation={{name: adlif, params: {{{ranges}}}}}"))
    expected = {
        "membrane_decay": (math.exp(-1 / 5), math.exp(-1 / 10)),
        "adaptation_decay": (math.exp(-1 / 20), math.exp(-1 / 40)),
        "coupling": (-0.5, 0.5),
        "jump": (0.0, 1.0),
    }
    for layer in made.values():
        assert layer.params().keys() == expected.keys()
        for name, (low, high) in expected.items():
            value = layer.params()[name]
            assert value.unique().numel() > 5
            assert ((value >= low) & (value <= high)).all()


def test_some_parameters_of_adaptive_neurons_are_learned(recipe: Recipes) -> None:
    lif = "learned: [tau], coupling: [0.0, 0.0], jump: [0.0, 0.0]"
    for layer in layers(recipe(f"model.parts.activation={{name: adlif, params: {{{lif}}}}}")).values():
        assert list(layer.stored) == ["membrane_decay"]
        spec = layer.spec
        assert isinstance(spec, AdLIFSpec)
        assert (spec.coupling, spec.jump) == (0.0, 0.0)
        assert spec.adaptation_decay == pytest.approx((math.exp(-1 / 30) + math.exp(-1 / 120)) / 2)


def test_a_gain_divides_the_current(recipe: Recipes) -> None:
    made = layers(recipe("model.parts.activation={name: lif, params: {apply: gain}}"))
    assert all(layer.gain for layer in made.values())


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("{name: lif, params: {tau: 1.0}}", "1.0 is too small; give more than 1.0"),
        ("{name: plif, params: {scope: model}}", "found the text 'model'; give one of: layer, neuron"),
        ("{name: lif, params: {surrogate: relu}}", "found the text 'relu'; give one of: "),
        ("{name: cuba, params: {order: last}}", "give one of: charge-first, fire-first"),
        ("{name: adlif, params: {learned: [alpha]}}", "tau, tau_adaptation, coupling, jump"),
        ("{name: alif, params: {refractory: -1}}", "-1 is too small; give at least 0"),
        ("rate-gain", "is not a subclass of neurozoo.core.model.NeuronChoice"),
    ],
)
def test_what_cannot_be(part: str, said: str, recipe: Recipes, tmp_path: Path) -> None:
    recipe()
    with pytest.raises(RecipeError) as caught:
        train(tmp_path / "small.yaml", f"model.parts.activation={part}", out=tmp_path / "run")
    assert said in str(caught.value)


@pytest.mark.parametrize("part", ["{name: plif, params: {scope: neuron}}", "adlif", "alif", "cuba"])
def test_a_choice_trains_and_its_parameters_are_in_the_checkpoint(part: str, recipe: Recipes, tmp_path: Path) -> None:
    train(
        recipe(f"model.parts.activation={part}", "training.epochs=1", "training.optimizer.lr=0.01"), out=tmp_path / "r"
    )
    loaded = load(tmp_path / "r").module
    fresh = layers(recipe(f"model.parts.activation={part}"))
    for name, layer in neuron_layers(loaded).items():
        for parameter, stored in layer.stored.items():
            assert not torch.equal(stored, fresh[name].stored[parameter]), (name, parameter)


def test_every_surrogate_is_offered() -> None:
    from typing import get_args

    assert set(get_args(neuron_choices.Surrogate)) == set(SURROGATES)
    made: list[Any] = [neuron_choices.LIF(surrogate=each).spec.surrogate for each in get_args(neuron_choices.Surrogate)]
    assert made == list(get_args(neuron_choices.Surrogate))
