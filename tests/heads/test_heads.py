"""What each label head does, by hand and from the training targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from neurozoo.core.model import trained_modules
from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.errors import DataError
from neurozoo.heads.chain import ChainHead
from neurozoo.heads.label_decoder import LabelDecoderHead, record_label_attention
from neurozoo.heads.lsan import BothDirections, LSANHead
from neurozoo.heads.mlgcn import MLGCNHead, adjacency
from neurozoo.heads.query2label import Query2LabelHead
from neurozoo.models.build import open_experiment
from neurozoo.nn.sequence import pooled, tokens
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import load_checkpoint, write_tensors
from neurozoo.training.prepare import prepare

D, NAMES = 6, ("joy", "anger", "fear")
Recipes = Callable[..., Recipe]


def layout(outputs: int = 3, hidden: int = D, **others: Any) -> Layout:
    return Layout(hidden, 2, 0.0, ("audio",), (), outputs, labels=NAMES[:outputs], **others)


def rows(hidden: int = D, length: int = 5) -> Tokens:
    valid = torch.tensor([[True] * 5, [True, False, True, False, False], [False] * 5])[:, :length]
    x = torch.randn(3, length, hidden, generator=torch.Generator().manual_seed(0))
    return tokens(x, valid)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooled_rows(pooling: Literal["mean", "max"]) -> None:
    sequence = rows()
    of_two = sequence.x[1, [0, 2]]
    want = torch.stack([sequence.x[0].mean(0), of_two.mean(0)] if pooling == "mean" else
                       [sequence.x[0].amax(0), of_two.amax(0)])  # fmt: skip
    found = pooled(sequence, pooling)
    torch.testing.assert_close(found[:2], want)
    assert not found[2].any()
    torch.testing.assert_close(pooled(tokens(sequence.x[:1], None), pooling), found[:1])


# The chain.


def chain(**params: Any) -> ChainHead:
    head = ChainHead(layout(), dropout=0.0, **params)
    assert head.links is not None
    with torch.no_grad():
        head.links.copy_(torch.tensor([3.0, -2.0, 5.0]))
    return head


def test_a_chain_by_hand() -> None:
    """Order 2, 0, 1: label 0 sees label 2; label 1 sees labels 2 and 0."""
    head, sequence = chain(), rows()
    head.order.copy_(torch.tensor([2, 0, 1]))
    alone = head.features(pooled(sequence))
    taught = head(sequence, torch.tensor([[1.0, 0.0, 1.0]] * 3))
    torch.testing.assert_close(taught - alone, torch.tensor([[3.0, -2.0 + 5.0, 0.0]] * 3))
    for hard, found in ((False, head(sequence)), (True, None)):
        head.hard = hard
        found = head(sequence) if found is None else found
        seen = (lambda z: (z > 0).float()) if hard else torch.sigmoid
        first = alone[:, 2]
        second = alone[:, 0] + 3 * seen(first)
        third = alone[:, 1] - 2 * seen(first) + 5 * seen(second)
        torch.testing.assert_close(found, torch.stack([second, third, first], 1))


def test_a_chain_begins_with_the_label_that_is_there_most_often() -> None:
    target = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    head = chain()
    head.prepare(target)
    assert head.order.tolist() == [1, 2, 0]
    listed = chain(order="listed")
    listed.prepare(target)
    assert listed.order.tolist() == [0, 1, 2]
    head.prepare(torch.tensor([2, 2, 0, 2]))  # class numbers
    assert head.order.tolist() == [2, 0, 1]


def test_a_chain_takes_classes_as_labels() -> None:
    head, sequence = chain(), rows()
    torch.testing.assert_close(head(sequence, torch.tensor([1, 0, 2])), head(sequence, torch.eye(3)[[1, 0, 2]]))


@pytest.mark.parametrize("head", ["chain", "ml-gcn"])
def test_heads_of_labels_refuse_quantities(head: str) -> None:
    made = {"chain": ChainHead, "ml-gcn": MLGCNHead}[head](layout())
    with pytest.raises(DataError, match=f"{head} takes labels, which are there or not"):
        made.prepare(torch.randn(5, 3))


def test_a_model_teaches_its_chain_in_training_alone(recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = open_experiment(recipe("model.parts.head=chain"))
    model: Any = experiment.build()
    given: list[Tensor | None] = []
    forward = ChainHead.forward

    def keep(self: ChainHead, sequence: Tokens, target: Any = None) -> Tensor:
        given.append(target)
        return forward(self, sequence, target)

    monkeypatch.setattr(ChainHead, "forward", keep)
    batch = next(iter(experiment.view.batches("train", 3)))
    model.train()(batch)
    model.eval()(batch)
    assert given[0] is batch.target
    assert given[1] is None


class OfAnEarlierPlugin(LabelHead):
    """Takes the sequence alone."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.linear = nn.Linear(layout.hidden, layout.outputs)

    def forward(self, sequence: Tokens) -> Tensor:
        return self.linear(pooled(sequence))


