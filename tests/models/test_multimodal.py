"""Models of modalities without spikes: every fusion and every head on plain encoders, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import product
from pathlib import Path
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
from neurozoo.models.multimodal.carat import MOMENTUM, Prototypes
from neurozoo.models.multimodal.contrast import NO_CLASS, QueueContrast
from neurozoo.nn.dropout import Dropout
from neurozoo.recipe.recipe import Recipe, load_recipe, make_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import train_step
from neurozoo.training.train import resume, train

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


PUBLISHED = {
    "tailor_mosei": (10_798_652, 394_752),
    # Theirs have two tables of 500 positions, of which 60 are read.
    "carat_mosei": (7_359_736, 197_376 + 2 * 440 * 256),
}
"""Learnable parameters of the authors' code, and those of them that have no effect, by recipe."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_has_the_published_parameters(name: str) -> None:
    chosen = load_recipe(name)
    model = build_model(chosen, expected_problem(chosen)[0])
    everything, without_effect = PUBLISHED[name]
    assert sum(each.numel() for each in model.parameters()) == everything - without_effect


ENCODERS = {"hidden": 8, "heads": 2, "inner": 8, "layers": 1}
SMALL: dict[str, dict[str, Any]] = {
    "tailor": {**ENCODERS, "cross_layers": 1},
    "carat": {**ENCODERS, "latent": 4, "queue": 16},
    "lddu": {**ENCODERS, "latent": 4, "queue": 16, "projection": 5},
}


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

    def test_terms_can_be_left_out(self, name: str) -> None:
        whole, without = (terms(small(name, [*LENGTHS], auxiliary=factor), batch()) for factor in (1.0, 0.0))
        kept = {"aggregated"}  # half of CARAT's answer
        assert {term for term, value in without.items() if value.any()} == kept & without.keys()
        assert all(value.any() for value in whole.values())

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


