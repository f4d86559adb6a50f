"""A graph that was imported goes back as it was; and a branch that was exported comes back as itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
import torch

from neurozoo.errors import UserError
from neurozoo.models.build import open_data
from neurozoo.nir.export import export_run, read_back
from neurozoo.nir.export.branches import observe
from neurozoo.nir.import_graph import import_nir
from neurozoo.nir.model import NIRGraphModel
from neurozoo.nir.reading import read_nir
from neurozoo.registry.registry import default_registry
from neurozoo.runs.loading import load

SETTINGS = {
    "dt": 1e-4,
    "reset": "value",
    "integration": "euler",
    "fires": "above",
    "forward_delay": 0,
    "recurrent_delay": 1,
    "synapse_delay": 0,
}


def full(shape: tuple[int, ...], **values: float) -> dict[str, np.ndarray]:
    return {name: np.full(shape, value) for name, value in values.items()}


def recurrent() -> nir.NIRGraph:
    """Two kinds of neuron of unequal constants, and one that hears itself within a graph of its own."""
    rng = np.random.default_rng(0)
    values = full((4,), tau_syn=0.004, tau_mem=0.01, r=2.0, v_leak=0.1, v_threshold=0.5, v_reset=-0.2, w_in=1.5)
    inner = nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([4])}),
            "lif": nir.CubaLIF(**(values | {"tau_mem": np.array([0.01, 0.02, 0.03, 0.04])})),
            "w_rec": nir.Linear(rng.normal(size=(4, 4)).astype(np.float32)),
            "output": nir.Output({"output": np.array([4])}),
        },
        edges=[("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    nodes = {
        "input": nir.Input({"input": np.array([3])}),
        "fc": nir.Affine(rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=4).astype(np.float32)),
        "rnn": inner,
        "late": nir.Delay(np.array([0.0, 0.001, 0.002, 0.003])),
        "scale": nir.Scale(rng.normal(size=4).astype(np.float32)),
        "soft": nir.CubaLI(**full((4,), tau_syn=0.004, tau_mem=0.01, r=2.0, v_leak=0.1, w_in=1.5)),
        "li": nir.LI(**full((4,), tau=0.02, r=1.0, v_leak=0.0)),
        "i": nir.I(**full((4,), r=3.0)),
        "sharp": nir.Threshold(np.full(4, 0.3)),
        "output": nir.Output({"output": np.array([4])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)))


def convolutional() -> nir.NIRGraph:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2, 1, 3, 3)).astype(np.float32)
    nodes = {
        "input": nir.Input({"input": np.array([1, 8, 8])}),
        "conv": nir.Conv2d((8, 8), weights, (2, 1), (1, 1), (1, 1), 1, rng.normal(size=2).astype(np.float32)),
        "if": nir.IF(**full((2, 4, 8), r=1000.0, v_threshold=1.0, v_reset=0.0)),
        "sum": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "average": nir.AvgPool2d(np.array([1, 2]), np.array([1, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
        "fc": nir.Linear(rng.normal(size=(3, 8)).astype(np.float32)),
        "lif": nir.LIF(**full((3,), tau=0.004, r=1.0, v_leak=0.0, v_threshold=0.5, v_reset=0.0)),
        "output": nir.Output({"output": np.array([3])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)))


def imported(file: Path, tmp_path: Path) -> Path:
    import_nir(file, tmp_path / "imported", settings=SETTINGS)
    return tmp_path / "imported"


def assert_comes_back(file: Path, tmp_path: Path) -> None:
    export = export_run(imported(file, tmp_path), tmp_path / "out")
    (branch,) = export.branches
    before, after = read_nir(file), read_nir(tmp_path / "out" / branch.file)
    assert {node.name: node for node in after.graph.nodes} == {node.name: node for node in before.graph.nodes}
    assert after.graph.edges == before.graph.edges
    assert after.weights.keys() == before.weights.keys()
    for name, arrays in before.weights.items():
        assert arrays.keys() == after.weights[name].keys()
        assert all(np.array_equal(array, after.weights[name][key]) for key, array in arrays.items())
    assert after.metadata["model"] == "nir-graph"
    assert {name: after.metadata[name] for name in SETTINGS} == {name: str(value) for name, value in SETTINGS.items()}


@pytest.mark.parametrize("make", [recurrent, convolutional])
def test_a_graph_comes_back_node_by_node(make: Callable[[], nir.NIRGraph], tmp_path: Path) -> None:
    nir.write(tmp_path / "graph.nir", make())
    assert_comes_back(tmp_path / "graph.nir", tmp_path)


DATA = os.environ.get("NEUROZOO_TEST_DATA")


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="NEUROZOO_TEST_DATA names no folder with nir/")
@pytest.mark.parametrize("name", ["lif", "braille_noDelay_bias_zero", "braille_noDelay_noBias_subtract", "cnn"])
def test_graphs_of_others_come_back(name: str, tmp_path: Path) -> None:
    assert_comes_back(Path(str(DATA)) / "nir" / f"{name}.nir", tmp_path)


def test_a_graph_is_what_it_is(tmp_path: Path) -> None:
    nir.write(tmp_path / "graph.nir", recurrent())
    run = imported(tmp_path / "graph.nir", tmp_path)
    for options in ({"dt": 1e-3}, {"threshold": 1.0}, {"fold": True}):
        with pytest.raises(UserError, match=r"is a NIR graph that was imported, .* leave out --threshold"):
            export_run(run, tmp_path / "out", **options)  # type: ignore[arg-type]
    export = export_run(run, tmp_path / "out", dt=1e-4)
    assert (export.threshold, export.dt, export.reset) == (None, 1e-4, "value")
    with pytest.raises(UserError, match="whose neurons have thresholds of their own"):
        read_back(export, ["norse"], registry=default_registry())


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("v_reset", ["0.0", "-0.4"])
def test_an_exported_branch_is_imported_as_itself(
    tmp_path: Path, run: Callable[..., Path], fold: bool, v_reset: str
) -> None:
    folder = run(f"model.parts.activation={{name: lif, params: {{v_reset: {v_reset}}}}}")
    export = export_run(folder, tmp_path / "out", dt=1e-3, threshold=0.5, fold=fold)
    metadata = export.branches[0].settings
    settings = {name: metadata[name] for name in ("dt", "reset", "integration", "fires", "forward_delay")}
    import_nir(tmp_path / "out" / "audio.nir", tmp_path / "imported", settings=settings)
    trained, graph = load(folder), load(tmp_path / "imported").module
    assert isinstance(graph, NIRGraphModel)
    batch = next(iter(open_data(trained.recipe).batches("valid", 10)))
    seen = observe(trained.module, batch, 0.5)["audio"]
    with torch.no_grad():
        made = graph.outputs(seen.inputs)
    spikes = seen.neurons[1].fired.spikes
    assert torch.equal(made, spikes)
    assert spikes.sum() > 0
