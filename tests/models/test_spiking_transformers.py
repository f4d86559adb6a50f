"""Spikformer, QKFormer, Spike-driven Transformer: sizes, rates at initialisation, and what their quirks do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.model import Model
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.models.qkformer import QKFormer
from neurozoo.models.spike_driven_transformer import SpikeDrivenTransformer
from neurozoo.models.spikformer import Spikformer
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression
from neurozoo.training.initialisation import initialise_fluctuation_driven

MODELS = (Spikformer, QKFormer, SpikeDrivenTransformer)
CLASSES = Multiclass(("a", "b", "c"))
SMALL: dict[type[Model], dict[str, Any]] = {
    Spikformer: {"width": 16, "heads": 2, "depth": 1, "ratio": 2},
    QKFormer: {"width": 16, "heads": 2, "depth": 1, "ratio": 2},
    SpikeDrivenTransformer: {"width": 16, "heads": 2, "depth": 1, "ratio": 2},
}
ON_FRAMES: dict[type[Model], dict[str, Any]] = {
    Spikformer: {"pools": (1, 2, 3, 4)},
    QKFormer: {"token_stages": 1, "stem": "eighth"},
    SpikeDrivenTransformer: {"pools": (2, 3, 4), "attention_pools": True},
}


def built(model: type[Model], shape: SignalShape, task: Task = CLASSES, **params: Any) -> Model:
    torch.manual_seed(0)
    problem = Problem({"x": shape}, task)
    made: Model = model(problem, lambda *_: None, TorchNeuron, **{**SMALL[model], **params})  # type: ignore[call-arg]
    return made


def samples(shape: SignalShape, count: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    size = (count, shape.length, *shape.shape)
    if shape.length == 1:
        return Batch({"x": Signal(torch.randn(size, generator=generator))})
    return Batch({"x": Signal(torch.poisson(torch.full(size, 0.1), generator))})


def outputs(model: Model, batch: Batch) -> Tensor:
    with torch.no_grad():
        answer: Tensor = model.eval()(batch)
    return answer


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("frames", [False, True])
def test_no_layer_is_silent_or_saturated_at_initialisation(model: type[Model], frames: bool) -> None:
    shape = SignalShape((2, 128, 128), 4) if frames else SignalShape((3, 32, 32), 1)
    made, batch = built(model, shape, **(ON_FRAMES[model] if frames else {})), samples(shape)
    initialise_fluctuation_driven(made, batch, 0.2)
    for training in (False, True):
        made.train(training)
        with recorded(made) as firings, torch.no_grad():
            made(batch)
        rates = {name: float(firings[name].spikes.mean()) for name in spiking_layers(made)}
        assert all(0.01 <= rate <= 0.5 for rate in rates.values()), rates


@pytest.mark.parametrize(
    ("model", "layer", "prepared", "low", "high"),
    [
        (Spikformer, "blocks.0.attention.attended", False, 0.0, 0.01),
        (QKFormer, "stages.2.blocks.0.attention.attended", False, 0.0, 0.01),
        (SpikeDrivenTransformer, "blocks.0.attention.gate", True, 0.5, 1.0),
    ],
)
def test_raw_sums_leave_neurons_silent_or_saturated(
    model: type[Model], layer: str, prepared: bool, low: float, high: float
) -> None:
    shape = SignalShape((3, 32, 32), 1)
    made, batch = built(model, shape, attention_current="raw"), samples(shape)
    if prepared:
        initialise_fluctuation_driven(made, batch, 0.2)
    with recorded(made.train()) as firings, torch.no_grad():
        made(batch)
    assert low <= float(firings[layer].spikes.mean()) <= high


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("task", [CLASSES, Multilabel(("a", "b")), Regression(("a",)), Multiclass(("a", "b"), True)])
def test_any_size_and_task(model: type[Model], task: Task) -> None:
    shape = SignalShape((5, 9, 14), 3)  # odd, not square, five channels
    batch = samples(shape)
    answer = outputs(built(model, shape, task), batch)
    assert answer.shape == ((4, 3, len(task.outputs)) if task.per_step else (4, len(task.outputs)))
    if not task.per_step:
        picture = SignalShape((5, 9, 14), 1)
        assert outputs(built(model, picture, task), samples(picture)).shape == (4, len(task.outputs))


@pytest.mark.parametrize("model", MODELS)
def test_what_pads_takes_no_part(model: type[Model]) -> None:
    shape = SignalShape((2, 8, 8), 5)
    made, batch = built(model, shape), samples(shape)
    initialise_fluctuation_driven(made, batch, 0.2)
    values, valid = batch.signals["x"].values, torch.arange(5).expand(4, 5) < torch.tensor([5, 2, 3, 5])[:, None]
    short = outputs(made, Batch({"x": Signal(values, valid)}))
    other = torch.where(valid[..., None, None, None], values, 7.0)
    assert torch.equal(short, outputs(made, Batch({"x": Signal(other, valid)})))
    alone = outputs(made, Batch({"x": Signal(values[1:2, :2])}))
    torch.testing.assert_close(short[1:2], alone)


@pytest.mark.parametrize(
    ("model", "params", "parameter"),
    [
        (Spikformer, {"width": 12}, "width"),
        (Spikformer, {"heads": 3}, "heads"),
        (Spikformer, {"pools": (3, 3)}, "pools"),
        (QKFormer, {"width": 20}, "width"),
        (QKFormer, {"stem": "eighth", "width": 16}, "width"),
        (QKFormer, {"heads": 8}, "heads"),
        (SpikeDrivenTransformer, {"width": 12}, "width"),
        (SpikeDrivenTransformer, {"heads": 3}, "heads"),
    ],
)
def test_an_impossible_size_is_refused_by_name(model: type[Model], params: dict[str, Any], parameter: str) -> None:
    from neurozoo.recipe.params import component_params

    defaults = {name: each.default for name, each in component_params(model).items()}
    wrong = dict(model.check_params(None, **{**defaults, **SMALL[model], **params}))
    assert parameter in wrong
    assert not dict(model.check_params(None, **{**defaults, **SMALL[model]}))


def test_state_over_samples_is_what_makes_qkformer_depend_on_its_neighbours() -> None:
    shape = SignalShape((3, 12, 12), 1)
    batch = samples(shape)
    flipped = Batch({"x": Signal(batch.signals["x"].values.flip(0))})
    for state, same in (("per-sample", True), ("over-samples", False)):
        made = built(QKFormer, shape, state=state)
        initialise_fluctuation_driven(made, batch, 0.2)
        assert torch.allclose(outputs(made, batch), outputs(made, flipped).flip(0)) is same, state


def test_heads_matter_only_where_pools_run_over_channels() -> None:
    shape = SignalShape((2, 16, 16), 3)
    batch = samples(shape)
    for pools, axes, same in ((False, "picture", True), (True, "picture", True), (True, "tokens-and-channels", False)):
        answers = []
        for heads in (1, 4):
            made = built(SpikeDrivenTransformer, shape, heads=heads, attention_pools=pools, pool_axes=axes)
            initialise_fluctuation_driven(made, batch, 0.3)
            answers.append(outputs(made, batch))
        assert torch.equal(*answers) is same, (pools, axes)


def test_a_hidden_layer_as_wide_as_the_stream_is_added_to_it() -> None:
    shape = SignalShape((3, 8, 8), 1)
    made = built(SpikeDrivenTransformer, shape, ratio=1)
    batch = samples(shape)
    initialise_fluctuation_driven(made, batch, 0.2)
    mlp = made.get_submodule("blocks.0.mlp")
    u = torch.randn(4, 2, 16, 4, 4)
    with torch.no_grad():
        middle = u + mlp.fc1(u, None)
        assert torch.equal(mlp(u, None), middle + mlp.fc2(middle, None))


def test_the_loss_of_each_step_needs_a_task_per_sample() -> None:
    problem = Problem({"x": SignalShape((2, 8, 8), 3)}, CLASSES)
    params = {"loss_steps": "each", "width": 16, "heads": 2, "pools": ()}
    assert not dict(SpikeDrivenTransformer.check_params(problem, **params))
    per_step = replace(problem, task=Multiclass(("a", "b"), True))
    assert "loss_steps" in dict(SpikeDrivenTransformer.check_params(per_step, **params))
