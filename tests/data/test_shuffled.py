"""Time shuffled as a control: each sample's positions in an order of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.core.shapes import SignalShape
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.data.writer import StoreWriter

LENGTHS = [9, 12, 1, 12, 5]


@pytest.fixture
def per_step(tmp_path: Path) -> DataView:
    """Samples whose position t holds t + 1, with the class t % 4, which counts where t > 1."""
    of = {"task": "multiclass", "outputs": list("abcd"), "along": "spikes", "target_masked": True, "origin": {}}
    shape = SignalShape((2,), 12, "uint8", ragged=True)
    with StoreWriter(tmp_path / "s", signals={"spikes": shape}, **of) as writer:
        values = [np.stack([np.arange(1, n + 1)] * 2, 1) for n in LENGTHS]
        counts = [np.arange(n) > min(1, n - 2) for n in LENGTHS]
        writer.add("train", {"spikes": values}, [np.arange(n) % 4 for n in LENGTHS], target_mask=counts)
    return DataView(Store(tmp_path / "s"))


def test_positions_move_and_their_targets_with_them(per_step: DataView) -> None:
    (mixed,) = per_step.shuffled(3).batches("train", 8)
    assert mixed.target is not None
    assert mixed.target_valid is not None
    moved = 0
    for row, n in enumerate(LENGTHS):
        signal = mixed.signals["spikes"]
        assert signal.valid is not None
        assert signal.valid[row].tolist() == [True] * n + [False] * (12 - n)
        place = signal.values[row, :n, 0].long() - 1
        assert sorted(place.tolist()) == list(range(n))
        counts = place > min(1, n - 2)
        assert torch.equal(mixed.target_valid[row, :n], counts)
        assert torch.equal(mixed.target[row, :n][counts], (place % 4)[counts])
        assert not signal.values[row, n:].any()
        moved += int((place != torch.arange(n)).sum())
    assert moved > sum(LENGTHS) / 2
    assert not torch.equal(*(mixed.signals["spikes"].values[row, :, 0] for row in (1, 3)))


def test_an_order_is_that_of_the_sample_and_the_seed(per_step: DataView) -> None:
    view = per_step.shuffled(3)
    (whole,) = view.batches("train", 8)
    alone = view.split("train").batch(torch.tensor([4]))
    assert torch.equal(alone.signals["spikes"].values[0, :5], whole.signals["spikes"].values[4, :5])
    (other,) = per_step.shuffled(4).batches("train", 8)
    assert not torch.equal(other.signals["spikes"].values, whole.signals["spikes"].values)
    (plain,) = per_step.batches("train", 8)
    assert torch.equal(plain.signals["spikes"].values[1, :, 0], torch.arange(1, 13, dtype=torch.uint8))
