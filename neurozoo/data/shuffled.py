"""The control for the order in time: each sample's positions in an order of its own, drawn once."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from neurozoo.core.signals import Batch, Signal

__all__ = ["shuffled_steps"]


def shuffled_steps(batch: Batch, ids: Sequence[str], seed: int, *, per_step: bool = False) -> Batch:
    """Return a batch with the valid positions of each sample in another order.

    The order is drawn from the seed and the sample's id, so that it is the same in every batch and epoch. Signals of a
    sample with as many valid positions get the same order. Padding stays where it is.

    Args:
        batch: Signals ``[B, L, *shape]``; changed values are copies.
        ids: Of the B samples.
        seed: Of all orders.
        per_step: Whether the targets are of the positions, which they then move with.
    """
    signals, orders = {}, {}
    for name, signal in batch.signals.items():
        order = _orders(signal, ids, seed)
        orders[order.shape[1]] = order
        signals[name] = Signal(_moved(signal.values, order), signal.valid)
    if not per_step or batch.target is None:
        return replace(batch, signals=signals)
    order = orders[batch.target.shape[1]]
    counts = None if batch.target_valid is None else _moved(batch.target_valid, order)
    return replace(batch, signals=signals, target=_moved(batch.target, order), target_valid=counts)


def _orders(signal: Signal, ids: Sequence[str], seed: int) -> Tensor:
    """Return the source of each position, ``[B, L]`` int64 on the signal's device."""
    samples, length = signal.values.shape[:2]
    order = np.tile(np.arange(length), (samples, 1))
    valid = None if signal.valid is None else signal.valid.cpu().numpy()
    for row, name in enumerate(ids):
        places = np.arange(length) if valid is None else np.flatnonzero(valid[row])
        order[row, places] = np.random.default_rng((seed, zlib.crc32(name.encode()))).permutation(places)
    return torch.from_numpy(order).to(signal.values.device)


def _moved(x: Tensor, order: Tensor) -> Tensor:
    """Return ``[B, L, ...]`` with its positions taken from ``order``."""
    return x.gather(1, order.reshape(*order.shape, *[1] * (x.dim() - 2)).expand_as(x))
