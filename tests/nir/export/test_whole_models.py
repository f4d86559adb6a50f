"""Whole models as graphs: what is written, that a graph is the model spike by spike, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import UserError
from neurozoo.nir.export import export_run, read_back
from neurozoo.nir.export.tracing import folded, sample_batch, trace
from neurozoo.nir.import_graph import import_nir
from neurozoo.nir.model import NIRGraphModel
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.loading import load
from neurozoo.training.train import train

RECIPES = {
    "convnet": """
data: {name: small-frames, instead: {name: frames-synthetic, params: {size: 160, side: 8, length: 6}}}
task: multiclass
model: {name: spiking-convnet, params: {channels: [3, 4]}}
""",
    "recurrent": """
data: {name: small-spikes, instead: {name: spikes-synthetic, params: {size: 160, length: 20}}}
task: multiclass
model: {name: recurrent, params: {hidden: [12, 9]}}
""",
    "cuba": """
data: {name: small-series, instead: {name: series-synthetic, params: {size: 160, length: 20}}}
task: regression
model: {name: cuba-mlp, params: {hidden: [12, 9]}}
""",
    "residual": """
data: {name: small-frames, instead: {name: frames-synthetic, params: {size: 160, side: 16, length: 4}}}
task: multiclass
model: {name: sew-resnet, params: {width: 4, blocks: [2]}}
""",
    "voting": """
data: {name: small-frames, instead: {name: frames-synthetic, params: {size: 160, side: 8, length: 6}}}
task: {name: multiclass, params: {loss: squared}}
model: {name: plif-net, params: {channels: [3, 4], head: votes, voters: 5, hidden: 10}}
""",
    "transformer": """
data: {name: small-frames, instead: {name: frames-synthetic, params: {size: 160, side: 8, length: 6}}}
task: multiclass
model: {name: spiking-transformer, params: {width: 8, heads: 2, depth: 1}}
""",
}
SETTINGS = ("dt", "reset", "integration", "fires", "forward_delay", "recurrent_delay", "synapse_delay")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a model for an epoch; once for each choice of overrides."""
    done: dict[tuple[str, ...], Path] = {}

    def run(name: str, *overrides: str) -> Path:
        if (name, *overrides) not in done:
            folder = tmp_path_factory.mktemp(name)
            text = f"schema: 2\ndescription: a small {name}\nseed: 1\nbackend: torch\n{RECIPES[name]}"
            text += "training: {epochs: 1, batch_size: 32, threads: 1, initialisation: "
            text += "{name: fluctuation-driven, firing_rate: 0.2, batches: 1}}\n"
            (folder / f"{name}.yaml").write_text(text)
            recipe = load_recipe(folder / f"{name}.yaml", overrides, registry=default_registry())
            train(recipe, out=folder / "run")
            done[name, *overrides] = folder / "run"
        return done[name, *overrides]

    return run


