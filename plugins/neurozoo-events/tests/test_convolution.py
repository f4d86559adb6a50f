"""Convolutions by events: frames in any layout of memory have the same bits, those of the oracle's ordered sums."""

from __future__ import annotations

import pytest
import torch
from neurozoo_events.engine import EventEngine
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec
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
