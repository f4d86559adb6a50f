"""A NIR graph as a model, against the same written plainly with numpy, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.signals import Batch, Problem, SignalShape
from neurozoo.errors import DataError
from neurozoo.nir.model import NIRGraphModel, module_name
from neurozoo.operations.counting import OperationCounter
from neurozoo.registry.registry import default_registry
from neurozoo.tasks.multilabel import Multilabel

SETTINGS: dict[str, Any] = {
    "dt": 0.25, "reset": "value", "integration": "euler", "fires": "at",
    "forward_delay": 0, "recurrent_delay": 1, "synapse_delay": 0, "readout": "sum",
}  # fmt: skip
LIF = {"tau": 1.0, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0}


def end(kind: str, *shape: int) -> dict[str, Any]:
    return {"name": kind.lower(), "kind": kind, "shape": list(shape)}


def lif(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "kind": "LIF", "shape": [size], "values": LIF}


def linear(name: str, rows: int, columns: int) -> dict[str, Any]:
    return {"name": name, "kind": "Linear", "shape": [rows, columns]}


def model_of(
    nodes: list[dict[str, Any]],
    edges: str,
    *,
    takes: int,
    makes: int,
    neuron: Callable[..., Any] = TorchNeuron,
    **changes: Any,
) -> NIRGraphModel:
    pairs = [tuple(edge.split()) for edge in edges.split(", ")]
    given = SETTINGS | changes
    assert not list(NIRGraphModel.check_params(nodes=nodes, edges=pairs, **given))
    return NIRGraphModel(problem_of({"x": takes}, makes), None, neuron, nodes=nodes, edges=pairs, **given)  # type: ignore[arg-type]


def problem_of(dims: dict[str, int], outputs: int, per_step: bool = False) -> Problem:
    task = Multilabel(tuple(f"label {place}" for place in range(outputs)), per_step)
    return Problem({name: SignalShape((dim,), 9) for name, dim in dims.items()}, task)


def batch_of(x: Tensor, mask: Tensor | None = None) -> Batch:
    return Batch.of({"x": x}, {"x": torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask})


def recurrent(**options: Any) -> NIRGraphModel:
    nodes = [
        end("Input", 3),
        linear("a", 4, 3),
        lif("rnn.n", 4),
        linear("rnn.w", 4, 4),
        lif("m", 2),
        linear("b", 2, 4),
        end("Output", 2),
    ]
    edges = "input a, a rnn.n, rnn.n rnn.w, rnn.w rnn.n, rnn.n b, b m, m output"
    model = model_of(nodes, edges, takes=3, makes=2, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # so that all of it fires
        model.get_submodule("nodes.b.of").weight.abs_()
    return model


def by_hand(model: NIRGraphModel, x: np.ndarray, late: int, forward: int, subtract: bool) -> np.ndarray:
    """Spikes of ``m``, ``[T, 2]``, of one sample ``[T, 3]``: every step by itself."""
    weights = {
        name: dict(model.nodes.named_parameters())[f"{module_name(name)}.of.weight"].detach().numpy()
        for name in ("a", "b", "rnn.w")
    }
    fired: list[np.ndarray] = []
    into_n, into_m, found = [], [], []
    v, u = np.zeros(4, np.float32), np.zeros(2, np.float32)

    def step(v: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = v + np.float32(0.25) * (np.float32(2) * current - v)
        s = h >= np.float32(0.5)
        return s.astype(np.float32), np.where(s, h - np.float32(0.5) if subtract else np.float32(0), h).astype(
            np.float32
        )

    for t in range(len(x)):
        into_n.append(weights["a"] @ x[t])
        back = weights["rnn.w"] @ (fired[t - late] if t >= late else np.zeros(4, np.float32))
        first = into_n[t - forward] if t >= forward else np.zeros(4, np.float32)
        s, v = step(v, first + back)
        fired.append(s)
        into_m.append(weights["b"] @ s)
        s, u = step(u, into_m[t - forward] if t >= forward else np.zeros(2, np.float32))
        found.append(s)
    return np.stack(found)


@given(
    late=st.integers(1, 3),
    forward=st.sampled_from([0, 1]),
    reset=st.sampled_from(["value", "subtract"]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40)
def test_a_recurrent_net_is_that_of_plain_numpy(late: int, forward: Any, reset: Any, seed: int) -> None:
    torch.manual_seed(seed)
    model = recurrent(recurrent_delay=late, forward_delay=forward, reset=reset)
    x = torch.randn(2, 12, 3) * 2
    found = model.outputs(x.transpose(0, 1))
    for sample in range(2):
        expected = by_hand(model, x[sample].numpy(), late, forward, reset == "subtract")
        # Sums of four products may round otherwise; a spike at the threshold is then another's.
        assert (found[:, sample].detach().numpy() != expected).mean() < 0.05


@pytest.mark.parametrize("backend", default_registry().usable_backends())
@pytest.mark.parametrize("reset", ["value", "subtract"])
def test_spikes_and_gradients_are_those_of_every_backend(backend: str, reset: str) -> None:
    torch.manual_seed(3)
    reference = recurrent(reset=reset)
    other = recurrent(reset=reset, neuron=default_registry().resolve("neuron", backend))
    other.load_state_dict(reference.state_dict())
    batch = batch_of(torch.randn(5, 20, 3) * 2)
    outcomes = []
    for model in (reference, other):
        with recorded(model) as firings:
            logits = model(batch)
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        outcomes.append(({name: firing.spikes for name, firing in firings.items()}, gradients))
    (expected, wanted), (found, gradients) = outcomes
    assert found.keys() == {"nodes.rnn/n.layer", "nodes.m.layer"}
    for name, spikes in expected.items():
        assert torch.equal(found[name], spikes)
        assert 0.02 < spikes.mean() < 0.98
    for one, theirs in zip(wanted, gradients, strict=True):
        torch.testing.assert_close(theirs, one, rtol=1e-4, atol=1e-5)


def test_who_listens_hears_what_a_loop_did() -> None:
    torch.manual_seed(0)
    model = recurrent()
    batch = batch_of(torch.randn(2, 9, 3) * 2)
    silent = model(batch)
    with recorded(model) as firings:
        heard = model(batch)
    assert torch.equal(silent, heard)
    assert firings.keys() == {"nodes.rnn/n.layer", "nodes.m.layer"}
    assert torch.equal(firings["nodes.m.layer"].spikes.sum(0), heard)
    for firing in firings.values():
        assert firing.valid is not None
        assert firing.valid.shape == firing.spikes.shape[:2]


def test_padding_takes_no_step() -> None:
    torch.manual_seed(0)
    for readout in ("rate", "sum", "mean", "max", "last"):
        model = recurrent(readout=readout).eval()
        x = torch.randn(2, 8, 3) * 2
        padded = torch.cat((torch.full((2, 3, 3), 7.0), x, torch.full((2, 2, 3), 7.0)), 1)
        mask = torch.tensor([False] * 3 + [True] * 8 + [False] * 2).expand(2, -1)
        torch.testing.assert_close(model(batch_of(padded, mask)), model(batch_of(x)))
        nothing = model(batch_of(x, torch.zeros(2, 8, dtype=torch.bool)))
        assert torch.equal(nothing, torch.zeros(2, 2))


def test_the_rate_is_the_probability() -> None:
    nodes = [
        end("Input", 1),
        {"name": "n", "kind": "Threshold", "shape": [1], "values": {"threshold": 0.5}},
        end("Output", 1),
    ]
    model = model_of(nodes, "input n, n output", takes=1, makes=1, readout="rate")
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 4, 1)
    assert torch.sigmoid(model(batch_of(x))).item() == pytest.approx(1.5 / 5)


def test_a_spiking_cnn() -> None:
    torch.manual_seed(0)
    window = {"stride": [2, 2], "padding": [0, 0]}
    once = {"stride": [1, 1], "dilation": [1, 1], "groups": 1}
    nodes = [
        end("Input", 2, 6, 6),
        {"name": "0", "kind": "Conv2d", "shape": [3, 2, 3, 3], **once, "padding": [1, 1]},
        {"name": "1", "kind": "IF", "shape": [3, 6, 6], "values": {"r": 1.0, "v_threshold": 1.0, "v_reset": 0.0}},
        {"name": "2", "kind": "SumPool2d", "kernel_size": [2, 2], **window},
        {"name": "3", "kind": "Flatten", "start_dim": 0, "end_dim": -1},
        {"name": "type", "kind": "Affine", "shape": [4, 27]},
        end("Output", 4),
    ]  # fmt: skip
    model = model_of(nodes, "input 0, 0 1, 1 2, 2 3, 3 type, type output", takes=72, makes=4, dt=1.0, readout="mean")
    assert model(batch_of((torch.rand(2, 7, 72) < 0.4).float())).shape == (2, 4)
    assert "nodes./type.of.weight" in model.state_dict()


@pytest.mark.parametrize("name", ["training", "keys", "_modules", "forward", "a.b", "é ü", "0", "None"])
def test_a_node_may_be_called_anything(name: str) -> None:
    nodes = [end("Input", 2), linear(name, 2, 2), lif("n", 2), end("Output", 2)]
    pairs = [("input", name), (name, "n"), ("n", "output")]
    model = NIRGraphModel(problem_of({"x": 2}, 2), None, TorchNeuron, nodes=nodes, edges=pairs, **SETTINGS)  # type: ignore[arg-type]
    assert f"nodes.{module_name(name)}.of.weight" in model.state_dict()
    assert model(batch_of(torch.ones(1, 3, 2))).shape == (1, 2)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (problem_of({"x": 5}, 2), "Input takes 3 numbers a step and the data has 5"),
        (problem_of({"x": 3}, 4), "Output has 2 elements and the data 4 labels"),
        (problem_of({"x": 3, "y": 3}, 2), "takes one signal, and the data gives: x .*, y .*; name one in data.inputs"),
        (problem_of({"x": 3}, 2, per_step=True), "read out once a sample, and the task is per step"),
    ],
)
def test_data_that_does_not_fit_is_refused(inputs: Problem, said: str) -> None:
    nodes = [end("Input", 3), linear("a", 2, 3), end("Output", 2)]
    with pytest.raises(DataError, match=said):
        NIRGraphModel(inputs, None, TorchNeuron, nodes=nodes, edges=[("input", "a"), ("a", "output")], **SETTINGS)  # type: ignore[arg-type]


def test_the_rate_of_several_nodes_is_finite() -> None:
    nodes = [end("Input", 2), lif("a", 2), lif("b", 2), end("Output", 2)]
    model = model_of(nodes, "input a, input b, a output, b output", takes=2, makes=2, readout="rate")
    assert model(batch_of(torch.full((1, 9, 2), 50.0))).flatten().tolist() == pytest.approx([np.log(18.5 / 0.5)] * 2)


def test_a_rate_of_what_are_no_spikes_is_refused() -> None:
    nodes = [end("Input", 3), linear("a", 2, 3), end("Output", 2)]
    given = SETTINGS | {"readout": "rate"}
    ((parameter, problem),) = NIRGraphModel.check_params(nodes=nodes, edges=[("input", "a"), ("a", "output")], **given)
    assert parameter == "readout"
    assert "rate is of spikes" in problem


STATES: dict[str, dict[str, float]] = {
    "I": {"r": 1.0},
    "LI": {"tau": 1.0, "r": 1.0, "v_leak": 0.0},
    "CubaLI": {"tau_syn": 1.0, "tau_mem": 2.0, "r": 1.0, "v_leak": 0.0, "w_in": 1.0},
    "CubaLIF": {"tau_syn": 1.0, "tau_mem": 2.0, "w_in": 2.0} | {name: LIF[name] for name in LIF if name != "tau"},
    "Threshold": {"threshold": 0.5},
}


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("late", [0, 1])
def test_every_state_is_recorded_and_its_updates_are_counted(loop: bool, late: int) -> None:
    nodes = [{"name": kind, "kind": kind, "shape": [3], "values": values} for kind, values in STATES.items()]
    chain = ["input", *STATES, "output"]
    edges = ", ".join(f"{one} {other}" for one, other in pairwise(chain))
    back = ", Threshold w, w I" if loop else ""
    model = model_of(
        [end("Input", 3), *nodes, linear("w", 3, 3) if loop else end("Output", 3), *[end("Output", 3)] * loop],
        edges + back, takes=3, makes=3, synapse_delay=late,
    )  # fmt: skip
    batch = batch_of(5 * torch.rand(4, 7, 3))
    with torch.no_grad(), recorded(model) as firings:
        made = model(batch)
    inside = ("I", "LI", "CubaLI.synapse", "CubaLI.membrane", "CubaLIF", "CubaLIF.synapse", "Threshold")
    assert {*firings} == {f"nodes.{name}.layer" for name in inside}
    assert all(firing.spikes.numel() == 4 * 7 * 3 for firing in firings.values())
    assert firings["nodes.Threshold.layer"].spikes.sum() == pytest.approx(float(made.sum()))
    with torch.no_grad(), OperationCounter(model) as counter:
        model(batch)
    assert counter.counts(4).updates == len(inside) * 4 * 7 * 3
    # Whoever records changes nothing.
    with torch.no_grad():
        assert torch.equal(model(batch), made)


def test_a_lesion_of_any_neuron_reaches_the_output() -> None:
    model = recurrent()
    batch = batch_of(torch.rand(4, 6, 3))
    for name in spiking_layers(model):
        silent = lambda own, firing, name=name: torch.zeros_like(firing.spikes) if own == name else None  # noqa: E731
        with torch.no_grad(), recorded(model, silent):
            assert model(batch).sum() == 0
