"""Every published model is counted whole: each synapse knows what it is fed, and its control is a plain network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurozoo
from neurozoo.core.layer import Firing
from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.model_summary import summarise
from neurozoo.operations.profiling import relu_control
from neurozoo.operations.result import Counts
from neurozoo.registry.registry import default_registry

PICTURE: Mapping[str, Any] = {"inputs": (3, 16, 16), "length": 1, "outputs": 4}
TRAINS: Mapping[str, Any] = {"inputs": (12,), "length": 7, "outputs": 4}
SMALL: Mapping[str, Mapping[str, Any]] = {
    "spikformer": {**PICTURE, "width": 16, "heads": 2, "depth": 2},
    "qkformer": {**PICTURE, "width": 16, "heads": 2, "token_stages": 1, "depth": 1},
    "spike-driven-transformer": {**PICTURE, "width": 16, "heads": 2, "depth": 1},
    "sew-resnet": {**PICTURE, "width": 4, "blocks": (1, 2)},
    "sew-resnet-events": {"inputs": (2, 16, 16), "length": 3, "outputs": 4, "channels": (4, 6)},
    "plif-net": {"inputs": (2, 16, 16), "length": 3, "outputs": 4, "channels": (4, 6)},
    "sparch": {**TRAINS, "hidden": (8, 8)},
    "dcls-delays": {**TRAINS, "hidden": (8, 8), "kernel": 5},
    "cuba-rsnn": {**TRAINS, "hidden": 8},
    "lsnn": {**TRAINS, "regular": 4, "adaptive": 4},
    "spikegpt": {"inputs": (), "length": 7, "outputs": 11, "width": 8, "depth": 2, "per_step": True},
    "ispikformer": {
        "inputs": (5,),
        "length": 6,
        "outputs": 10,
        "task": "regression",
        "width": 8,
        "heads": 2,
        "depth": 2,
    },
}  # fmt: skip
BLOCK = {"q": "whole", "k": "whole", "v": "whole", "product": "bits", "proj": "bits", "fc1": "whole", "fc2": "bits"}
FED: Mapping[str, Mapping[str, str]] = {
    "spikformer": {"stages.0": "real", "stages.1": "bits", "position": "bits", **BLOCK, "head": "real"},
    "qkformer": {
        "stages.0.patches.layers.0": "real", "stages.0.patches.layers.1": "bits", "stages.0.patches.shortcut": "bits",
        "stages.1.patches.layers.0": "whole", "stages.1.patches.shortcut": "whole", **BLOCK, "head": "real",
    },
    "spike-driven-transformer": {
        "stages.0": "real", "last": "bits", "position": "bits", **dict.fromkeys(BLOCK, "bits"), "head": "bits",
    },
    "sew-resnet": {
        "stem": "real", "stages.1.0.branch.0": "bits", "stages.2.0.branch.0": "whole", "stages.2.0.branch.1": "bits",
        "stages.2.0.shortcut": "whole", "stages.2.1.branch.0": "whole", "head": "real",
    },
    "sew-resnet-events": {"body.0": "real", "body.1.branch.0": "bits", "body.3": "whole", "head": "whole"},
    "plif-net": {"blocks.0": "real", "blocks.1": "bits", "hidden": "bits", "head": "bits"},
    "sparch": {"layers.0.synapse": "bits", "layers.0.recurrent": "bits", "layers.2": "bits"},
    "dcls-delays": dict.fromkeys(("layers.0", "layers.1", "layers.2"), "bits"),
    "cuba-rsnn": {"hidden.synapse": "bits", "hidden.recurrent": "bits", "filtered": "bits"},
    "lsnn": {"recurrent.synapse": "bits", "recurrent.recurrent": "bits", "head": "bits"},
    "spikegpt": {"tokens": "real", "channels": "real", "head": "real"},
    "ispikformer": {"encoder": "real", "embedding": "bits", **BLOCK, "head": "real"},
}  # fmt: skip
"""By what is in a layer's name: what it is fed, while every neuron fires at every other step or so."""


def made(name: str, form: Any = "corrected") -> tuple[Model, Batch]:
    """Return a small model with random weights, and three samples of it."""
    torch.manual_seed(0)
    model = neurozoo.create_model(name, form=form, **SMALL[name]).eval()
    ((signal, shape),) = model.problem.signals.items()
    x = torch.rand(3, shape.length, *shape.shape)
    if not shape.shape:
        x = torch.randint(0, 11, (3, shape.length))
    elif SMALL[name].get("length") == TRAINS["length"]:
        x = (x > 0.5).float()
    return model, Batch({signal: Signal(x)})


def firing(model: Model, batch: Batch) -> Counts:
    """Count a model whose neurons fire at random, so that no sum of spikes is 0 because its weights are new."""
    generator = torch.Generator().manual_seed(1)

    def change(name: str, firing: Firing) -> Tensor | None:
        spiking = model.get_submodule(name).spec.spiking  # type: ignore[union-attr]
        return torch.randint(0, 2, firing.spikes.shape, generator=generator).float() if spiking else None

    with torch.no_grad(), recorded(model, change), OperationCounter(model) as counter:
        model(batch)
    return counter.counts(len(batch))


def test_all_published_models_are_here() -> None:
    registry = default_registry()
    published = {name for name in registry.components("model") if registry.resolve("model", name).variants}
    assert published == set(SMALL) == set(FED)


