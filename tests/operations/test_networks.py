"""Operations and energy of any network, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neurozoo as nz
from neurozoo.errors import UserError
from neurozoo.operations.energy import AC, MAC, UPDATE

T, B = 6, 4


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nz.LIF(threshold=0.3), nn.Linear(8, 3), nz.LI())


def test_a_sample_of_a_network_of_ones_own(net: nn.Sequential) -> None:
    x = torch.rand(T, B, 5) + 0.1
    net[1].train()
    with nz.record(net.eval(), "spikes") as seen:
        net(x)
    net[1].train()
    counts = nz.count_operations(net, x)
    fired = int(seen.spikes["2"].sum())
    assert fired > 0
    assert (counts.samples, counts.a_sample(counts.dense)) == (B, T * (5 * 8 + 8 * 3))
    assert counts.a_sample(counts.macs) == T * 5 * 8
    assert counts.acs == fired * 3
    # A readout's membranes are updated as well.
    assert counts.a_sample(counts.updates) == T * (8 + 3)
    assert (net[1].training, net[0].training) == (True, False)
    energy = nz.energy(counts)
    assert energy.operations == pytest.approx((MAC * counts.macs + AC * counts.acs + UPDATE * counts.updates) / B)
    assert str(counts).startswith(f"operations a sample, mean of {B}\n  multiplications with accumulation (MAC)")
    assert f"accumulations (AC)                       {fired * 3 / B:,.6g}\n" in str(counts)
    assert f"operations {energy.operations / 1000:.4g} nJ" in str(energy)
    with pytest.raises(UserError, match=r"given a Sequential; .*energy\(count_operations\(net, x\)\)"):
        nz.energy(net, x)


def test_convolutions_at_each_step_and_pictures_that_are_held() -> None:
    net = nn.Sequential(nz.EachStep(nn.Conv2d(1, 2, 3, bias=False), nn.AvgPool2d(2)), nz.IF(), nn.Flatten(2))
    with torch.no_grad():
        net[0][0].weight.fill_(0.1)
    counts = nz.count_operations(net, torch.ones(T, B, 1, 6, 6))
    assert counts.samples == B
    # 16 places, 9 weights, 2 channels; ones are accumulated.
    assert (counts.a_sample(counts.acs), counts.macs) == (T * 16 * 9 * 2, 0)


def test_what_has_no_rule_is_named_and_samples_may_be_stated() -> None:
    net = nn.Sequential(nn.Linear(5, 5), nn.Bilinear(5, 5, 2))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.net[0](x)
            found: torch.Tensor = self.net[1](y, y)
            return found

    with pytest.raises(UserError, match=r"give samples=B"):
        nz.count_operations(Twice(), torch.rand(7, 5))
    counts = nz.count_operations(Twice(), torch.rand(7, 5), samples=7)
    assert counts.a_sample(counts.macs) == 25
    assert "not counted: net.1 (Bilinear)" in str(counts)
    with pytest.raises(UserError, match=r"samples is 0"):
        nz.count_operations(Twice(), torch.rand(7, 5), samples=0)


def test_models_of_the_zoo_count_their_batch() -> None:
    model = nz.create_model("recurrent", inputs=(3,), length=5, outputs=2)
    x = torch.rand(4, 5, 3)
    assert nz.count_operations(model, x).samples == 4
    assert nz.count_operations(model, {"input": x}) == nz.count_operations(model, x)
