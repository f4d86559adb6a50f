"""What a store holds in numbers: lengths, and how often labels are there, alone and together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.data.store import Store

__all__ = ["Labels", "Lengths", "Summary", "summarise"]


@dataclass(frozen=True)
class Lengths:
    """Valid positions of a modality's samples in one split.

    Attributes:
        quartiles: Least, lower quartile, median, upper quartile and most, by linear interpolation.
        without: Samples that have none.
        counts: Samples by length, from 0 to L.
    """

    quartiles: tuple[float, float, float, float, float]
    without: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Labels:
    """The labels of one split.

    Attributes:
        samples: How many samples there are.
        counts: Samples with each label, in the order of the labels.
        together: ``[K][K]``, samples with both labels; the diagonal repeats ``counts``.
        cardinality: Samples by their number of labels, from 0 to K.
    """

    samples: int
    counts: tuple[int, ...]
    together: tuple[tuple[int, ...], ...]
    cardinality: tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """What a store holds, by split.

    Attributes:
        lengths: By modality and split.
        labels: By split.
    """

    lengths: Mapping[str, Mapping[str, Lengths]]
    labels: Mapping[str, Labels]


def summarise(store: Store) -> Summary:
    """Count a store's lengths and labels; features are not read.

    Args:
        store: An open store.
    """
    splits = {name: store.split(name) for name in store.description.splits}
    return Summary(
        {
            name: {split: _lengths(samples.mask(name)) for split, samples in splits.items()}
            for name in store.description.modalities
        },
        {split: _labels(samples.labels) for split, samples in splits.items()},
    )


def _lengths(mask: Tensor) -> Lengths:
    lengths = mask.sum(1)
    quartiles = torch.quantile(lengths.double(), torch.linspace(0, 1, 5, dtype=torch.float64)).tolist()
    counts = torch.bincount(lengths, minlength=mask.shape[1] + 1).tolist()
    return Lengths(tuple(quartiles), counts[0], tuple(counts))


def _labels(labels: Tensor) -> Labels:
    present = labels.double()
    together = (present.T @ present).long()
    cardinality = torch.bincount(labels.sum(1).long(), minlength=labels.shape[1] + 1)
    return Labels(
        len(labels),
        tuple(together.diagonal().tolist()),
        tuple(map(tuple, together.tolist())),
        tuple(cardinality.tolist()),
    )
