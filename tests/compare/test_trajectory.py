"""Training on several backends at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from neurozoo.compare.backends import Backend
from neurozoo.compare.result import Training
from neurozoo.compare.sources import recipe_source
from neurozoo.compare.trajectory import train_side_by_side
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import NeurozooError
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.training.listener import Listener
from neurozoo.training.train import own_random_numbers, train


class Late(TorchNeuron):
    """Fires a little too late."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, threshold + 0.05, params)


class OtherSurrogate(TorchNeuron):
    """The same spikes, another gradient."""

    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(replace(spec, surrogate="superspike", alpha=0.1))


class WithWrongNeurons(Registry):
    """The installed backends, and wrong ones by the name of their class."""

    def resolve(self, kind, name, base=None):
        wrong = {each.__name__: each for each in (Late, OtherSurrogate)}
        return wrong.get(name) or super().resolve(kind, name, base)


@pytest.fixture
def trained(recipe: Callable[..., Recipe]) -> Callable[..., Training]:
    def run(*backends: Backend, steps: int = 4, overrides: tuple[str, ...] = ()) -> Training:
        checked = recipe(*overrides)
        with own_random_numbers(checked):
            source = recipe_source(checked, "torch", registry=WithWrongNeurons())
            return train_side_by_side(source, [Backend("torch"), *backends], steps=steps)

    return run


def test_the_reference_is_trained_as_train_does(
    trained: Callable[..., Training], recipe: Callable[..., Recipe], tmp_path
) -> None:
    class Losses(Listener):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def step(self, epoch: int, step: int, steps: int, values) -> None:
            self.losses.append(values["loss"])

    without_dropout = (
        "model.params.dropout=0",
        "model.params.context_dropout=0",
        "model.parts.head={name: pooled, params: {dropout: 0}}",
    )
    listener = Losses()
    train(recipe(*without_dropout), out=tmp_path / "run", listener=listener)
    found = trained(Backend("norse"), steps=5, overrides=without_dropout)
    # Two epochs of three steps; the second one is shuffled anew.
    assert list(found.backends[0].losses) == pytest.approx(listener.losses[:5], rel=1e-6)
    assert found.backends[0].thresholds[0] == pytest.approx(1.0, abs=0.1)
    assert all(0 < rate < 1 for rate in found.backends[0].rates)


def test_equivalent_backends_stay_together_and_drop_the_same_units(trained: Callable[..., Training]) -> None:
    found = trained(Backend("spikingjelly"), Backend("snntorch", exact=False))
    reference, exact, inexact = found.backends
    assert not found.different
    assert exact.losses == reference.losses
    assert (exact.first_difference, exact.weight_difference, exact.worst_weight) == (None, 0, "")
    assert exact.metrics == reference.metrics
    assert inexact.loss_difference < 1e-6


def test_other_spikes_are_placed(trained: Callable[..., Training]) -> None:
    late = trained(Backend("Late")).backends[1]
    assert late.first_spike is not None
    assert late.first_spike.batch == 1
    assert late.first_spike.layer.startswith("branches.audio.first")
    assert late.parted > 8
    assert late.first_difference == 1
    assert late.problems[0].startswith("training: spikes differ in the first step, where the weights are the same")


@pytest.mark.parametrize("native", [False, True])
def test_another_gradient_parts_them(trained: Callable[..., Training], native: bool) -> None:
    found = trained(Backend("OtherSurrogate", exact=not native, native=native))
    other = found.backends[1]
    assert found.different
    assert other.losses[0] == found.backends[0].losses[0]
    assert other.first_difference is not None
    assert other.first_difference > 1
    assert other.weight_difference > 1e-4
    assert other.worst_weight


def test_a_loss_that_is_not_finite_ends_it(recipe: Callable[..., Recipe]) -> None:
    source = recipe_source(recipe("model.parts.threshold=constant"), "torch", registry=default_registry())
    huge = {name: value * 1e38 if value.is_floating_point() else value for name, value in source.weights.items()}
    words = r"the loss is (nan|inf) in step \d on torch; lower training\.optimizer\.lr"
    with pytest.raises(NeurozooError, match=words):
        train_side_by_side(replace(source, weights=huge), [Backend("torch"), Backend("norse")], steps=4)


def test_progress_is_told(recipe: Callable[..., Recipe]) -> None:
    heard: list[tuple[str, int, int]] = []
    source = recipe_source(recipe(), "torch", registry=default_registry())
    torch.manual_seed(0)
    train_side_by_side(source, [Backend("torch"), Backend("norse")], steps=2, told=lambda *what: heard.append(what))
    assert heard == [("training", 0, 2), ("training", 1, 2)]
