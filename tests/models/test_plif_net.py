"""PLIF net: its sizes, its votes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.errors import DataError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.plif_net import PLIFNet
from neurozoo.recipe.recipe import load_recipe
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression
from neurozoo.testing import check, registered
from neurozoo.testing.kits import kit_of
from neurozoo.training.initialisation import initialise_fluctuation_driven

PUBLISHED = {name: quirk.published for name, quirk in PLIFNet.quirks.items()}
CLASSES = tuple(f"class {k}" for k in range(3))


def made(
    shape: tuple[int, ...] = (2, 8, 8), length: int = 6, task: Task | None = None, seed: int = 0, **params: Any
) -> PLIFNet:
    torch.manual_seed(seed)
    problem = Problem({"frames": SignalShape(shape, length)}, task or Multiclass(CLASSES, loss="squared"))
    return PLIFNet(problem, lambda slot, *_: None, TorchNeuron, **{"channels": (4, 6), **params})


def events(*size: int, seed: int = 0) -> Batch:
    """Counts of events, a tenth of an event per pixel and frame."""
    counts = torch.poisson(torch.full(size, 0.1), generator=torch.Generator().manual_seed(seed))
    return Batch({"frames": Signal(counts.to(torch.uint8))}, torch.arange(size[0]) % len(CLASSES))


def test_votes_are_shares_of_a_class_s_neurons_over_the_steps() -> None:
    model, batch = made(head="votes", voters=5).eval(), events(4, 6, 2, 8, 8)
    initialise_fluctuation_driven(model, batch, 0.2)
    with recorded(model) as firings, torch.no_grad():
        outputs = model(batch)
    votes = firings["head"].spikes  # [T, B, 15]
    for k in range(3):
        torch.testing.assert_close(outputs[:, k], votes[..., 5 * k : 5 * k + 5].mean((0, 2)))
    assert 0 < float(outputs.max()) <= 1


def test_votes_count_valid_steps_alone() -> None:
    model, batch = made(head="votes").eval(), events(2, 6, 2, 8, 8)
    initialise_fluctuation_driven(model, batch, 0.3)
    values = batch.signals["frames"].values
    valid = torch.arange(6) < torch.tensor([6, 2])[:, None]
    with torch.no_grad():
        outputs = model(Batch({"frames": Signal(values, valid)}))
        short = model(Batch({"frames": Signal(values[1:, :2])}))
    assert float(short.max()) > 0
    torch.testing.assert_close(outputs[1:], short)


def test_the_published_form_passes_the_kit() -> None:
    kit = kit_of("model")
    assert kit is not None
    # The kit's tasks take logits, which rates are too small for: see the next test. test_golden.py tries the backends.
    cases = [name for name in kit.cases if name not in ("learns", "any_backend_does")]
    candidate = registered("model", "plif-net", {"channels": (4,), "voters": 2, **PUBLISHED})
    report = check(candidate, cases)
    assert not [each for each in report.results if each.outcome == "failed"], report.results
    assert len([each for each in report.results if each.outcome == "passed"]) > 15


def test_votes_learn_by_squared_error() -> None:
    model, batch = made(head="votes", dropout=0.0, hidden=32), events(3, 6, 2, 8, 8)
    initialise_fluctuation_driven(model, batch, 0.2)
    assert batch.target is not None
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.problem.task.loss(model(batch), batch.target)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize("head", ["linear", "votes"])
@pytest.mark.parametrize(("length", "blocks", "side"), [(10, 2, 34), (20, 4, 128), (20, 5, 128)])
def test_no_layer_is_silent_or_saturated_on_frames_of_the_recipes_shapes(
    head: str, length: int, blocks: int, side: int
) -> None:
    model, batch = made((2, side, side), length, channels=(4,) * blocks, head=head), events(2, length, 2, side, side)
    initialise_fluctuation_driven(model, batch, 0.15)
    with recorded(model.eval()) as firings, torch.no_grad():
        model(batch)
    rates = {name: float(firing.spikes.mean()) for name, firing in firings.items()}
    assert len(rates) == blocks + (1 if head == "linear" else 2)
    assert all(0.01 <= rate <= 0.5 for rate in rates.values()), rates


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (Multilabel(CLASSES), (2, 3)),
        (Regression(CLASSES), (2, 3)),
        (Regression(CLASSES, True), (2, 4, 3)),
        (Multiclass(CLASSES, True), (2, 4, 3)),
    ],
)
def test_any_task_on_frames_of_any_size(task: Task, shape: tuple[int, ...]) -> None:
    model = made((3, 17, 23), 4, task, channels=(5, 3, 2), hidden=7)
    outputs = model(events(2, 4, 3, 17, 23))
    assert outputs.shape == shape
    assert outputs.isfinite().all()


def test_a_step_s_outputs_depend_on_no_later_frame() -> None:
    model = made(task=Multiclass(CLASSES, True)).eval()
    batch, other = events(2, 6, 2, 8, 8), events(2, 6, 2, 8, 8, seed=1)
    initialise_fluctuation_driven(model, batch, 0.3)
    values = torch.cat((batch.signals["frames"].values[:, :4], other.signals["frames"].values[:, 4:]), 1)
    with torch.no_grad():
        outputs, changed = model(batch), model(Batch({"frames": Signal(values)}))
    torch.testing.assert_close(outputs[:, :4], changed[:, :4])
    assert not torch.allclose(outputs[:, 4:], changed[:, 4:])


def test_a_picture_is_held_and_its_first_convolution_runs_once() -> None:
    model = made((1, 8, 8), 1, time_steps=5)
    rows: list[int] = []
    first = model.blocks[0].synapse.weight
    assert isinstance(first, nn.Conv2d)
    first.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    with recorded(model) as firings:
        outputs = model(Batch({"frames": Signal(torch.rand(3, 1, 1, 8, 8))}))
    assert outputs.shape == (3, 3)
    assert rows == [3]
    assert {len(each.spikes) for each in firings.values()} == {5}


def test_a_sample_keeps_its_dropout_over_the_steps() -> None:
    model, batch = made(length=4), events(4, 4, 2, 8, 8)
    initialise_fluctuation_driven(model, batch, 0.4)
    masks: list[torch.Tensor] = []
    for dropout in model.dropouts:
        dropout.register_forward_hook(lambda _, inputs, output: masks.append((inputs[0] > 0) & (output == 0)))
    model.train()(batch)
    for lost in masks:
        kept = ~lost.any(0)  # elements that were never dropped; the others are in no step let through
        assert lost.any()
        assert kept.any()
    assert torch.equal(*(model.eval()(batch) for _ in range(2)))


def test_pools_take_the_largest_spike_or_the_share_of_spikes() -> None:
    spikes = (torch.rand(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    shares = spikes[0].unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1))
    assert torch.equal(made(pool="mean").pool(spikes[0]), shares)
    assert torch.equal(made().pool(spikes[0]), (shares > 0).float())


RECIPE = """
schema: 2
data: {name: none-installed, expect: {frames: {shape: [2, 16, 16], length: 4}}}
task: {name: TASK, outputs: [a, b]}
model: {name: plif-net, params: {channels: [4, 4]}}
"""


def test_what_cannot_be_built_is_refused_by_the_parameter_s_name(tmp_path: Any) -> None:
    def build(task: str, *overrides: str) -> Any:
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE.replace("TASK", task))
        recipe = load_recipe(path, overrides)
        return build_model(recipe, expected_problem(recipe)[0])

    build("multiclass", "model.params.head=votes")
    build("multilabel")
    with pytest.raises(DataError, match=r"model.params.channels: 5 blocks halve frames with a side of 16 to nothing"):
        build("multiclass", "model.params.channels=[2, 2, 2, 2, 2]")
    for task in ("multilabel", "regression"):
        with pytest.raises(DataError, match=rf"model.params.head: votes are for classes, and the task is {task}"):
            build(task, "model.params.head=votes")