def test_a_head_that_takes_no_target_works(recipe: Recipes) -> None:
    experiment = open_experiment(recipe("model.parts.head=pooled"))
    model: Any = experiment.build()
    model.head = OfAnEarlierPlugin(model.layout(model.fusion.width or 10, 2, 0.0))
    batch = next(iter(experiment.view.batches("train", 3)))
    model.train()(batch).sum().backward()
    assert model.head.linear.weight.grad.any()
    assert model.layout(10, 2, 0.0).labels == tuple(experiment.problem.task.outputs)


# ML-GCN.


def test_edges_are_between_labels_that_are_there_together() -> None:
    """Half of the first label's samples have the second, a third of the second's the first; the third has none."""
    counts, together = torch.tensor([2, 3, 0]), torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    graph = adjacency(counts, together, 0.4)
    scale = 1.25**-0.5  # one edge, whose column has the sum 1, leads from the first to the second
    want = torch.eye(3)
    want[0, 0], want[1, 0] = scale**2, 0.25 * scale
    torch.testing.assert_close(graph, want, atol=1e-6, rtol=0)
    torch.testing.assert_close(adjacency(torch.zeros(3).long(), torch.zeros(3, 3).long(), 0.4), torch.eye(3))


def test_the_graph_is_of_the_training_targets() -> None:
    head = MLGCNHead(layout())
    head.prepare(torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
    assert head.counts.tolist() == [3, 2, 0]
    assert head.together.tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]
    head.bfloat16()
    assert head.counts.dtype == torch.int64, "counts stay exact in another dtype"
    head.prepare(torch.tensor([0, 2, 2]))
    assert head.counts.tolist() == [1, 0, 2]
    assert not head.together.any(), "classes are never together"


# Vectors of labels from a file.


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.safetensors"
    save_file({**{name: torch.full((4,), float(n)) for n, name in enumerate(NAMES)}, "other": torch.ones(9)}, path)
    return path


@pytest.mark.parametrize(("made", "learned"), [(MLGCNHead, False), (LSANHead, True)])
def test_vectors_of_labels(made: Any, learned: bool, vectors: Path) -> None:
    head = made(layout(), vectors=vectors, size=4)
    for _, module in trained_modules(head):
        module.prepare(torch.eye(3))
    weight = head.vectors.weight
    assert weight.tolist() == [[0.0] * 4, [1.0] * 4, [2.0] * 4], "by the labels' names, not by the order of the file"
    assert isinstance(weight, nn.Parameter) is learned
    assert "vectors.weight" in head.state_dict()
    assert torch.isfinite(head(rows())).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 5}, r"the vector 'joy' is \[4\], and \[5\] was expected; set `size`"),
        ({"vectors": "nowhere.safetensors"}, "nowhere.safetensors is missing"),
        ({"vectors": __file__}, "truncated or not a safetensors file"),
        ({"labels": ("joy", "angr", "fear")}, "has no vector 'angr'; add one; did you mean 'anger'"),
        ({"labels": ()}, "does not name its outputs"),
    ],
)
def test_vectors_that_do_not_fit(change: Mapping[str, Any], words: str, vectors: Path) -> None:
    params: dict[str, Any] = {"size": 4, "vectors": vectors, **change}
    labels = params.pop("labels", NAMES)
    head = MLGCNHead(Layout(D, 2, 0.0, ("audio",), (), 3, labels=labels), **params)
    with pytest.raises(DataError, match=words):
        head.vectors.prepare(torch.eye(3))


