"""Batches without padding, for counting: a row of padding is no work that a sample needs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Batch, ZooModel
from neurozoo.data.view import SplitView

__all__ = ["by_length", "chosen", "needs_its_batch", "padding_takes_part", "without_padding"]


def chosen(samples: int, wanted: int | None) -> Tensor:
    """Places ``[n]`` of so many of the samples, evenly spread from the first on; all where that many are not there."""
    if wanted is None or wanted >= samples:
        return torch.arange(samples)
    return torch.arange(wanted) * samples // wanted


def needs_its_batch(model: nn.Module) -> bool:
    """Whether what the model does with a sample depends on the others of its batch."""
    return any(getattr(module, "whole_batch", False) for module in model.modules())


def padding_takes_part(model: ZooModel, batch: Batch) -> bool:
    """Whether rows of padding reach the spiking layers, by what the model says of them."""
    masks = model.layer_masks(batch)
    return not masks or any(mask is None for mask in masks.values())


def by_length(split: SplitView, places: Tensor, size: int) -> Iterator[Batch]:
    """Samples of a split in batches without any padding: together are those whose sequences are equally long.

    Args:
        split: Of a view.
        places: ``[n]``, which samples.
        size: How many are read at a time, and at most are in a batch.
    """
    for some in torch.split(places, size):
        yield from without_padding(split.batch(some))


def without_padding(batch: Batch) -> Iterator[Batch]:
    """The samples of a batch in smaller ones, the valid rows alone.

    A sample without a valid row of a modality keeps one row of padding there, as no model takes a sequence of none.
    """
    names = list(batch.features)
    lengths = torch.stack([batch.masks[name].sum(1) for name in names], 1)  # [B, modalities]
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(lengths.tolist()):
        groups.setdefault(tuple(each), []).append(place)
    for length, members in groups.items():
        some = torch.tensor(members)
        rows = {name: _first_valid(batch.masks[name][some], n) for name, n in zip(names, length, strict=True)}
        yield Batch(
            {name: _taken(batch.features[name][some], each) for name, each in rows.items()},
            {name: batch.masks[name][some].gather(1, each) for name, each in rows.items()},
            None if batch.labels is None else batch.labels[some],
            None if batch.index is None else batch.index[some],
        )


def _first_valid(mask: Tensor, length: int) -> Tensor:
    """Places ``[B, n]`` of the valid rows, all samples having as many of them."""
    return torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)[:, : max(length, 1)]


def _taken(x: Tensor, rows: Tensor) -> Tensor:
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))
