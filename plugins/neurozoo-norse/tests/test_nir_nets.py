"""Recurrent nets as Norse's own reader runs them, and as `neurozoo nir import` does: the same spikes."""

from __future__ import annotations

import os
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from norse.torch.functional.reset import reset_subtract, reset_value
from norse.torch.utils.import_nir import from_nir
from torch import Tensor

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.signals import Problem, SignalShape
from neurozoo.nir.import_graph import weights_of
from neurozoo.nir.model import NIRGraphModel
from neurozoo.nir.reading import read_nir
from neurozoo.tasks.multilabel import Multilabel

DT = 1e-4
pytestmark = pytest.mark.filterwarnings("ignore:.*nirtorch:DeprecationWarning")
RESETS = {"value": reset_value, "subtract": reset_subtract}


def net(path: Path, *, bias: bool) -> Path:
    """Three inputs, five recurrent neurons, two outputs."""
    rng = np.random.default_rng(0)

    def neurons(size: int) -> nir.CubaLIF:
        given = {"tau_syn": 2e-4, "tau_mem": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, "w_in": 2.0}
        return nir.CubaLIF(**{name: np.full(size, value) for name, value in given.items()})

    back = rng.normal(size=(5, 5))
    nodes = {
        "in": nir.Input({"input": np.array([3])}),
        "fc1": nir.Linear(rng.normal(size=(5, 3)) + 0.5),
        "rec.n": neurons(5),
        "rec.w": nir.Affine(back, np.full(5, 0.4)) if bias else nir.Linear(back),
        "fc2": nir.Linear(rng.normal(size=(2, 5)) + 0.5),
        "n": neurons(2),
        "out": nir.Output({"output": np.array([2])}),
    }
    edges = ["in fc1", "fc1 rec.n", "rec.n rec.w", "rec.w rec.n", "rec.n fc2", "fc2 n", "n out"]
    nir.write(path, nir.NIRGraph(nodes, [tuple(edge.split()) for edge in edges]))
    return path


def spikes_in(steps: int, size: int) -> Tensor:
    return (torch.rand(steps, 4, size, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def ours(path: Path, x: Tensor, reset: str) -> Tensor:
    file = read_nir(path)
    takes, makes = file.graph.input.size, file.graph.output.size
    task = Multilabel(tuple(f"label {place}" for place in range(makes)))
    model = NIRGraphModel(
        Problem({"x": SignalShape((takes,), len(x))}, task), None, TorchNeuron,
        nodes=file.graph.nodes, edges=file.graph.edges, dt=DT, reset=reset, integration="euler", fires="above",
        forward_delay=0, recurrent_delay=1, synapse_delay=0, readout="rate",
    )  # type: ignore[arg-type]  # fmt: skip
    model.load_state_dict(weights_of(file))
    with torch.no_grad():
        return model.outputs(x)


def norses(path: Path, x: Tensor, reset: str) -> Tensor:
    module, state, made = from_nir(nir.read(path), dt=DT, reset_method=RESETS[reset]), None, []
    with torch.no_grad():
        for step in x:
            y, state = module(step, state)
            made.append(y)
    return torch.stack(made)


@pytest.mark.parametrize("reset", RESETS)
def test_a_recurrent_net_has_the_spikes_that_norse_gives_it(tmp_path: Path, reset: str) -> None:
    path, x = net(tmp_path / "net.nir", bias=False), spikes_in(100, 3)
    expected = norses(path, x, reset)
    assert expected.mean() > 0.05
    assert torch.equal(ours(path, x, reset), expected)


@pytest.mark.parametrize("reset", RESETS)
def test_a_net_of_the_nir_paper_has_them_too(reset: str) -> None:
    folder = os.environ.get("NEUROZOO_TEST_DATA")
    if not folder:
        pytest.skip("NEUROZOO_TEST_DATA is not set: the nets of the NIR paper")
    path, x = Path(folder) / "nir" / "braille_noDelay_noBias_subtract.nir", spikes_in(200, 12)
    expected = norses(path, x, reset)
    assert expected.mean() > 0.01
    assert torch.equal(ours(path, x, reset), expected)


def test_norse_leaves_out_a_loops_bias_at_the_first_step(tmp_path: Path) -> None:
    path, x = net(tmp_path / "net.nir", bias=True), torch.zeros(3, 1, 3)
    _, state = from_nir(nir.read(path), dt=DT)(x[0])
    ((_, membrane),) = state.state["rec_n"]
    assert not membrane.v.any()
