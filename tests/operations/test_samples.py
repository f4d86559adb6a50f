"""Batches for counting hold no padding, all samples, and lead to the same predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from neurozoo.core.signals import Batch, Signal
from neurozoo.models.smile.model import SMILE
from neurozoo.operations.profiling import chosen, needs_its_batch, padding_takes_part, without_padding

SHAPES = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
DIMS = {name: dim for name, (_, dim) in SHAPES.items()}


def test_the_valid_rows_alone_are_left_wherever_the_padding_is(random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(SHAPES, samples=9)
    mask = torch.rand(9, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[:, 0] = True
    batch = replace(batch, signals={**batch.signals, "text": Signal(batch.signals["text"].values, mask)})
    parts = list(without_padding(batch))
    assert all(mask.all() for part in parts for mask in [signal.mask for signal in part.signals.values()])
    assert sum(part.signals[name].mask.numel() for part in parts for name in SHAPES) == sum(
        int(signal.mask.sum()) for signal in batch.signals.values()
    )
    for part in parts:
        assert part.index is not None
        for row, place in enumerate(part.index.tolist()):
            assert torch.equal(part.signals["text"].values[row], batch.signals["text"].values[place][mask[place]])
    order = torch.cat([part.index for part in parts if part.index is not None])
    assert sorted(order.tolist()) == list(range(9))


def test_predictions_stay_what_they_were(smile: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    model, batch = smile(DIMS, ("audio", "vision"), "text").eval(), random_batch(SHAPES, samples=6)
    with torch.no_grad():
        whole = model(batch)
        for part in without_padding(batch):
            torch.testing.assert_close(model(part), whole[part.index], rtol=1e-4, atol=1e-5)


def test_samples_of_the_same_lengths_stay_together(random_batch: Callable[..., Batch]) -> None:
    batch = random_batch({"text": (1, 5)}, samples=7)
    (one,) = without_padding(batch)
    assert torch.equal(one.signals["text"].values, batch.signals["text"].values)


def test_a_sample_without_a_row_keeps_one_of_padding(random_batch: Callable[..., Batch]) -> None:
    batch = random_batch({"text": (4, 5)}, samples=1)
    values = batch.signals["text"].values
    (one,) = without_padding(Batch.of({"text": values}, {"text": torch.zeros(1, 4, dtype=torch.bool)}))
    assert one.signals["text"].values.shape == (1, 1, 5)
    assert not one.signals["text"].mask.any()


def test_published_models_take_padding_and_batches_as_they_are(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    batch = random_batch(SHAPES)
    corrected = smile(DIMS, ("audio", "vision"), "text")
    published = smile(
        DIMS,
        ("audio", "vision"),
        "text",
        parts={"threshold": "cross-entropy-ratio", "scaling": "batch-softmax"},
        padding="visible",
    )
    assert (padding_takes_part(corrected, batch), needs_its_batch(corrected)) == (False, False)
    assert (padding_takes_part(published, batch), needs_its_batch(published)) == (True, True)


def test_signals_of_any_shape_lose_their_padding_alone() -> None:
    frames = torch.randint(0, 9, (3, 4, 2, 5, 5), dtype=torch.uint8)
    valid = torch.tensor([[True, False, True, False], [True, True, True, True], [False, True, True, False]])
    picture = torch.rand(3, 1, 6)
    batch = Batch({"frames": Signal(frames, valid), "picture": Signal(picture)}, torch.tensor([0, 1, 2]))
    first, second = without_padding(batch)
    assert [part.signals["frames"].values.shape[:2] for part in (first, second)] == [(2, 2), (1, 4)]
    assert torch.equal(first.signals["frames"].values[1], frames[2, 1:3])
    assert first.signals["picture"].valid is None
    assert first.target is not None
    assert first.target.tolist() == [0, 2]


@pytest.mark.parametrize(("samples", "wanted", "places"), [(7, 3, [0, 2, 4]), (3, None, [0, 1, 2]), (2, 9, [0, 1])])
def test_samples_are_spread_over_the_split(samples: int, wanted: int | None, places: list[int]) -> None:
    assert chosen(samples, wanted).tolist() == places