def test_a_trained_model_needs_no_file_of_vectors(recipe: Recipes, tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "vectors.safetensors", tmp_path / "checkpoint.safetensors"
    chosen = recipe(f"model.parts.head={{name: ml-gcn, params: {{vectors: {path}, size: 4, inner: 5}}}}")
    experiment = open_experiment(chosen)
    save_file({name: torch.full((4,), float(n)) for n, name in enumerate(experiment.problem.task.outputs)}, path)
    model: Any = experiment.build()
    prepare(model, experiment.view, chosen)
    write_tensors(checkpoint, model.state_dict(), {})
    path.unlink()
    again: Any = open_experiment(chosen).build()
    load_checkpoint(checkpoint, again)
    assert again.head.vectors.weight[:, 0].tolist() == [float(n) for n in range(len(experiment.problem.task.outputs))]
    assert again.head.counts.sum() > 0


# LSAN.


def test_both_directions_read_valid_rows_alone() -> None:
    lstm, sequence = BothDirections(D, 3), rows()
    both = nn.LSTM(D, 3, batch_first=True, bidirectional=True)
    for ours, suffix in ((lstm.ahead, ""), (lstm.back, "_reverse")):
        for name, parameter in ours.named_parameters():
            getattr(both, name + suffix).data.copy_(parameter.data)
    found = lstm(sequence)
    torch.testing.assert_close(found.x[0], both(sequence.x[:1])[0][0])
    torch.testing.assert_close(found.x[1, :2], both(sequence.x[1:2, [0, 2]])[0][0])
    assert found.valid.sum(1).tolist() == [5, 2, 0]


def test_halves_need_an_even_width() -> None:
    with pytest.raises(DataError, match="a row of 5 features has no two equal halves; set rows to lstm"):
        LSANHead(layout(hidden=5), rows="halves")
    assert LSANHead(layout(hidden=5))(rows(hidden=5)).shape == (3, 3)


def test_published_label_vectors_do_not_learn() -> None:
    head = LSANHead(layout(), label_vectors="fixed")
    assert "vectors.weight" not in dict(head.named_parameters())
    assert "vectors.weight" in head.state_dict()


# Decoders.


def test_labels_meet_in_later_layers_if_asked() -> None:
    """Without attention between labels a query changes its own logit alone."""
    for meet in (False, True):
        torch.manual_seed(0)
        head = Query2LabelHead(layout(), decoder_layers=2, label_attention=meet, dropout=0.0).eval()
        before = head(rows())
        with torch.no_grad():
            head.queries[0] += 1
        changed = (head(rows()) - before).abs().amax(0) > 1e-7
        assert changed.tolist() == [True, meet, meet]


def test_layers_of_the_label_decoder() -> None:
    torch.manual_seed(0)
    one, two = (LabelDecoderHead(layout(), layers=layers).eval() for layers in (1, 2))
    assert set(one.state_dict()) < set(two.state_dict())
    two.load_state_dict({**two.state_dict(), **one.state_dict()})
    torch.testing.assert_close(two.decode(rows()), two.more[0].decode_once(one.decode(rows()), rows()))
    with record_label_attention(two) as seen:
        two(rows())
    (found,) = seen
    torch.testing.assert_close(found.weights.sum(2)[:2], torch.ones(2, 3))


class OfTensors(nn.Module):
    def __init__(self, head: LabelHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.head(tokens(x, mask))


@pytest.mark.slow
# torch.nn.LSTM keeps its parameters a second time, in a list.
@pytest.mark.filterwarnings("ignore:The tensor attributes self.head.lstm:UserWarning")
@pytest.mark.parametrize("name", sorted(default_registry().components("label-head")))
def test_a_head_is_exported_for_any_number_of_samples(name: str) -> None:
    head = default_registry().resolve("label-head", name)(layout()).eval()
    sequence = rows()
    several = {0: torch.export.Dim("batch", min=1, max=64)}
    exported = torch.export.export(OfTensors(head), (sequence.x, sequence.valid), dynamic_shapes=(several, several))
    for samples in (1, 3):
        given = Tokens(sequence.x[:samples], sequence.valid[:samples], sequence.position[:samples])
        torch.testing.assert_close(exported.module()(given.x, given.valid), head(given), atol=1e-6, rtol=1e-5)
