"""SMILE's slot ``encoder``: parts that fill it, and those that do not."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch

from neurozoo.core.multimodal import Tokens
from neurozoo.core.shapes import SignalShape
from neurozoo.errors import NeurozooError
from neurozoo.models.build import build_model, make_problem, open_experiment
from neurozoo.models.smile.parts import Encoder, TorchBlocks
from neurozoo.nn.attention import EncoderBlock, encode_each
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.hookspecs import Component
from neurozoo.registry.registry import Registry

CORE = EntryPoint("builtin", "neurozoo.registry.builtin", "neurozoo")


class Counting(Encoder):
    """Counts the blocks that it computes."""

    counted = 0

    def encode(self, blocks: list[EncoderBlock], queries: list[Tokens], sources: list[Tokens]) -> list[Tokens]:  # type: ignore[override]
        Counting.counted += len(blocks)
        return encode_each(blocks, queries, sources)


def registry(*components: Component) -> Registry:
    found = Registry([CORE])
    for each in components:
        found._components[each.kind, each.name] = each
        found._owners[each.kind, each.name] = "a plugin"
    return found


def mine(target: str) -> Component:
    return Component("part", "mine", target, "a part")


def logits(encoder: str | None, known: Registry) -> torch.Tensor:
    named = [] if encoder is None else [f"model.parts.encoder={encoder}"]
    recipe = load_recipe("smile_mosei", ["data.instead.params.size=16", *named], registry=known)
    experiment = open_experiment(recipe, registry=known)
    torch.manual_seed(0)
    model = build_model(recipe, experiment.problem, registry=known).eval()
    with torch.no_grad():
        found: torch.Tensor = model(next(iter(experiment.view.batches("train", 4))))
    return found


def test_the_default_has_the_name_that_older_recipes_give() -> None:
    assert torch.equal(logits(None, registry()), logits("torch-blocks", registry()))
    recipe = load_recipe("smile_mosei", registry=registry())
    signals = {name: SignalShape((4,), 8) for name in ("text", "audio", "vision")}
    model = build_model(recipe, make_problem(recipe, signals, tuple("abcdef")), registry=registry())
    assert type(model.encoder) is TorchBlocks  # type: ignore[attr-defined]


def test_a_part_computes_every_block() -> None:
    Counting.counted = 0
    known = registry(mine(f"{__name__}:Counting"))
    assert torch.equal(logits("mine", known), logits(None, known))
    assert Counting.counted == 11


def test_a_part_that_is_not_installed_is_refused_with_its_distribution() -> None:
    with pytest.raises(NeurozooError) as caught:
        load_recipe("smile_mosei", ["model.parts.encoder=numba-blocks"], registry=registry())
    assert "no part is called 'numba-blocks'; there are: torch-blocks" in str(caught.value)
    assert "pip install neurozoo-smile-numba" in str(caught.value)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("neurozoo.models.smile.scaling:NoScaling", "is not a subclass of neurozoo.models.smile.parts.Encoder"),
        ("neurozoo.models.smile.parts:Encoder", "lacks encode, which Encoder asks for"),
    ],
)
def test_a_part_of_another_class_does_not_fit(target: str, problem: str) -> None:
    known = registry(mine(target))
    with pytest.raises(NeurozooError, match=problem):
        load_recipe("smile_mosei", ["model.parts.encoder=mine"], registry=known)
    assert known.fitting("part", Encoder) == ["torch-blocks"]
