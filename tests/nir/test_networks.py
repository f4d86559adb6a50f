"""Any network as a NIR graph and back, with what NIR leaves to its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

import neurozoo as nz
from neurozoo.errors import SpikingError, UserError

X = 2 * torch.rand(8, 3, 5, generator=torch.Generator().manual_seed(0))


def linear(*neurons: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), *neurons, nn.Linear(6, 2), nz.LI())


@pytest.mark.parametrize(
    "net",
    [
        linear(nz.LIF(tau=torch.linspace(2, 5, 6), threshold=0.2)),
        linear(nz.LIF(v_reset=None, threshold=0.2, decay_input=False)),
        linear(nz.IF(threshold=torch.linspace(0.3, 1.5, 6)), nn.Dropout(0.5)),
        linear(nz.PLIF(leak=0.4, threshold=0.2)),
        linear(nz.CUBA(threshold=0.4, recurrent=nn.Linear(6, 6, bias=False))),
    ],
)
def test_a_graph_read_back_fires_the_same_spikes(net: nn.Sequential) -> None:
    graph = nz.to_nir(net, X, dt=1e-4)
    back = nz.from_nir(graph)
    assert net.training  # as it was
    net.eval()
    with nz.record(net) as here, nz.record(back) as there:
        expected, outputs = net(X), back(X)
    (mine,), (theirs,) = here.spikes.values(), there.spikes.values()
    assert torch.equal(mine, theirs)
    assert mine.any()
    torch.testing.assert_close(outputs, expected)
    assert (graph.metadata["dt"], back.dynamics.dt) == (1e-4, 1e-4)
    outputs.sum().backward()
    assert all(each.grad is not None for each in back.parameters())


def test_convolutions_with_batch_norm_and_pooling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nz.EachStep(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)), nz.LIF(threshold=0.3), nz.EachStep(nn.AvgPool2d(2)),
        nn.Flatten(2), nz.LIF(nn.Linear(12, 4), threshold=0.1),
    )  # fmt: skip
    picture = torch.rand(2, 1, 6, 6)
    x = picture.expand(5, *picture.shape)
    net(x)  # statistics of the norm
    graph = nz.to_nir(net, x)
    assert list(graph.nodes) == [
        "input", "conv_1", "lif_1", "avgpool_1", "flatten_1", "affine_1", "lif_2", "output"
    ]  # fmt: skip
    nir.write(tmp_path / "net.nir", graph)
    back = nz.from_nir(tmp_path / "net.nir", backend="norse")
    assert torch.equal(back(x), net.eval()(x))
    assert back(x).any()
    with pytest.raises(SpikingError, match=r"the graph takes \[T, B, 1, 6, 6\], and the input is \[2, 1, 6, 6\]"):
        back(picture)


def test_a_model_of_the_zoo_becomes_a_graph() -> None:
    model = nz.create_model("cuba-mlp", inputs=(5,), length=8, outputs=2, hidden=[4])
    kinds = [type(node).__name__ for node in nz.to_nir(model, torch.rand(2, 8, 5)).nodes.values()]
    assert "CubaLIF" in kinds


def of_another_program() -> Any:
    nodes = {
        "in": nir.Input({"input": np.array([2])}),
        "w": nir.Affine(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)),
        "lif": nir.LIF(tau=np.full(2, 0.01), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.full(2, 0.2)),
        "out": nir.Output({"output": np.array([2])}),
    }
    return nir.NIRGraph(nodes, [("in", "w"), ("w", "lif"), ("lif", "out")])


def test_a_graph_of_another_program_needs_its_settings() -> None:
    graph = of_another_program()
    with pytest.raises(UserError, match=r"give dt=SECONDS, reset='value' or 'subtract', integration='euler'.*platform"):
        nz.from_nir(graph)
    with pytest.raises(UserError, match="there is no setting step; there are: dt, reset"):
        nz.from_nir(graph, step=1.0)
    settings: dict[str, Any] = {"reset": "value", "integration": "euler", "fires": "above", "forward_delay": 0}
    net = nz.from_nir(graph, dt=5e-3, **settings)  # tau is two steps
    x = torch.rand(6, 3, 2)
    assert torch.equal(net(x), nz.LIF(tau=2.0, threshold=0.2, tie="silent")(x))
    assert net(x).any()


def test_what_nir_cannot_say_is_named() -> None:
    with pytest.raises(UserError, match="1: NIR has no node for alif neurons, whose threshold adapts"):
        nz.to_nir(linear(nz.ALIF()), X)
    with pytest.raises(UserError, match="1: runs on norse-native, whose neuron is its library's own"):
        nz.to_nir(linear(nz.LIF(backend="norse-native")), X)
    with pytest.raises(UserError, match="dt is -1"):
        nz.to_nir(linear(nz.LIF()), X, dt=-1)
    with pytest.raises(UserError, match="Softmax"):
        nz.to_nir(nn.Sequential(nn.Linear(5, 6), nn.Softmax(-1), nz.LIF()), X)
    with pytest.raises(UserError, match=r"found a dict as input; give a tensor \[T, B, ...\]"):
        nz.to_nir(linear(nz.LIF()), {"x": X})
