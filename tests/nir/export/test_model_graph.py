"""Layers as a NIR graph: the numbers by hand, and the format's own equations give our spikes."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import Firing, SpikingLayer, TorchNeuron
from neurozoo.errors import UserError
from neurozoo.nir.export import export_run
from neurozoo.nir.export.model_graph import model_graph, neuron_names
from neurozoo.nir.export.tracing import INPUT, Link, Traced
from neurozoo.nir.writing import described, file_content, up_to

BELOW_1 = 1 - 2**-24
ONE = (torch.tensor([[1.0, -2.0], [0.5, 4.0], [3.0, 0.0]]), torch.tensor([0.0, 1.0, -1.0]))
TWO = (torch.tensor([[2.0, 1.0, 8.0]]), torch.tensor([0.5]))


def chain(spec: LIFSpec, threshold: float, *maps: tuple[torch.Tensor, torch.Tensor]) -> Traced:
    """Layers one behind the other, at rest."""
    links = []
    for place, (weight, bias) in enumerate(maps):
        synapse = torch.nn.Linear(weight.shape[1], weight.shape[0])
        synapse.weight.data, synapse.bias.data = weight, bias
        still = torch.zeros(1, 1, len(weight))
        firing = Firing(still, still, threshold)
        source = place - 1 if place else INPUT
        layer = SpikingLayer(TorchNeuron(spec), synapse)
        links.append(Link(f"layers.{place}", layer, (source,), (weight.shape[1],), (len(weight),), firing))
    return Traced(tuple(links), "x", torch.zeros(1, 1, 2), None)


def graph_of(*, dt: float = 1e-3, threshold: float = 1.0, fold: bool = False, **spec: object) -> nir.NIRGraph:
    traced = chain(LIFSpec(**spec), threshold, ONE, TWO)  # type: ignore[arg-type]
    return model_graph(traced, dt=dt, fold=fold, metadata={"dt": dt})


def values(node: nir.LIF) -> dict[str, float]:
    names = ("tau", "r", "v_leak", "v_threshold", "v_reset")
    assert all(len(np.unique(getattr(node, name))) == 1 for name in names)
    return {name: float(getattr(node, name)[0]) for name in names}


def test_it_is_a_chain_of_affine_maps_and_neurons() -> None:
    graph = graph_of()
    assert graph.edges == [
        ("input", "affine_1"),
        ("affine_1", "lif_1"),
        ("lif_1", "affine_2"),
        ("affine_2", "lif_2"),
        ("lif_2", "output"),
    ]
    assert described(graph) == ("Input 2", "Affine 2 -> 3", "LIF 3", "Affine 3 -> 1", "LIF 1", "Output 1")
    assert neuron_names(chain(LIFSpec(), 1.0, ONE, TWO)) == ["lif_1", "lif_2"]
    assert graph.nodes["affine_2"].weight.tolist() == [[2.0, 1.0, 8.0]]
    assert graph.nodes["affine_2"].bias.tolist() == [0.5]
    assert {graph.nodes[name].weight.dtype for name in ("affine_1", "affine_2")} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("settings", "weight", "expected"),
    [
        ({}, 4.0, {"tau": 3e-3, "r": 1, "v_leak": 0, "v_threshold": BELOW_1, "v_reset": 0}),
        ({"decay_input": False}, 4.0, {"tau": 3e-3, "r": 3, "v_leak": 0, "v_threshold": BELOW_1, "v_reset": 0}),
        ({"v_reset": -1.0}, 4.0, {"tau": 3e-3, "r": 1, "v_leak": -1, "v_threshold": BELOW_1, "v_reset": -1}),
        ({"v_reset": None}, 4.0, {"tau": 3e-3, "r": 1, "v_leak": 0, "v_threshold": BELOW_1, "v_reset": 0}),
        ({"threshold": 2.0}, 4.0, {"tau": 3e-3, "r": 1, "v_leak": 0, "v_threshold": 2 * BELOW_1, "v_reset": 0}),
        (
            {"threshold": 2.0, "fold": True, "v_reset": -1.0},
            2.0,
            {"tau": 3e-3, "r": 1, "v_leak": -0.5, "v_threshold": BELOW_1, "v_reset": -0.5},
        ),
        (
            {"threshold": 2.0, "fold": True, "decay_input": False},
            6.0,
            {"tau": 3e-3, "r": 1, "v_leak": 0, "v_threshold": BELOW_1, "v_reset": 0},
        ),
        ({"dt": 0.5}, 4.0, {"tau": 1.5, "r": 1, "v_leak": 0, "v_threshold": BELOW_1, "v_reset": 0}),
    ],
)
def test_its_numbers_by_hand(settings: dict[str, float], weight: float, expected: dict[str, float]) -> None:
    graph = graph_of(**{"tau": 3.0, **settings})  # type: ignore[arg-type]
    assert graph.nodes["affine_1"].weight[1, 1] == weight
    assert graph.nodes["affine_1"].bias[1] == weight / 4
    for name in ("lif_1", "lif_2"):
        assert values(graph.nodes[name]) == pytest.approx(expected, rel=0, abs=1e-15)


@pytest.mark.parametrize("name", ["dt", "threshold"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_number_that_is_not_positive_is_refused(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is {value}; give a positive number"):
        export_run("emotions-corrected", tmp_path / "out", **{"dt": 1e-3, name: value})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_file_of_it_says_the_same(tmp_path: Path) -> None:
    graph = graph_of(threshold=0.8, v_reset=-0.3)
    (tmp_path / "a.nir").write_bytes(file_content(graph))
    again = nir.read(tmp_path / "a.nir")
    assert again.edges == graph.edges
    assert again.metadata == {"dt": 1e-3}
    for name, node in graph.nodes.items():
        other = again.nodes[name].to_dict()
        for key, value in node.to_dict().items():
            assert np.array_equal(other[key], value), (name, key)
    assert (tmp_path / "a.nir").read_bytes() == file_content(graph)


def test_a_part_of_it_is_a_graph_of_its_own() -> None:
    graph = graph_of()
    part = up_to(graph, "lif_1")
    assert described(part) == ("Input 2", "Affine 2 -> 3", "LIF 3", "Output 3")
    part.nodes["lif_1"].tau[:] = 9.0
    assert graph.nodes["lif_1"].tau[0] == 2e-3


@given(
    currents=st.lists(st.integers(-8, 16), min_size=1, max_size=12),
    threshold=st.sampled_from([0.5, 1.0, 2.0]),
    decay_input=st.booleans(),
    v_reset=st.sampled_from([0.0, -0.5, None]),
    fold=st.booleans(),
)
def test_the_formats_own_equations_give_our_spikes_ties_too(
    currents: list[int], threshold: float, decay_input: bool, v_reset: float | None, fold: bool
) -> None:
    # On a grid of quarters with tau = 2 membranes meet the threshold exactly, again and again.
    spec = LIFSpec(tau=2.0, decay_input=decay_input, v_reset=v_reset)
    traced = chain(spec, threshold, (torch.tensor([[0.25]]), torch.zeros(1)))
    graph = model_graph(traced, dt=0.5, fold=fold, metadata={})
    affine, lif = graph.nodes["affine_1"], values(graph.nodes["lif_1"])
    v, found = np.float32(lif["v_leak"]), []
    for current in currents:
        x = np.float32(affine.weight[0, 0] * current)
        v = np.float32(v + np.float32(0.5 / lif["tau"]) * np.float32(lif["v_leak"] - v + np.float32(lif["r"]) * x))
        fires = v > np.float32(lif["v_threshold"])
        found.append(float(fires))
        if fires:
            # By the threshold itself, which the metadata has: what is subtracted is no comparison.
            v = np.float32(v - (1.0 if fold else threshold)) if v_reset is None else np.float32(lif["v_reset"])
    x = 0.25 * torch.tensor(currents, dtype=torch.float32)[:, None]
    ours, _ = TorchNeuron(spec).scan(x, None, threshold)
    assert ours[:, 0].tolist() == found
