"""Published models as graphs: those that NIR can say have the model's spikes, the others are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import neurozoo
from neurozoo.core.model import Model
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import UserError
from neurozoo.nir.export.model_graph import model_graph, neuron_names
from neurozoo.nir.export.tracing import Traced, folded, sample_batch, trace
from neurozoo.nir.import_graph import import_nir
from neurozoo.nir.model import NIRGraphModel
from neurozoo.nir.writing import file_content, up_to
from neurozoo.runs.loading import load

DT = 1e-3
SETTINGS: Mapping[str, Any] = {
    "dt": DT, "reset": "value", "integration": "euler", "fires": "above", "forward_delay": 0, "recurrent_delay": 1,
    "synapse_delay": 0,
}  # fmt: skip
PICTURE: Mapping[str, Any] = {"inputs": (3, 16, 16), "length": 1, "outputs": 4, "time_steps": 5}
FRAMES: Mapping[str, Any] = {"inputs": (2, 16, 16), "length": 6, "outputs": 4}
TRAINS: Mapping[str, Any] = {"inputs": (12,), "length": 40, "outputs": 4}


def awake(name: str, **params: Any) -> Model:
    """Return a model with random weights and norms, whose neurons fire."""
    torch.manual_seed(0)
    model = neurozoo.create_model(name, **params).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 1.0, 3.0)
            nn.init.uniform_(module.bias, -0.5, 2.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 2 / module.in_features, 3 * module.in_features**-0.5)
    return model


def samples(model: Model, size: int = 3) -> Batch:
    ((name, shape),) = model.problem.signals.items()
    x = torch.rand(size, shape.length, *shape.shape, generator=torch.Generator().manual_seed(1))
    return Batch({name: Signal((x > 0.6).float() if len(shape.shape) == 1 else 2 * x)})


def imported(traced: Traced, folder: Path) -> NIRGraphModel:
    """Write a traced model as a file, and read it with the importer."""
    graph = model_graph(traced, dt=DT, metadata={})
    (folder / "a.nir").write_bytes(file_content(graph))
    import_nir(folder / "a.nir", folder / "imported", settings=SETTINGS, readout="mean")
    module = load(folder / "imported").module
    assert isinstance(module, NIRGraphModel)
    return module


@pytest.mark.parametrize(
    ("name", "params", "kinds"),
    [
        (
            "sew-resnet",
            {**PICTURE, "width": 4, "blocks": (2, 1)},
            {"Conv2d": 8, "IF": 8, "SumPool2d": 1, "Threshold": 1, "AvgPool2d": 1, "Flatten": 1, "Affine": 1},
        ),
        ("sew-resnet", {**PICTURE, "width": 4, "blocks": (1,), "block": "bottleneck", "neuron": "lif"}, {"LIF": 5}),
        (
            "plif-net",
            {**FRAMES, "channels": (4, 6), "hidden": 20},
            {"Conv2d": 2, "LIF": 3, "SumPool2d": 2, "Threshold": 2, "Linear": 1, "Affine": 1},
        ),
        ("plif-net", {**FRAMES, "channels": (4,), "pool": "mean", "head": "votes", "hidden": 20}, {"LIF": 3}),
        ("spiking-convnet", {**FRAMES, "channels": (4, 6)}, {"Conv2d": 2, "LIF": 2, "AvgPool2d": 2, "Affine": 1}),
        ("cuba-rsnn", {**TRAINS, "hidden": 20, "neuron": "cuba"}, {"CubaLIF": 1, "Linear": 3, "LI": 2, "Delay": 1}),
        ("sparch", {**TRAINS, "hidden": (20,), "neuron": "lif"}, {"Affine": 2, "LIF": 1, "Linear": 1, "LI": 1}),
    ],
)
def test_a_published_model_is_imported_as_itself(
    tmp_path: Path, name: str, params: Mapping[str, Any], kinds: Mapping[str, int]
) -> None:
    model = folded(awake(name, **params))
    traced = trace(model, samples(model))
    module = imported(traced, tmp_path)
    found = [node.kind for node in module.graph.nodes]
    assert {kind: found.count(kind) for kind in kinds} == kinds  # type: ignore[arg-type]
    with recorded(module) as firings, torch.no_grad():
        module.outputs(traced.inputs)
    by_node = {layer.partition(".")[2].partition(".")[0]: each for layer, each in firings.items()}
    assert len(spiking_layers(module)) == len(traced.neurons) + found.count("Threshold")
    for link, node in zip(traced.neurons, neuron_names(traced), strict=True):
        ours, theirs = link.fired.spikes, by_node[node].spikes
        assert 0.01 < float(ours.mean()) < 0.99, link.name
        # A decay in NIR's words is rounded, by which next to nothing may differ; of LIF and IF nothing.
        rounded = link.layer.spec.kind in ("plif", "cuba")
        assert int((ours != theirs).sum()) <= (ours.numel() // 500 if rounded else 0), link.name


def test_the_outputs_of_a_graph_with_sums_are_the_models(tmp_path: Path) -> None:
    model = folded(awake("sew-resnet", **PICTURE, width=4, blocks=(2,)))
    batch = samples(model)
    module = imported(trace(model, batch), tmp_path)
    with torch.no_grad():
        made = module.outputs(trace(model, batch).inputs)
        torch.testing.assert_close(made.mean(0), model(batch))


def test_a_residual_is_two_edges_into_one_node() -> None:
    model = folded(awake("sew-resnet", **PICTURE, width=4, blocks=(2,)))
    graph = model_graph(trace(model, samples(model)), dt=DT, metadata={})
    sources = {after: {before for before, last in graph.edges if last == after} for _, after in graph.edges}
    assert sources["conv_2"] == {"threshold_1"}
    assert sources["conv_4"] == {"threshold_1", "if_3"}  # the stem's pooled spikes, and the first block's
    assert sources["avgpool_1"] == {"threshold_1", "if_3", "if_5"}
    part = up_to(graph, "if_3")
    assert set(part.nodes) == {
        "input", "conv_1", "if_1", "sumpool_1", "threshold_1", "conv_2", "if_2", "conv_3", "if_3", "output",
    }  # fmt: skip


def test_a_net_that_runs_on_gets_zeros_after_its_input() -> None:
    model = folded(awake("cuba-rsnn", **TRAINS, hidden=20, neuron="cuba"))
    traced = trace(model, samples(model))
    assert traced.run_on == 1
    assert len(traced.inputs) == TRAINS["length"] + 1
    assert not traced.inputs[-1].any()
    kept = folded(awake("cuba-rsnn", **TRAINS, hidden=20, neuron="cuba", latency="kept"))
    assert trace(kept, samples(kept)).run_on == 0


def test_max_pooling_of_spikes_is_a_sum_and_a_threshold() -> None:
    model = folded(awake("plif-net", **FRAMES, channels=(4,)))
    graph = model_graph(trace(model, samples(model)), dt=DT, metadata={})
    pool, threshold = graph.nodes["sumpool_1"], graph.nodes["threshold_1"]
    assert (pool.kernel_size.tolist(), pool.stride.tolist(), pool.padding.tolist()) == ([2, 2], [2, 2], [0, 0])
    assert threshold.threshold.shape == (4, 8, 8)
    assert set(threshold.threshold.flatten()) == {0.5}


def test_folding_reaches_every_norm_behind_a_weight() -> None:
    for name, params in (
        ("sparch", {**TRAINS, "hidden": (8,)}),
        ("plif-net", {**FRAMES, "channels": (4,), "statistics": "each-step"}),
        ("spike-driven-transformer", {**PICTURE, "width": 8, "heads": 1, "depth": 1}),
    ):
        model = awake(name, **params).double()
        ((signal, values),) = ((each, s.values.double()) for each, s in samples(model).signals.items())
        batch = Batch({signal: Signal(values)})
        again = folded(model)
        assert again is not model
        left = {each for each, module in again.named_modules() if isinstance(module, nn.BatchNorm1d)}
        assert left == ({"blocks.0.attention.gate.synapse.norm"} if name.startswith("spike") else set())
        with torch.no_grad():
            torch.testing.assert_close(again(batch), model(batch))


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("cuba-rsnn", {**TRAINS, "hidden": 8}, r"hidden: cuba neurons of the order fire-first"),
        ("lsnn", TRAINS, r"recurrent: NIR has no node for alif neurons, .*adapts"),
        ("sparch", {**TRAINS, "hidden": (8,)}, r"layers\.0: NIR has no node for adlif neurons, .*adapts"),
        (
            "dcls-delays",
            {**TRAINS, "hidden": (8,), "kernel": 5},
            r"layers\.0\.synapse: each of its synapses has a delay",
        ),
        (
            "sew-resnet",
            {**PICTURE, "width": 4, "blocks": (1,), "connect": "and"},
            r"head \(Linear\) gets the mean of stages\.1\.0\.branch\.1 \(SpikingLayer\), pool \(MaxPool2d\)",
        ),
        (
            "sew-resnet-events",
            {**FRAMES, "channels": (4,)},
            r"body\.2: NIR has no max pooling; .* those of body\.1\.branch\.1 \+ body\.0",
        ),
        (
            "spikformer",
            {**PICTURE, "width": 8, "heads": 1, "depth": 1},
            r"blocks\.0\.attention\.attended \(SpikingLayer\) gets the mul of blocks\.0\.attention\.product "
            r"\(SpikingAttention\), for which NIR has no node",
        ),
        (
            "qkformer",
            {**PICTURE, "width": 16, "heads": 1},
            r"stages\.0\.blocks\.0\.attention\.gate .* gets the sum of ",
        ),
        (
            "spike-driven-transformer",
            {**PICTURE, "width": 8, "heads": 1, "depth": 1},
            r"blocks\.0\.attention\.gate \(SpikingLayer\) gets the sum of blocks\.0\.attention\.k \(SpikingLayer\), "
            r"blocks\.0\.attention\.v",
        ),
        (
            "spikegpt",
            {"inputs": (), "length": 5, "outputs": 12, "width": 8, "depth": 1, "per_step": True},
            r"blocks\.0\.tokens .* gets what blocks\.0\.token_norm \(LayerNorm\) makes",
        ),
        (
            "ispikformer",
            {"inputs": (4,), "length": 6, "outputs": 8, "task": "regression", "width": 8, "heads": 1, "depth": 1},
            r"encoder \(SpikingLayer\) gets the \w+ of other tensors, for which NIR has no node",
        ),
    ],
)
def test_what_nir_cannot_say_of_a_published_model_is_named(name: str, params: Mapping[str, Any], words: str) -> None:
    model = folded(awake(name, **params))
    with pytest.raises(UserError, match=words):
        model_graph(trace(model, sample_batch(model.problem)), dt=DT, metadata={})
