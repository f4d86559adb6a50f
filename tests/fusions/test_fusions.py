"""Fusions beyond their kit: what an absent modality does, what is refused, and loss terms in a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from neurozoo.core.multimodal import Features, Fusion, Layout
from neurozoo.core.recording import recorded
from neurozoo.errors import DataError
from neurozoo.fusions.misa import difference, reconstruction, similarity
from neurozoo.fusions.mult import MulTFusion
from neurozoo.fusions.scmrl import alignment
from neurozoo.models.build import open_experiment
from neurozoo.nn.sequence import pooled, tokens
from neurozoo.operations.profiling import needs_its_batch
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.training.train import train

Recipes = Callable[..., Recipe]
D = 6
WHOLE = ("sum", "mean", "concat-vectors", "gmu", "tfn", "lmf", "misa")
"""Fusions of one vector a modality."""


def layout(*primary: str, context: tuple[str, ...] = (), dropout: float = 0.0) -> Layout:
    return Layout(D, 2, dropout, primary, context, 3)


def made(name: str, of: Layout, **params: Any) -> Fusion:
    torch.manual_seed(0)
    fusion: Fusion = default_registry().resolve("fusion", name)(of, **params)
    return fusion.eval()


def given(lengths: Mapping[str, int], absent: str = "", samples: int = 3) -> dict[str, Features]:
    """Sequences with padding at the end; one modality may have no valid row in any sample."""
    found = {}
    for seed, (name, length) in enumerate(lengths.items()):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(samples, length, D, generator=generator)
        valid = (torch.arange(length) < torch.tensor([[length], [1], [length - 1]])) & (name != absent)
        sequence = tokens(x, valid)
        found[name] = Features(sequence, sequence, sequence, True)
    return found


@pytest.mark.parametrize("name", WHOLE)
def test_one_row_at_position_0(name: str) -> None:
    found = made(name, layout("audio", "vision"))(given({"audio": 4, "vision": 5}))
    assert found.x.shape == (3, 1, D)
    assert found.position.tolist() == [[0]]
    assert found.valid.all()
    assert not made(name, layout("audio"))(given({"audio": 4}, absent="audio")).valid.any()


def test_the_last_valid_row_is_the_last_that_is_valid() -> None:
    x = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert pooled(tokens(x, mask), "last").tolist() == [[2, 3], [0, 0]]
    assert torch.equal(pooled(tokens(x, None), "last"), x[:, -1])


@pytest.mark.parametrize("name", ["sum", "mean", "tfn", "lmf", "gmu"])
def test_an_absent_modality_is_neutral(name: str) -> None:
    """Not zero for all, and not what its padding holds."""
    fusion = made(name, layout("audio", "vision"))
    there = given({"audio": 4, "vision": 5})
    without = given({"audio": 4, "vision": 5}, absent="vision")
    alone, both = fusion(without).x, fusion(there).x
    assert alone.abs().sum() > 0
    assert not torch.allclose(alone, both)
    if name in ("sum", "mean"):
        assert torch.equal(alone[:, 0], pooled(there["audio"].enhanced))
    if name == "gmu":  # its own gate still sees the inputs, of which the other is 0
        unit: Any = fusion.unit
        x = pooled(there["audio"].enhanced)
        gate = torch.sigmoid(unit.gates[0](torch.cat([x, torch.zeros_like(x)], 1)))
        torch.testing.assert_close(alone[:, 0], gate * torch.tanh(unit.inputs[0](x)))


def test_a_gate_of_two_opens_whole_for_the_one_that_is_there() -> None:
    fusion: Any = made("gmu", layout("audio", "vision"), form="bimodal")
    for absent, m in (("audio", 1), ("vision", 0)):
        features = given({"audio": 4, "vision": 5}, absent=absent)
        x = pooled(list(features.values())[m].enhanced)
        torch.testing.assert_close(fusion(features).x[:, 0], torch.tanh(fusion.unit.inputs[m](x)))


def test_mag_gives_the_base_alone_if_no_other_is_there() -> None:
    fusion: Any = made("mag", layout("audio", context=("text",)), dropout=0.0)
    features = given({"text": 4, "audio": 5}, absent="audio")
    found, base = fusion(features), features["text"].enhanced
    assert torch.equal(found.valid, base.valid)
    torch.testing.assert_close(found.x[base.valid], fusion.gate.norm(base.x)[base.valid])


def test_mag_gives_one_row_where_the_base_is_absent() -> None:
    found = made("mag", layout("audio", context=("text",)))(given({"text": 4, "audio": 5}, absent="text"))
    assert found.valid.sum(1).tolist() == [1, 1, 1]
    rows = found.x[found.valid]
    assert not torch.allclose(rows[0], rows[2]), "which says something of the other modality"


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("gmu", {"form": "bimodal"}, "gmu: the form bimodal takes 2 modalities, and there are 3; set independent"),
        ("tfn", {"size": 200}, r"201 x 201 x 201 = 8,120,601 numbers needs 48,723,606 weights.*or use lmf"),
        ("mbt", {"fusion_layer": 2}, "mbt: 2 leaves none of 2 layers for the fusion"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, params: Mapping[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        made(name, layout("audio", "vision", "depth"), **params)


@pytest.mark.parametrize(("padding", "leaks"), [("masked", False), ("visible", True)])
def test_a_causal_net_of_other_lengths_sees_no_later_rows(padding: Any, leaks: bool) -> None:
    """Of the published mask the offset lets the first of two rows see all four of the source."""
    fusion = MulTFusion(layout("a", "b"), layers=1, padding=padding).eval()
    query, source = (tokens(torch.randn(1, length, D), None) for length in (2, 4))
    seen = fusion._allowed(fusion._seen(query.x, query), fusion._seen(source.x, source))
    assert seen is not None
    assert seen[0, 0].tolist() == [True, True, leaks, False]
    assert seen[0, 1].all()


def test_mbt_exchanges_nothing_but_bottlenecks() -> None:
    fusion = made("mbt", layout("audio", "vision"), layers=3, fusion_layer=1, bottlenecks=2)
    features = given({"audio": 4, "vision": 5})
    vision = features["vision"].enhanced.x.requires_grad_()
    audio = fusion(features).x[:, :4]
    (there,) = torch.autograd.grad(audio.square().sum(), vision)
    assert there.any(), "through z"
    only_last = made("mbt", layout("audio", "vision"), layers=2, fusion_layer=1)
    audio = only_last(features).x[:, :4]
    (none,) = torch.autograd.grad(audio.square().sum(), vision, allow_unused=True)
    assert none is None or not none.any(), "the z of the last layer is thrown away"


def test_misas_terms_leave_absent_samples_out() -> None:
    private, shared, rebuilt = (torch.rand(4, 2, D) for _ in range(3))
    present = torch.tensor([[True, True], [True, False], [True, True], [True, False]])
    both, first = present[:, 1], torch.ones(4, 1, dtype=torch.bool)
    all_there = torch.ones(2, 2, dtype=torch.bool)
    of_both, of_first = (private[both], shared[both]), (private[:, :1], shared[:, :1])
    # The first modality's own term is of four samples, the others' of two.
    want = difference(*of_both, all_there) - difference(of_both[0][:, :1], of_both[1][:, :1], all_there[:, :1])
    torch.testing.assert_close(difference(private, shared, present), want + difference(*of_first, first))
    torch.testing.assert_close(similarity(shared, present), similarity(shared[both], all_there))
    each = [F.mse_loss(rebuilt[:, 0], private[:, 0]), F.mse_loss(rebuilt[both, 1], private[both, 1])]
    torch.testing.assert_close(reconstruction(private, rebuilt, present), torch.stack(each).mean())
    assert difference(private[:1], shared[:1], present[:1]) == 0, "of one sample nothing differs from its mean"
    assert similarity(shared[:, :1], first) == 0, "of one modality there is no pair"


def test_misas_terms_are_taken_once_and_none_in_evaluation() -> None:
    fusion, features = made("misa", layout("audio", "vision")), given({"audio": 4, "vision": 5})
    fusion.train()(features)
    assert set(fusion.losses(torch.zeros(3, 3))) == {"difference", "similarity", "reconstruction"}
    assert fusion.losses(torch.zeros(3, 3)) == {}
    fusion.eval()(features)
    assert fusion.losses(torch.zeros(3, 3)) == {}


def test_loss_terms_are_trained_on_and_logged(tmp_path: Path, recipe: Recipes) -> None:
    chosen = recipe("model.parts.fusion=misa", "training.epochs=1")
    train(chosen, out=tmp_path / "run")
    (record,) = Run(tmp_path / "run").records()
    names = {"difference", "similarity", "reconstruction"}
    assert names <= record["train"].keys()
    assert not names & record["valid"].keys(), "valid reports the task's loss alone"
    assert not needs_its_batch(open_experiment(chosen).build()), "predictions are of each sample alone"


def test_a_head_is_built_for_the_fusions_width(recipe: Recipes) -> None:
    model: Any = open_experiment(recipe("model.parts.fusion={name: misa, params: {output: wide}}")).build()
    modalities = len(model.modalities)
    assert model.head.labels.shape[1] == model.fusion.width == modalities * model.fusion.spaces.shared.in_features


def spiking(lengths: Mapping[str, int], rate: float = 0.2, steps: int = 4, width: int = D) -> dict[str, Features]:
    found = {}
    for seed, (name, length) in enumerate(lengths.items()):
        drawn = torch.rand(3, length, steps, width, generator=torch.Generator().manual_seed(seed))
        rows = tokens(drawn.mean(2), torch.arange(length) < torch.tensor([[length], [2], [length - 1]]))
        found[name] = Features(rows, rows, rows, True, rows.with_x((drawn < rate).float()))
    return found


def test_spiking_attention_needs_spikes() -> None:
    with pytest.raises(DataError, match="scmrl takes spikes, and the context text has none; set model"):
        made("scmrl", layout("audio", context=("text",)))


@pytest.mark.parametrize(("params", "silent"), [({}, False), ({"start": 0.0, "products": "scaled"}, True)])
def test_spiking_attention_fires_from_the_start(params: Mapping[str, Any], silent: bool) -> None:
    """As published it adds nothing, and has no gradient by which it could begin to."""
    sizes = Layout(32, 8, 0.0, ("audio", "vision"), (), 3)
    fusion = made("scmrl", sizes, **params).train()
    if silent:
        params = {**params, "threshold": 1.0}
        fusion = made("scmrl", sizes, **params).train()
    features = spiking({"audio": 12, "vision": 9}, width=32)
    with recorded(fusion) as firings:
        found = fusion(features)
    rates = {name: float(firing.spikes.detach().mean()) for name, firing in firings.items()}
    attend = [rate for name, rate in rates.items() if "attend" in name]
    assert len(rates) == 2 * (2 * 5 + 1)
    trains = features["audio"].spikes
    assert trains is not None
    added = (found.x[:, :12] - trains.x.mean(2))[trains.valid]
    if silent:
        assert max(attend) == 0
        assert not added.any()
    else:
        assert min(rates.values()) > 0.02, rates
        assert added.any()


def test_spiking_attention_cuts_membranes_only_as_published() -> None:
    features = spiking({"audio": 4, "vision": 5}, rate=0.5)
    gradients = {}
    for gradient in ("through-time", "each-step"):
        fusion: Any = made("scmrl", layout("audio", "vision"), gradient=gradient).train()
        found = fusion(features)
        found.x.square().sum().backward()
        gradients[gradient] = found.x.detach(), fusion.blocks["audio"].spatial.query.layer.synapse.weight.weight.grad
    outputs, slopes = zip(*gradients.values(), strict=True)
    assert torch.equal(*outputs)
    assert not torch.allclose(*slopes)


def test_alignment_counts_shared_labels() -> None:
    means = torch.rand(4, 2, D)
    all_there = torch.ones(4, 2, dtype=torch.bool)
    classes = torch.tensor([0, 1, 0, 1])
    labels = F.one_hot(classes, 3).float()
    want = alignment(means, all_there, classes, 0.5)
    torch.testing.assert_close(alignment(means, all_there, labels, 0.5), want)
    logs = F.log_softmax(means[:, 0] @ means[:, 1].T / 0.5, 1)
    torch.testing.assert_close(want, -(logs * (classes[:, None] == classes)).sum() / 16)
    wide = torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    halves = alignment(means[:2], all_there[:2], wide, 0.5)
    logs = F.log_softmax(means[:2, 0] @ means[:2, 1].T / 0.5, 1)
    torch.testing.assert_close(halves, -(logs * torch.tensor([[1, 0.5], [0.5, 1]])).sum() / 4)
    without = torch.tensor([[True, True], [True, True], [True, False], [False, True]])
    torch.testing.assert_close(
        alignment(means, without, classes, 0.5), alignment(means[:2], all_there[:2], classes[:2], 0.5)
    )