def samples(run: Path, size: int = 6) -> Batch:
    """Samples of the run's own data, each position a step."""
    loaded = load(run)
    from neurozoo.models.build import open_data

    batch = next(iter(open_data(loaded.recipe).batches("valid", size)))
    return Batch({name: Signal(signal.values) for name, signal in batch.signals.items()})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides", "nodes"),
    [
        ("convnet", (), ["Input", "Conv2d", "LIF", "AvgPool2d", "Conv2d", "LIF", "AvgPool2d", "Flatten", "Affine"]),
        ("convnet", ("model.parts.neuron=if",), ["Input", "Conv2d", "IF", "AvgPool2d", "Conv2d", "IF", "AvgPool2d"]),
        ("convnet", ("model.parts.neuron={name: lif, params: {v_reset: null}}",), ["Input", "Conv2d", "LIF"]),
        ("convnet", ("model.parts.neuron={name: plif, params: {scope: neuron}}",), ["Input", "Conv2d", "LIF"]),
        ("recurrent", (), ["Input", "Affine", "LIF", "Linear", "Affine", "LIF", "Linear", "Affine", "LI"]),
        (
            "recurrent",
            ("model.params.self_connections=true", "model.parts.neuron=cuba"),
            ["Input", "Affine", "CubaLIF"],
        ),
        ("cuba", (), ["Input", "Affine", "CubaLIF", "Affine", "CubaLIF", "Affine", "LI"]),
        ("cuba", ("model.parts.neuron={name: lif, params: {apply: gain, v_reset: -0.3}}",), ["Input", "Affine", "LIF"]),
    ],
)
def test_an_exported_model_is_imported_as_itself(
    tmp_path: Path, trained: Callable[..., Path], name: str, overrides: tuple[str, ...], nodes: list[str]
) -> None:
    folder = trained(name, *overrides)
    export = export_run(folder, tmp_path / "out", dt=1e-3)
    (written,) = export.branches
    assert [node.split()[0] for node in written.nodes][: len(nodes)] == nodes
    metadata = written.settings
    settings = {key: metadata[key] for key in SETTINGS}
    import_nir(tmp_path / "out" / written.file, tmp_path / "imported", settings=settings, readout="mean")
    graph = load(tmp_path / "imported").module
    assert isinstance(graph, NIRGraphModel)

    model = folded(load(folder).module)
    traced = trace(model, samples(folder))
    with recorded(graph) as firings, torch.no_grad():
        made = graph.outputs(traced.inputs)
    ours, theirs = traced.neurons, [firings[layer] for layer in spiking_layers(graph)]
    assert len(ours) == len(theirs) == 2
    for link, theirs_ in zip(ours, theirs, strict=True):
        assert 0.01 < float(link.fired.spikes.mean()) < 0.9
        differ = int((link.fired.spikes != theirs_.spikes).sum())
        # NIR's time constants say a decay in other words, which rounds: next to nothing may differ, and of LIF nothing.
        assert differ <= (0 if metadata["neuron_kind"] in ("lif", "if") else link.fired.spikes.numel() // 1000)
    assert made.shape[2] == len(model.problem.task.outputs)


def test_a_folded_model_answers_as_the_model(trained: Callable[..., Path]) -> None:
    folder = trained("convnet")
    model, batch = load(folder).module, samples(folder)
    assert folded(model) is not model
    with torch.no_grad():
        torch.testing.assert_close(folded(model).double()(_double(batch)), model.double()(_double(batch)))
    smooth = load(trained("cuba")).module
    assert folded(smooth) is smooth


def _double(batch: Batch) -> Batch:
    return Batch({name: Signal(signal.values.double()) for name, signal in batch.signals.items()})


def test_what_is_said_of_a_whole_model(tmp_path: Path, trained: Callable[..., Path]) -> None:
    export = export_run(trained("convnet"), tmp_path / "out", dt=1e-4)
    assert [branch.file for branch in export.branches] == ["convnet.nir"]
    assert (export.kind, export.threshold, export.threshold_from) == ("model", 1.0, "each layer's own")
    told = " ".join(export.left_out)
    for words in ("batch normalisation, which is folded", "what is read of the outputs over the steps, mean"):
        assert words in told
    assert json.loads((tmp_path / "out" / "export.json").read_text())["dt"] == 1e-4
    metadata = export.branches[0].settings
    assert metadata["input"] == "frames, one position a step"
    assert (metadata["neuron_kind"], metadata["readout"]) == ("lif", "mean")


def test_a_picture_is_held(tmp_path: Path, trained: Callable[..., Path]) -> None:
    folder = trained("convnet", "data.instead.params.length=1", "model.params.time_steps=3")
    metadata = export_run(folder, tmp_path / "out", dt=1e-3).branches[0].settings
    assert metadata["time_steps"] == 3
    assert metadata["input"].endswith("one position, held for all steps, from rest")


def test_libraries_read_a_whole_model(tmp_path: Path, trained: Callable[..., Path]) -> None:
    export = export_run(trained("cuba", "model.parts.neuron=lif"), tmp_path / "out", dt=1e-4)
    found = read_back(export, ["norse", "snntorch", "spikingjelly"], registry=default_registry(), batch_size=4)
    assert [row.library for row in found.rows] == ["norse", "snntorch", "spikingjelly"]
    for row in found.rows:
        assert (row.branch, row.mismatches) == ("cuba", 0), row
        assert row.fired > 100


def test_a_library_that_drops_a_node_reads_another_network(tmp_path: Path, trained: Callable[..., Path]) -> None:
    export = export_run(trained("convnet"), tmp_path / "out", dt=1e-4)
    norse, jelly = read_back(export, ["norse", "spikingjelly"], registry=default_registry(), batch_size=4).rows
    assert norse.spikes == 0, "norse has no average pooling"
    assert norse.notes[0].startswith("refused: ")
    assert (jelly.mismatches, jelly.notes) == (0, ())
    assert jelly.fired > 100


def test_residuals_and_max_pooling_of_spikes_are_exported_and_libraries_say_why_they_refuse_them(
    tmp_path: Path, trained: Callable[..., Path]
) -> None:
    export = export_run(trained("residual"), tmp_path / "out", dt=1e-3)
    nodes = [node.split()[0] for node in export.branches[0].nodes]
    assert [nodes.count(kind) for kind in ("Conv2d", "IF", "SumPool2d", "Threshold", "AvgPool2d")] == [5, 5, 1, 1, 1]
    for row in read_back(export, ["norse", "snntorch", "spikingjelly"], registry=default_registry(), batch_size=2).rows:
        refused = bool(row.notes) and row.notes[0].startswith("refused: ")
        assert (row.mismatches, row.spikes > 0) == ((None, False) if refused else (0, True)), row


def test_votes_are_no_part_of_a_graph(tmp_path: Path, trained: Callable[..., Path]) -> None:
    export = export_run(trained("voting"), tmp_path / "out", dt=1e-3)
    outputs = load(trained("voting")).outputs
    made = 5 * len(outputs)
    assert f"how the {made} numbers of the graph's output become {len(outputs)} outputs" in export.left_out
    assert export.branches[0].nodes[-2:] == (f"LIF {made}", f"Output {made}")


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("transformer", (), r"blocks\.0\.query.*gets what .* makes|for which NIR has no node"),
        (
            "recurrent",
            ("model.parts.neuron=alif",),
            r"layers\.0: NIR has no node for alif neurons, whose threshold adapts to their spikes; it has",
        ),
        ("recurrent", ("model.parts.neuron=adlif",), r"layers\.0: NIR has no node for adlif neurons"),
        (
            "cuba",
            ("model.parts.neuron={name: cuba, params: {order: fire-first}}",),
            r"layers\.0: cuba neurons of the order fire-first",
        ),
    ],
)
def test_what_nir_cannot_say_is_refused_by_name(
    tmp_path: Path, trained: Callable[..., Path], name: str, overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        export_run(trained(name, *overrides), tmp_path / "out", dt=1e-3)
    assert not (tmp_path / "out").exists()


def test_thresholds_are_the_layers_own(tmp_path: Path, trained: Callable[..., Path]) -> None:
    for options in ({"threshold": 1.0}, {"fold": True}):
        with pytest.raises(UserError, match=r"no spiking branches, and .* leave out --threshold and --fold"):
            export_run(trained("cuba"), tmp_path / "out", dt=1e-3, **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="dt is -1; give a positive number"):
        export_run(trained("cuba"), tmp_path / "out", dt=-1)


def test_tracing_leaves_no_trace(trained: Callable[..., Path]) -> None:
    model = load(trained("convnet")).module
    before = {name: each.clone() for name, each in model.state_dict().items()}
    trace(model, sample_batch(model.problem))
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
