"""SEW ResNet on pictures and on event frames: sizes, connections, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.errors import DataError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.sew_resnet import CONNECTIONS, Connection, SEWResNet, SEWResNetEvents
from neurozoo.recipe.recipe import load_recipe
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression
from neurozoo.testing import check, registered
from neurozoo.training.initialisation import initialise_fluctuation_driven

CLASSES = tuple(f"class {k}" for k in range(3))
QUICK = ("gives_outputs", "firing_is_recorded", "samples_are_alone", "padding_does_not_matter", "every_input_counts")


def made(
    kind: type[SEWResNet | SEWResNetEvents],
    shape: tuple[int, ...],
    length: int,
    task: Task | None = None,
    **params: Any,
) -> Any:
    torch.manual_seed(0)
    problem = Problem({"x": SignalShape(shape, length)}, task or Multiclass(CLASSES))
    return kind(problem, lambda slot, *_: None, TorchNeuron, **params)


def events(*size: int) -> Batch:
    """Counts of events, a tenth of an event per pixel and frame."""
    counts = torch.poisson(torch.full(size, 0.1), generator=torch.Generator().manual_seed(0))
    return Batch({"x": Signal(counts.to(torch.uint8))}, torch.arange(size[0]) % len(CLASSES))


def pictures(*size: int) -> Batch:
    return Batch({"x": Signal(torch.randn(size, generator=torch.Generator().manual_seed(0)))})


def rates(model: Model, batch: Batch) -> dict[str, float]:
    initialise_fluctuation_driven(model, batch, 0.15)
    with recorded(model.eval()) as firings, torch.no_grad():
        model(batch)
    return {name: float(firing.spikes.mean()) for name, firing in firings.items()}


@pytest.mark.parametrize(
    ("how", "expected"), [("add", [0.0, 1.0, 1.0, 2.0]), ("and", [0.0, 0.0, 0.0, 1.0]), ("iand", [0.0, 1.0, 0.0, 0.0])]
)
def test_the_tables_of_the_connections(how: Connection, expected: list[float]) -> None:
    branch, shortcut = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert CONNECTIONS[how](branch, shortcut).tolist() == expected
    assert branch.tolist() == [0.0, 0.0, 1.0, 1.0]  # nothing is done in place


def test_every_connection_has_a_rule() -> None:
    assert set(CONNECTIONS) == set(get_args(Connection))


@pytest.mark.parametrize("params", [{"block": "bottleneck"}, {"connect": "and"}, {"connect": "iand"}])
def test_its_other_forms_pass_the_quick_cases_of_the_kit(params: dict[str, Any]) -> None:
    report = check(registered("model", "sew-resnet", {"blocks": (1, 2), "width": 8, **params}), QUICK)
    assert {each.outcome for each in report.results} == {"passed"}, report.results


@pytest.mark.parametrize("params", [{"connect": "and"}, {"connect": "iand"}, {"channels": (2, 3)}])
def test_the_other_forms_for_events_pass_the_quick_cases_of_the_kit(params: dict[str, Any]) -> None:
    report = check(registered("model", "sew-resnet-events", {"channels": (4, 4, 5), **params}), QUICK)
    assert {each.outcome for each in report.results} == {"passed"}, report.results


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_no_layer_is_silent_or_saturated_on_pictures_of_the_published_size(block: str, connect: str) -> None:
    model = made(SEWResNet, (3, 224, 224), 1, block=block, blocks=(1, 1, 2, 1), width=4, connect=connect)
    found = rates(model, pictures(2, 1, 3, 224, 224))
    assert len(found) == 1 + (2 * 5 + 3 if block == "basic" else 3 * 5 + 4)
    assert all(0.01 <= rate <= 0.5 for rate in found.values()), found


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_no_layer_is_silent_or_saturated_on_frames_of_the_recipes_shape(connect: str) -> None:
    model = made(SEWResNetEvents, (2, 128, 128), 16, channels=(4, 4, 4, 4, 6, 6, 6), connect=connect)
    found = rates(model, events(2, 16, 2, 128, 128))
    assert len(found) == 14 + 2
    assert all(0.01 <= rate <= 0.5 for rate in found.values()), found


@pytest.mark.parametrize(("connect", "values"), [("add", {0, 1, 2, 3}), ("and", {0, 1}), ("iand", {0, 1})])
def test_sums_grow_by_one_a_block_and_the_others_stay_spikes(connect: Connection, values: set[int]) -> None:
    model = made(SEWResNetEvents, (2, 8, 8), 6, channels=(4, 4), pool=1, connect=connect)
    batch, seen = events(4, 6, 2, 8, 8), []
    initialise_fluctuation_driven(model, batch, 0.4)
    model.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with recorded(model.eval()) as firings, torch.no_grad():
        model(batch)
    assert set(seen[0].unique().tolist()) == values
    assert all(set(each.spikes.unique().tolist()) == {0, 1} for each in firings.values())


def test_the_first_convolution_of_a_picture_runs_once() -> None:
    model = made(SEWResNet, (3, 16, 16), 1, width=4, blocks=(1, 1), time_steps=5)
    rows: list[int] = []
    model.stem.synapse.weight.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    with recorded(model) as firings:
        outputs = model(pictures(3, 1, 3, 16, 16))
    assert outputs.shape == (3, 3)
    assert rows == [3]
    assert {len(each.spikes) for each in firings.values()} == {5}


@pytest.mark.parametrize("kind", [SEWResNet, SEWResNetEvents])
@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (Multilabel(CLASSES), (2, 3)),
        (Regression(CLASSES), (2, 3)),
        (Multilabel(CLASSES, True), (2, 4, 3)),
        (Regression(CLASSES, True), (2, 4, 3)),
    ],
)
def test_any_task_on_frames_of_any_size(kind: Any, task: Task, shape: tuple[int, ...]) -> None:
    sizes: dict[str, Any] = {"width": 3, "blocks": (1, 2, 1)} if kind is SEWResNet else {"channels": (5, 3), "pool": 3}
    model = made(kind, (4, 17, 23), 4, task, **sizes)
    outputs = model(events(2, 4, 4, 17, 23))
    assert outputs.shape == shape
    assert outputs.isfinite().all()


def test_a_picture_is_held_for_the_steps_of_the_event_net() -> None:
    model = made(SEWResNetEvents, (2, 8, 8), 1, channels=(2, 4), time_steps=3)
    with recorded(model) as firings:
        assert model(pictures(2, 1, 2, 8, 8)).shape == (2, 3)
    assert {len(each.spikes) for each in firings.values()} == {3}


def test_training_draws_steps_of_each_sample_in_order_and_evaluation_sees_all() -> None:
    model = made(SEWResNetEvents, (2, 4, 4), 8, channels=(3,), training_steps=5)
    # Each frame is full of its own number, so that the frames that are drawn can be read.
    values = torch.arange(1.0, 9.0)[None, :, None, None, None].expand(6, 8, 2, 4, 4)
    valid = torch.arange(8) < torch.tensor([8, 8, 8, 6, 3, 0])[:, None]
    seen: list[torch.Tensor] = []
    model.body[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, :, 0, 0, 0]))
    torch.manual_seed(0)
    model.train()(Batch({"x": Signal(values, valid)}))
    drawn = seen[0].T  # [B, 5]
    for frames, length in zip(drawn.tolist(), (8, 8, 8, 6, 3, 0), strict=True):
        there = [frame for frame in frames if frame]
        assert len(there) == min(length, 5)
        assert there == sorted(set(there))
        assert all(frame <= length for frame in there)
        assert frames == there + [0.0] * (5 - len(there))
    assert drawn[0].tolist() != drawn[1].tolist() or drawn[1].tolist() != drawn[2].tolist()
    model.eval()(Batch({"x": Signal(values)}))
    assert seen[1].T.tolist() == [[float(t) for t in range(1, 9)]] * 6


def test_weights_of_the_first_family_are_drawn_as_published() -> None:
    model = made(SEWResNet, (3, 32, 32), 1, width=32, blocks=(1, 1))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            wanted = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(wanted, rel=0.1), name


RECIPE = """
schema: 2
data: {name: none-installed, expect: {frames: {shape: [2, 16, 16], length: 4}}}
task: {name: multiclass, per_step: true, outputs: [a, b]}
model: {name: sew-resnet-events, params: {channels: [4, 4, 4, 4]}}
"""


def test_what_cannot_be_built_is_refused_by_the_parameter_s_name(tmp_path: Path) -> None:
    def build(*overrides: str) -> Any:
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE)
        recipe = load_recipe(path, overrides)
        return build_model(recipe, expected_problem(recipe)[0])

    build()
    build("model.params.training_steps=3", "task.per_step=false")
    with pytest.raises(DataError, match=r"model.params.pool: 4 pools of 3 leave nothing of frames with a side of 16"):
        build("model.params.pool=3")
    with pytest.raises(DataError, match=r"model.params.training_steps: the task is per step"):
        build("model.params.training_steps=3")