class TestState:
    """What CARAT and LDDU learn outside of parameters."""

    def test_prototypes_follow_sample_by_sample(self) -> None:
        prototypes = Prototypes(2, 3, False)
        generator = torch.Generator().manual_seed(0)
        latent, target = (
            torch.randn(5, 2, 3, generator=generator),
            torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0], [0, 1]]),
        )
        present = torch.tensor([True, True, True, False, True])
        want = {"there": torch.zeros(2, 3), "absent": torch.zeros(2, 3)}
        for b, k in product(range(5), range(2)):
            if present[b]:
                row = want["there" if target[b, k] else "absent"][k]
                row.mul_(MOMENTUM).add_(latent[b, k] / latent[b, k].norm(), alpha=1 - MOMENTUM)
        prototypes.follow(latent, target, present)
        torch.testing.assert_close(prototypes.there, want["there"])
        torch.testing.assert_close(prototypes.absent, want["absent"])

    def test_the_queue_is_a_ring(self) -> None:
        contrast = QueueContrast(5, 2, 1.0, False)
        rows = F.normalize(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), dim=1)
        contrast(rows[:3], torch.arange(3))
        contrast(rows[3:6], torch.arange(3, 6))
        assert contrast.classes.tolist() == [5, 1, 2, 3, 4]
        assert int(contrast.pointer) == 1
        contrast(rows, torch.arange(8))  # more than fit
        assert sorted(contrast.classes.tolist()) == [3, 4, 5, 6, 7]
        torch.testing.assert_close(contrast.queue, rows[contrast.classes.long()])

    def test_noise_and_rows_without_a_class_do_not_count(self) -> None:
        rows = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
        classes = torch.tensor([0, 1, 0, 1, NO_CLASS, NO_CLASS])
        given = rows.clone().requires_grad_()
        found = QueueContrast(7, 4, 0.5, False)(given, classes)
        products = (rows[:4] @ rows[:4].T / 0.5).masked_fill(torch.eye(4, dtype=torch.bool), -torch.inf)
        shares = products.log_softmax(1)
        torch.testing.assert_close(found.detach(), -(shares[0, 2] + shares[1, 3] + shares[2, 0] + shares[3, 1]) / 4)
        found.backward()
        assert given.grad is not None
        assert not given.grad[4:].any()

    @pytest.mark.parametrize("queue_asks", [False, True])
    @pytest.mark.parametrize("at_a_time", [1, 40, 10**6])
    def test_it_equals_its_equation_however_many_products_are_computed_at_a_time(
        self, at_a_time: int, queue_asks: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("neurozoo.models.multimodal.contrast.PRODUCTS", at_a_time)
        generator = torch.Generator().manual_seed(0)
        contrast = QueueContrast(6, 3, 0.2, queue_asks)
        classes = torch.tensor([0.0, 1, 0, NO_CLASS, 2, 1, 0])
        for _ in range(2):  # noise in the queue, then rows
            rows = F.normalize(torch.randn(7, 3, generator=generator, dtype=torch.float64), dim=1).requires_grad_()
            every, of_every = torch.cat([rows, contrast.queue.double()]), torch.cat([classes, contrast.classes])
            known = torch.ones_like(of_every, dtype=torch.bool) if queue_asks else of_every != NO_CLASS
            terms = []
            for i in range(len(every) if queue_asks else len(rows)):
                others = [j for j in range(len(every)) if j != i and known[j]]
                shares = (every[others] @ every[i] / 0.2).log_softmax(0)
                same = of_every[others] == of_every[i]
                if known[i]:
                    terms.append(shares[same].mean() if same.any() else rows.new_zeros(()))
            want = -torch.stack(terms).mean()
            (gradient,) = torch.autograd.grad(want, rows)
            found = contrast(rows, classes)
            found.backward()
            torch.testing.assert_close(found, want)
            torch.testing.assert_close(rows.grad, gradient)

    def test_earlier_rows_are_partners_without_a_gradient(self) -> None:
        contrast = QueueContrast(4, 2, 1.0, False)
        row = torch.tensor([[1.0, 0.0]], requires_grad=True)
        assert float(contrast(row, torch.tensor([0])).detach()) == 0.0  # alone
        contrast(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
        found = contrast(row, torch.tensor([0]))
        torch.testing.assert_close(found.detach(), -torch.tensor([1.0, 0.0]).log_softmax(0)[0])
        assert not contrast.queue.requires_grad

    @pytest.mark.parametrize("name", ["carat", "lddu"])
    def test_a_model_that_learns_of_labels_needs_labels(self, name: str) -> None:
        with pytest.raises(UserError, match="learns which labels are there, and the task is multiclass"):
            neurozoo.create_model(name, inputs={"text": (6,)}, outputs=2, task="multiclass", **SMALL[name])

    def test_lddu_calibrates_each_sample_by_its_own_labels(self) -> None:
        model = small("lddu", [*LENGTHS])
        generator = torch.Generator().manual_seed(0)
        spreads, share = torch.rand(4, 3, 5, generator=generator), torch.rand(4, 3, generator=generator)
        alone = [model._calibration(spreads[b : b + 1], share[b : b + 1]) for b in range(4)]
        torch.testing.assert_close(model._calibration(spreads, share), torch.stack(alone).mean())
        sizes = spreads.norm(dim=-1).softmax(1)
        wanted = share.softmax(1)
        divergences = (wanted * (wanted / sizes).log()).sum(1) + (sizes * (sizes / wanted).log()).sum(1)
        torch.testing.assert_close(model._calibration(spreads, share), divergences.mean() / 6)
        assert float(divergences.min()) > 0

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["carat", "lddu"])
    def test_a_resumed_run_has_the_bits_of_one_that_did_not_stop(
        self, name: str, tmp_path: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
    ) -> None:
        params = [f"model.params.{key}={value}" for key, value in SMALL[name].items()]
        chosen = load_recipe(
            f"{name}_mosei_corrected",
            [*params, "data.instead.params={size: 24, length: 8}", "training.batch_size=8", "training.epochs=3"],
        )
        train(chosen, out=tmp_path / "whole")
        with interrupted_at(5):
            train(chosen, out=tmp_path / "halves")
        resume(tmp_path / "halves")
        assert Run(tmp_path / "halves").last.read_bytes() == Run(tmp_path / "whole").last.read_bytes()
        assert (read_tensors(Run(tmp_path / "whole").last)[0]["contrast.classes"] != NO_CLASS).all()

    def test_a_missing_modality_is_rebuilt_from_the_others(self) -> None:
        model, given = small("carat", [*LENGTHS]).eval(), batch()
        gone = {m: Signal(each.values, each.mask & (m != "text")) for m, each in given.signals.items()}
        other = {m: Signal(torch.flip(each.values, [0]), each.valid) for m, each in gone.items() if m == "text"}
        want, got = model(Batch(gone)), model(Batch({**gone, **other}))
        torch.testing.assert_close(got, want)
        assert not torch.allclose(want, model(Batch(given.signals)))


@pytest.mark.parametrize("name", ["multimodal", *SMALL])
class TestShapes:
    def test_heads_have_to_divide_the_width(self, name: str) -> None:
        with pytest.raises(UserError, match="3 heads do not divide hidden = 8; choose a divisor of 8"):
            neurozoo.create_model(name, inputs={"text": (6,)}, outputs=2, hidden=8, heads=3)

    def test_a_modality_is_features(self, name: str) -> None:
        with pytest.raises(UserError, match=r"a modality is features \[L, D\], and picture is"):
            neurozoo.create_model(name, inputs={"picture": (1, 4, 4)}, outputs=2, hidden=8, heads=2)
