"""Convolutions by events: frames in any layout of memory have the same bits, those of the oracle's ordered sums."""

from __future__ import annotations

import pytest
import torch
from neurozoo_events import convolution
from neurozoo_events.engine import EventEngine
from torch import Tensor, nn

from neurozoo.core.kinds import ALIFSpec, LIFSpec, NeuronSpec, ReLUSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.nn.ordered import ordered_run
from neurozoo.nn.synapses import PooledSynapse


def frames(rate: float) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (3, 2, 9, 11, 13)
    return (torch.rand(shape, generator=generator) < rate) * torch.randn(shape, generator=generator)


def layouts(x: Tensor) -> dict[str, Tensor]:
    wider = torch.zeros(*x.shape[:4], 2 * x.shape[4])
    wider[..., ::2] = x
    return {
        "one channel after another": x,
        "channels next to each other": x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
        "columns first": x.transpose(3, 4).contiguous().transpose(3, 4),
        "each second column of wider frames": wider[..., ::2],
        "samples first": x.transpose(0, 1).contiguous().transpose(0, 1),
    }


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(
    "synapse",
    [
        nn.Conv2d(9, 5, 3, padding=1),
        nn.Conv2d(9, 5, (2, 3), stride=(1, 2), padding=(0, 1)),
        PooledSynapse(nn.Conv2d(9, 5, 3, padding=1, bias=False), 5),
    ],
    ids=["plain", "strides", "pooled"],
)
def test_every_layout_has_the_bits_of_ordered_sums(synapse: nn.Module, rate: float) -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec(tau=1.5)), synapse).eval()
    run = EventEngine().layer(layer)
    assert run.sparse
    x = frames(rate)
    expected = ordered_run(layer, x, None, 0.2)
    assert rate != 0.05 or 0 < float(expected.outputs.mean()) < 0.9
    for words, same in layouts(x).items():
        assert torch.equal(same, x)
        found = run.run(same, None, 0.2, driven=True)
        assert torch.equal(found.outputs, expected.outputs), words
        assert found.driven is not None
        assert expected.driven is not None
        assert torch.equal(found.driven, expected.driven), words


@pytest.mark.parametrize("out", [1, 13, 45, 131], ids="{} channels".format)
def test_every_number_of_channels_has_the_bits_of_ordered_sums(out: int) -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Conv2d(9, out, 3, padding=(0, 2))).eval()
    x = frames(0.2)
    expected, found = ordered_run(layer, x, None, 0.2), EventEngine().layer(layer).run(x, None, 0.2)
    assert torch.equal(found.outputs, expected.outputs)
    assert torch.equal(found.state[0], expected.state[0])


LEVELS = {
    "a number": 0.3,
    "samples": torch.tensor([0.2, 0.5]),
    "steps": torch.linspace(0.1, 0.9, 3)[:, None, None, None, None],
}


@pytest.mark.parametrize("some", [True, False], ids=["a step at a time", "all steps"])
@pytest.mark.parametrize("gain", [False, True], ids=["threshold", "gain"])
@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("spec", [LIFSpec(tau=3.0, v_reset=None), ALIFSpec(), ReLUSpec()], ids=lambda spec: spec.kind)
def test_steps_of_a_row_of_neurons_go_on_where_the_last_ones_ended(
    spec: NeuronSpec, level: float | Tensor, gain: bool, some: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if some:
        monkeypatch.setattr(convolution, "LISTED", 0)
    layer = SpikingLayer(TorchNeuron(spec), nn.Conv2d(9, 5, 3, padding=1), gain=gain).eval()
    run = EventEngine().layer(layer)
    x = frames(0.1)
    for given in (x, x[:1].expand_as(x)):
        first = ordered_run(layer, given, None, level)
        expected = ordered_run(layer, given, first.state, level)
        begun = run.run(given, None, level)
        found = run.run(given, begun.state, level, driven=True)
        assert torch.equal(begun.outputs, first.outputs)
        assert torch.equal(found.outputs, expected.outputs)
        assert all(map(torch.equal, found.state, expected.state))
        assert found.driven is not None
        assert expected.driven is not None
        assert torch.equal(found.driven, expected.driven)
