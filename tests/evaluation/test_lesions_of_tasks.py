"""Lesion effects where predictions have units of their own, or are one a step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.model import Model
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Problem, Signal
from neurozoo.evaluation.health import lesion_effects
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.regression import Regression


class Spiking(Model):
    """One quantity of the spikes, and one, a thousand times as large, of the input alone; at each position."""

    works_without_spikes = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Linear(3, 8))

    def forward(self, batch: Batch) -> Tensor:
        signal = self.signal(batch, "x")
        spikes = self.layer(signal.values.transpose(0, 1), 0.3, valid=signal.mask.T).transpose(0, 1)
        each = torch.stack([spikes.mean(2), 1000 * signal.values.mean(2)], dim=2)
        return each if self.problem.task.per_step else each.mean(1)


class Samples:
    """Samples of 5 positions, of which the last ones are padding."""

    def __init__(self, *, per_step: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(12, 5, 3, generator=generator)
        lengths = torch.randint(2, 6, (12,), generator=generator)
        self.valid = torch.arange(5) < lengths[:, None]
        self.per_step = per_step

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor) -> Batch:
        longest = int(self.valid[indices].sum(1).max()) if self.per_step else 5
        valid = self.valid[indices, :longest]
        target = torch.zeros(len(indices), longest) if self.per_step else torch.zeros(len(indices), 2)
        signal = Signal(self.x[indices, :longest], valid if self.per_step else None)
        return Batch({"x": signal}, target, valid if self.per_step else None, indices)


def model_of(task: Regression | Multiclass) -> Spiking:
    torch.manual_seed(0)
    return Spiking(Problem({"x": SignalShape((3,), 5)}, task)).eval()


@torch.no_grad()
def test_the_largest_unit_does_not_decide_for_all() -> None:
    model, samples = model_of(Regression(("small", "large"), standardise=False)), Samples(per_step=False)
    made = model(samples.batch(torch.arange(12)))[:, 0]
    effects = lesion_effects(model, samples, 12)
    # All of the first quantity goes, nothing of the second.
    assert effects["silent"] == pytest.approx(float(made.abs().mean() / made.std()) / 2, rel=1e-5)


@torch.no_grad()
def test_a_task_per_step_counts_the_steps_that_count() -> None:
    model, samples = model_of(Multiclass(("a", "b"), per_step=True)), Samples(per_step=True)
    whole = samples.batch(torch.arange(12))
    intact = torch.softmax(model(whole), -1)[samples.valid]
    lesioned = torch.softmax(model(whole) * torch.tensor([0.0, 1.0]), -1)[samples.valid]
    expected = float((lesioned - intact).abs().mean() / intact.std())
    for size in (12, 5, 1):  # batches of different lengths
        effects = lesion_effects(model, samples, size)
        assert effects["silent"] == pytest.approx(expected, rel=1e-4)
        assert effects["permuted"] >= 0


class Convolution(Spiking):
    """The same with feature maps: positions are steps, and each has a map ``[C, 3]``."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.layer = SpikingLayer(TorchNeuron(LIFSpec()), nn.Conv1d(1, 4, 3, padding=1))

    def forward(self, batch: Batch) -> Tensor:
        signal = self.signal(batch, "x")
        maps = signal.values.transpose(0, 1)[:, :, None]  # [T, B, 1, 3]
        spikes = self.layer(maps, 0.3, valid=signal.mask.T).transpose(0, 1)
        return torch.stack([spikes.mean((2, 3)), 1000 * signal.values.mean(2)], dim=2)


@torch.no_grad()
def test_feature_maps_of_samples_of_different_lengths_are_lesioned_by_their_steps() -> None:
    torch.manual_seed(0)
    task = Regression(("small", "large"), per_step=True, standardise=False)
    model, samples = Convolution(Problem({"x": SignalShape((3,), 5)}, task)).eval(), Samples(per_step=True)
    whole = samples.batch(torch.arange(12))
    made = model(whole)[samples.valid][:, 0]
    effects = lesion_effects(model, samples, 12)
    assert effects["silent"] == pytest.approx(float(made.abs().mean() / made.std()) / 2, rel=1e-4)
    assert effects["permuted"] > 0.1
