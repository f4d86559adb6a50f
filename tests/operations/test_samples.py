"""Batches for counting hold no padding, all samples, and lead to the same predictions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from neurozoo.core.interfaces import Batch
from neurozoo.models.smile.model import SMILE
from neurozoo.operations.profiling import chosen, needs_its_batch, padding_takes_part, without_padding

SHAPES = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
DIMS = {name: dim for name, (_, dim) in SHAPES.items()}


def test_the_valid_rows_alone_are_left_wherever_the_padding_is(random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(SHAPES, samples=9)
    mask = torch.rand(9, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[:, 0] = True
    batch = Batch(batch.features, {**batch.masks, "text": mask}, batch.labels, batch.index)
    parts = list(without_padding(batch))
    assert all(mask.all() for part in parts for mask in part.masks.values())
    assert sum(part.masks[name].numel() for part in parts for name in SHAPES) == sum(
        int(mask.sum()) for mask in batch.masks.values()
    )
    for part in parts:
        assert part.index is not None
        for row, place in enumerate(part.index.tolist()):
            assert torch.equal(part.features["text"][row], batch.features["text"][place][mask[place]])
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
    assert torch.equal(one.features["text"], batch.features["text"])


def test_a_sample_without_a_row_keeps_one_of_padding(random_batch: Callable[..., Batch]) -> None:
    batch = random_batch({"text": (4, 5)}, samples=1)
    (one,) = without_padding(Batch(batch.features, {"text": torch.zeros(1, 4, dtype=torch.bool)}))
    assert one.features["text"].shape == (1, 1, 5)
    assert not one.masks["text"].any()


def test_published_models_take_padding_and_batches_as_they_are(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    batch = random_batch(SHAPES)
    sound = smile(DIMS, ("audio", "vision"), "text")
    published = smile(
        DIMS,
        ("audio", "vision"),
        "text",
        parts={"threshold": "cross-entropy-ratio", "scaling": "batch-softmax"},
        padding="visible",
    )
    assert (padding_takes_part(sound, batch), needs_its_batch(sound)) == (False, False)
    assert (padding_takes_part(published, batch), needs_its_batch(published)) == (True, True)


@pytest.mark.parametrize(("samples", "wanted", "places"), [(7, 3, [0, 2, 4]), (3, None, [0, 1, 2]), (2, 9, [0, 1])])
def test_samples_are_spread_over_the_split(samples: int, wanted: int | None, places: list[int]) -> None:
    assert chosen(samples, wanted).tolist() == places
