"""Scalings, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from neurozoo.core.multimodal import Layout
from neurozoo.models.smile.scaling import BatchSoftmax, NoScaling, RateGain
from neurozoo.nn.sequence import tokens


def test_batch_softmax(layout: Callable[..., Layout]) -> None:
    h = tokens(torch.tensor([[[2.0]], [[4.0]]]), None)
    u = BatchSoftmax(layout())(h, torch.tensor([[[math.log(3.0)]], [[0.0]]]))
    assert u.flatten().tolist() == pytest.approx([2 * 1.75, 4 * 1.25])


def test_rate_gain(layout: Callable[..., Layout]) -> None:
    scaling = RateGain(layout(hidden=1), beta=2.0)
    mask = torch.tensor([[True, True, False]])
    h = tokens(torch.ones(1, 3, 1), mask)
    rates = torch.tensor([[[0.2], [0.4], [0.0]]])
    u = scaling(h, rates)
    assert float(scaling.mean_rate.value) == pytest.approx(0.3)  # the padding is left out
    gains = [2 / (1 + math.exp(-2 * (r - 0.3))) for r in (0.2, 0.4)]
    assert u[0, :2, 0].tolist() == pytest.approx(gains)
    scaling.eval()
    scaling(h, rates + 0.5)
    assert float(scaling.mean_rate.value) == pytest.approx(0.3)


def test_rate_gain_learns_and_passes_gradients_on(layout: Callable[..., Layout]) -> None:
    scaling = RateGain(layout(hidden=2))
    rates = torch.rand(3, 4, 2, requires_grad=True)
    scaling(tokens(torch.randn(3, 4, 2), None), rates).square().sum().backward()
    assert rates.grad is not None
    assert rates.grad.abs().min() > 0
    assert scaling.beta.grad is not None
    assert scaling.beta.tolist() == [4.0, 4.0]


def test_no_scaling(layout: Callable[..., Layout]) -> None:
    h = tokens(torch.randn(1, 2, 3), None)
    assert NoScaling(layout())(h, torch.rand(1, 2, 3)) is h.x
