"""Models of modalities without spikes: every fusion and every head on plain encoders, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import neurozoo
from neurozoo.core.model import Model, trained_modules
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import DataError, UserError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.nn.dropout import Dropout
from neurozoo.recipe.recipe import Recipe, load_recipe, make_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.tasks.multilabel import Multilabel
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


PUBLISHED = {"tailor_mosei": (10_798_652, 394_752)}
"""Learnable parameters of the authors' code, and those of them that have no effect, by recipe."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_has_the_published_parameters(name: str) -> None:
    chosen = load_recipe(name)
    with torch.device("meta"):
        model = build_model(chosen, expected_problem(chosen)[0])
    everything, without_effect = PUBLISHED[name]
    assert sum(each.numel() for each in model.parameters()) == everything - without_effect


SMALL: dict[str, dict[str, Any]] = {"tailor": {"hidden": 8, "heads": 2, "inner": 8, "layers": 1, "cross_layers": 1}}


def small(name: str, modalities: Sequence[str], **params: Any) -> Model:
    """Return a small model without dropout."""
    torch.manual_seed(0)
    problem = Problem({m: SignalShape((6,), LENGTHS[m]) for m in modalities}, Multilabel(("a", "b", "c"), False))
    content = {
        "schema": 2,
        "data": {"name": "none"},
        "task": {"name": "multilabel", "outputs": 3},
        "model": {"name": name, "params": {**SMALL[name], **params}},
    }
    model = build_model(make_recipe(content, "test", REGISTRY), problem)
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    return model


def terms(model: Model, given: Batch) -> dict[str, Tensor]:
    """Return the terms of the loss after a training forward."""
    model.train()(given)
    assert given.target is not None
    return {name: term for _, each in trained_modules(model) for name, term in each.losses(given.target).items()}


@pytest.mark.parametrize("name", SMALL)
class TestCorrected:
    """What the corrected form of each published model does, and its authors' code does not."""

    @pytest.mark.parametrize("modalities", [["text"], ["vision", "audio"], ["text", "vision", "audio"]], ids=len)
    def test_any_number_of_modalities_of_any_length(self, name: str, modalities: list[str]) -> None:
        model, given = small(name, modalities), batch()
        found = terms(model, given)
        total = torch.stack([*found.values()]).sum() + model(given).square().sum()
        total.backward()
        assert all(each.grad is not None for each in model.parameters())
        assert torch.isfinite(total)

    def test_padding_counts_in_no_term_of_the_loss(self, name: str) -> None:
        given = batch()
        noise = {
            m: Signal(torch.where(each.mask[..., None], each.values, 9.0), each.valid)
            for m, each in given.signals.items()
        }
        want, got = (terms(small(name, [*LENGTHS]), each) for each in (given, replace(given, signals=noise)))
        assert want.keys() == got.keys()
        for term, value in want.items():
            torch.testing.assert_close(got[term], value)

    def test_longer_padding_counts_in_no_term_of_the_loss(self, name: str) -> None:
        given = batch()
        longer = {
            m: Signal(F.pad(each.values, (0, 0, 0, 2)), F.pad(each.mask, (0, 2), value=False))
            for m, each in given.signals.items()
        }
        want, got = (terms(small(name, [*LENGTHS]), each) for each in (given, replace(given, signals=longer)))
        for term, value in want.items():
            torch.testing.assert_close(got[term], value)

    def test_samples_without_any_modality_but_one_have_finite_terms(self, name: str) -> None:
        given = batch()
        empty = {m: Signal(each.values, each.mask & (m == "audio")) for m, each in given.signals.items()}
        model = small(name, [*LENGTHS])
        total = torch.stack([*terms(model, replace(given, signals=empty)).values()]).sum()
        total.backward()
        assert torch.isfinite(total)
        assert all(each.grad is None or torch.isfinite(each.grad).all() for each in model.parameters())

    def test_evaluation_keeps_nothing(self, name: str) -> None:
        model = small(name, [*LENGTHS]).eval()
        state = {key: value.clone() for key, value in model.state_dict().items()}
        model(batch())
        assert all(not module.losses(batch().target) for _, module in trained_modules(model))  # type: ignore[arg-type]
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_tailor_adds_all_rows_of_equal_lengths_alone() -> None:
    with pytest.raises(DataError, match="added row by row, and the lengths differ: text 5, vision 3"):
        small("tailor", ["text", "vision"], rows="all")


def test_tailor_names_modalities_without_layers() -> None:
    with pytest.raises(DataError, match="nothing for vision, only for text; give a number for each modality"):
        small("tailor", ["text", "vision"], layers={"text": 2})


@pytest.mark.parametrize("name", ["multimodal", *SMALL])
class TestShapes:
    def test_heads_have_to_divide_the_width(self, name: str) -> None:
        with pytest.raises(UserError, match="3 heads do not divide hidden = 8; choose a divisor of 8"):
            neurozoo.create_model(name, inputs={"text": (6,)}, outputs=2, hidden=8, heads=3)

    def test_a_modality_is_features(self, name: str) -> None:
        with pytest.raises(UserError, match=r"a modality is features \[L, D\], and picture is"):
            neurozoo.create_model(name, inputs={"picture": (1, 4, 4)}, outputs=2, hidden=8, heads=2)