@pytest.mark.parametrize("name", SMALL)
def test_nothing_that_has_weights_is_left_out(name: str) -> None:
    model, batch = made(name)
    counts = firing(model, batch)
    assert not counts.uncounted
    assert counts.parameters == sum(each.numel() for each in model.parameters())
    assert all(each.called for each in counts.elsewhere if each.parameters and each.module != "ParameterDict")
    for layer in counts.layers:
        if layer.kind in ("synaptic", "attention"):
            assert 0 < layer.effective <= layer.dense, layer
            assert layer.fed is not None
            assert (layer.macs == 0) if layer.fed == "bits" else True
            assert (layer.acs == layer.repeated == 0) if layer.fed == "real" else True


@pytest.mark.parametrize("name", SMALL)
def test_what_each_synapse_is_fed(name: str) -> None:
    """Where several words of the table are in a name, the last of them counts."""
    counts = firing(*made(name))
    seen = set()
    for layer in counts.layers:
        if layer.kind not in ("synaptic", "attention"):
            continue
        of = [word for word in FED[name] if word in layer.name]
        if not of:
            continue
        expected = FED[name][of[-1]]
        if name == "ispikformer" and layer.name.startswith("blocks.0.attention"):
            expected = "bits"  # the first block gets the embedding's spikes
        if name == "sew-resnet-events" and layer.name == "body.3.branch.1.synapse.weight":
            expected = "bits"
        assert layer.fed == expected, (layer.name, layer.fed)
        seen.add(of[-1])
    assert seen >= {word for word in FED[name] if word not in BLOCK}


@pytest.mark.parametrize("name", ["spikformer", "qkformer", "spike-driven-transformer", "sew-resnet"])
def test_a_control_of_a_picture_is_a_plain_network_of_one_step(name: str) -> None:
    model, batch = made(name)
    control, _ = relu_control(model)
    assert control is not None
    spiking, plain = firing(model, batch), firing(control, batch)
    assert (plain.acs, plain.updates, plain.attention > 0) == (0, 0, spiking.attention > 0)
    for ours, theirs in zip(spiking.layers, plain.layers, strict=True):
        once = ours.presented > 1  # a held picture's first synapse multiplies once in both
        assert ours.dense == (1 if once else 4) * theirs.dense, ours.name
    for ours, theirs in zip(spiking.elsewhere, plain.elsewhere, strict=True):
        assert theirs.arithmetic < ours.arithmetic or ours.arithmetic == 0
        if ours.module in ("ResidualBlock", "_Block"):
            assert ours.additions == 4 * theirs.additions > 0


def test_steps_that_round_differently_are_one_step() -> None:
    torch.manual_seed(0)
    model = neurozoo.create_model("spikformer", **{**PICTURE, "width": 32, "heads": 4, "depth": 3}).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 1, 3)  # so that numbers grow from layer to layer
    control, _ = relu_control(model)
    assert control is not None
    counts = [firing(each, Batch({"input": Signal(torch.rand(5, 1, 3, 16, 16))})) for each in (model, control)]
    for ours, theirs in zip(counts[0].layers, counts[1].layers, strict=True):
        once = ours.presented > 1  # a held picture's first synapse multiplies once in both
        assert ours.dense == (1 if once else 4) * theirs.dense, ours.name


def test_the_numbers_of_a_control_stay_finite() -> None:
    model, batch = made("spikformer")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.constant_(module.weight, 30.0)
    control, _ = relu_control(model)
    assert control is not None
    with torch.no_grad(), recorded(control) as firings:
        assert control(batch).isfinite().all()
    assert all(each.currents.isfinite().all() for each in firings.values())
    assert max(float(each.spikes.max()) for each in firings.values()) == 1e4


@pytest.mark.parametrize("form", ["corrected", "published"])
@pytest.mark.parametrize("name", ["sparch", "dcls-delays", "cuba-rsnn", "lsnn", "spikegpt", "plif-net"])
def test_a_control_of_a_sequence_has_all_its_steps(name: str, form: str) -> None:
    model, batch = made(name, form)
    control, _ = relu_control(model)
    assert control is not None
    spiking, plain = firing(model, batch), firing(control, batch)
    assert [each.dense for each in plain.layers] == [each.dense for each in spiking.layers]


def test_the_gates_of_attention_without_matrices_are_named() -> None:
    driven, tokens = firing(*made("spike-driven-transformer")), firing(*made("qkformer"))
    (gated,) = [each for each in driven.elsewhere if each.module == "_GatedQueries"]
    # Keys with values, and queries with the gate, at 4 steps of 3 samples with 16 channels and 4 x 4 places; a sum a
    # channel over 16 places.
    assert (gated.gates, gated.additions, gated.multiplications) == (2 * 12 * 16 * 16, 12 * 16 * 15, 0)
    (token,) = [each for each in tokens.elsewhere if each.module == "_TokenAttention"]
    # 8 channels and 16 x 16 places in 2 heads of 4 channels.
    assert (token.gates, token.additions) == (12 * 8 * 256, 12 * 2 * 3 * 256)


def test_the_token_mix_of_spikegpt_is_real_and_named() -> None:
    counts = firing(*made("spikegpt"))
    (mix,) = [each for each in counts.elsewhere if each.module == "TokenMix"]
    # Two blocks of 3 samples, 7 steps and 8 features: each of three mixes takes two products, and more follows.
    assert mix.multiplications + mix.gates > 2 * 3 * 7 * 8 * 6
    assert mix.functions > 0


def test_a_summary_tells_what_each_layer_is_fed() -> None:
    model, _ = made("spikformer")
    found = {layer.name: layer.fed for layer in summarise(model).layers}
    assert found["patches.stages.0.synapse.weight"] == "real"
    assert found["patches.stages.1.synapse.weight"] == "bits"
    assert found["blocks.1.attention.q.synapse.weight"] == "whole"
    assert found["blocks.0.mlp.fc2.synapse.weight"] == "bits"
    assert found["position"] is None
