"""Models of modalities without spikes: every fusion and every head on plain encoders, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import neurozoo
from neurozoo.core.model import Model
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import DataError, UserError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.recipe.recipe import Recipe, make_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import train_step

REGISTRY = default_registry()
LENGTHS = {"text": 5, "vision": 3, "audio": 4}


def of_the_core(kind: Any) -> list[str]:
    names = REGISTRY.components(kind)
    return sorted(name for name in names if REGISTRY.owner(kind, name).startswith("neurozoo-t"))


FUSIONS = [name for name in of_the_core("fusion") if not REGISTRY.resolve("fusion", name).needs_spikes]
HEADS = of_the_core("label-head")
PAIRS = [*((fusion, "pooled") for fusion in FUSIONS), *(("concat", head) for head in HEADS if head != "pooled")]


def recipe(parts: dict[str, Any], **params: Any) -> Recipe:
    content = {
        "schema": 2,
        "data": {
            "name": "none",
            "inputs": [*LENGTHS],
            "expect": {name: {"dim": 6, "length": length} for name, length in LENGTHS.items()},
        },
        "task": {"name": "multilabel", "outputs": 3},
        "model": {"name": "multimodal", "params": {"hidden": 8, "heads": 2, **params}, "parts": parts},
    }
    return make_recipe(content, "test", REGISTRY)


def built(chosen: Recipe) -> Model:
    torch.manual_seed(0)
    return build_model(chosen, expected_problem(chosen)[0])


def batch(samples: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    signals = {
        name: Signal(
            torch.randn(samples, length, 6, generator=generator), torch.rand(samples, length, generator=generator) > 0.3
        )
        for name, length in LENGTHS.items()
    }
    return Batch(signals, (torch.rand(samples, 3, generator=generator) > 0.5).float())


@pytest.mark.parametrize("encoder", ["gru", "linear"])
@pytest.mark.parametrize(("fusion", "head"), PAIRS)
def test_every_fusion_and_every_head_goes_on_plain_encoders(fusion: str, head: str, encoder: str) -> None:
    chosen = recipe({"fusion": fusion, "head": head}, encoder=encoder)
    model, given = built(chosen), batch()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    assert given.target is not None
    for part in (model.fusion, model.head):
        part.prepare(given.target)
    values = train_step(model.train(), given, make_optimizer(chosen, model), chosen)
    assert all(torch.isfinite(value) for value in values.values())
    stuck = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert len(stuck) <= len(before) / 4, stuck
    with torch.no_grad():
        outputs: Tensor = model.eval()(given)
    assert outputs.shape == (4, 3)
    assert torch.isfinite(outputs).all()


def test_a_fusion_that_reads_spikes_is_refused() -> None:
    with pytest.raises(DataError, match="SCMRLFusion reads spikes, and this model has none"):
        built(recipe({"fusion": "scmrl", "head": "pooled"}))


@pytest.mark.parametrize("name", ["multimodal", "tailor"])
class TestShapes:
    def test_heads_have_to_divide_the_width(self, name: str) -> None:
        with pytest.raises(UserError, match="3 heads do not divide hidden = 8; choose a divisor of 8"):
            neurozoo.create_model(name, inputs={"text": (6,)}, outputs=2, hidden=8, heads=3)

    def test_a_modality_is_features(self, name: str) -> None:
        with pytest.raises(UserError, match=r"a modality is features \[L, D\], and picture is"):
            neurozoo.create_model(name, inputs={"picture": (1, 4, 4)}, outputs=2, hidden=8, heads=2)
