"""Supervised contrast with a queue of earlier rows, as CARAT and LDDU have it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["NO_CLASS", "QueueContrast", "pair_classes"]

NO_CLASS = -1.0
"""Class of a row that does not count."""
SMALLEST = 1e-12
"""Added to a sum of exponentials, as published."""
PRODUCTS = 2**22
"""Dot products at a time."""


class QueueContrast(nn.Module):
    """Supervised contrast of unit rows (Khosla et al. 2020) with themselves and a ring queue.

    For an anchor i ``mean over j of its class of (s_ij - log sum over j != i of exp(s_ij))``, s the dot products over
    a temperature; minus the mean over anchors. An anchor without a partner counts 0. The queue has no gradient.

    Args:
        size: Rows of the queue.
        width: Features of a row.
        temperature: What dot products are divided by, dimensionless.
        queue_asks: Whether rows of the queue are anchors too and count from the start, when they are noise with classes
            that nothing else has, as published.
    """

    queue: Tensor
    classes: Tensor
    pointer: Tensor

    def __init__(self, size: int, width: int, temperature: float, queue_asks: bool) -> None:
        super().__init__()
        self.temperature, self.queue_asks = temperature, queue_asks
        noise = torch.randn(size, width)
        # Divided by lengths over the queue, as published, which makes rows shorter than one.
        self.register_buffer("queue", noise / noise.norm(dim=0))
        self.register_buffer("classes", torch.randn(size) if queue_asks else torch.full((size,), NO_CLASS))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def forward(self, rows: Tensor, classes: Tensor) -> Tensor:
        """Return the loss, 0-d, and put the rows into the queue.

        Args:
            rows: ``[R, width]`` of length 1.
            classes: ``[R]``, a whole number for each, or :data:`NO_CLASS`.
        """
        loss = self._contrast(rows, classes.to(self.classes.dtype))
        self._enqueue(rows.detach(), classes)
        return loss

    def _contrast(self, rows: Tensor, classes: Tensor) -> Tensor:
        # Copies, as the queue changes before the backward pass.
        candidates = torch.cat([rows, self.queue.to(rows.dtype)])
        their_classes = torch.cat([classes, self.classes])
        known = None if self.queue_asks else their_classes != NO_CLASS
        anchors = (candidates if self.queue_asks else rows) / self.temperature
        several = len(anchors)

        # The products with an anchor's partners add up to its product with their sum.
        group = _groups(their_classes)
        sums = torch.zeros_like(candidates).index_add(0, group, candidates)
        partners = torch.zeros_like(group).scatter_add(0, group, torch.ones_like(group))[group[:several]] - 1
        products = (anchors * (sums[group[:several]] - candidates[:several])).sum(1)

        # The products with all are too many to keep, and are computed once more in the backward pass.
        height = max(1, PRODUCTS // len(candidates))
        totals = [
            checkpoint(
                _log_total, anchors[at : at + height], candidates, known, at, use_reentrant=False,
                preserve_rng_state=False,
            )
            for at in range(0, several, height)
        ]  # fmt: skip
        found = (products / partners.clamp(min=1) - torch.cat(totals)) * (partners > 0)
        asks = torch.ones_like(found, dtype=torch.bool) if known is None else known[:several]
        return -(found * asks).sum() / asks.sum().clamp(min=1)

    @torch.no_grad()
    def _enqueue(self, rows: Tensor, classes: Tensor) -> None:
        several, size = len(rows), len(self.queue)
        kept = min(several, size)
        places = (self.pointer + torch.arange(several - kept, several, device=rows.device)) % size
        self.queue[places] = rows[several - kept :].to(self.queue.dtype)
        self.classes[places] = classes[several - kept :].to(self.classes.dtype)
        self.pointer.add_(several).remainder_(size)


def _groups(classes: Tensor) -> Tensor:
    """Number the values of ``[N]`` by their order, ``[N]`` of int64; unlike ``unique``, a GPU need not wait."""
    ordered, order = classes.sort()
    steps = torch.cat([torch.zeros_like(ordered[:1], dtype=torch.bool), ordered[1:] != ordered[:-1]])
    return torch.empty_like(order).scatter(0, order, steps.cumsum(0))


def _log_total(anchors: Tensor, candidates: Tensor, known: Tensor | None, first: int) -> Tensor:
    """Return for each anchor the log of the sum of the exponentials of its products, ``[A]``.

    Args:
        anchors: ``[A, width]``, divided by the temperature.
        candidates: ``[N, width]``.
        known: Those that count, ``[N]``; all by default.
        first: Place of the first anchor among them; none counts for itself.
    """
    products = anchors @ candidates.T
    lowest = torch.finfo(products.dtype).min
    if known is not None:
        products = products.masked_fill(~known, lowest)
    largest = products.detach().amax(1)
    own = torch.arange(len(anchors), device=anchors.device)
    products[own, own + first] = lowest
    # SMALLEST is relative to the largest term.
    return torch.logaddexp(products.logsumexp(1), largest + math.log(SMALLEST))


def pair_classes(target: Tensor, modalities: int) -> Tensor:
    """Return a class for each modality m and label k, there or not, ``[B, M, K]``: ``k + 2 m K``, or K more if not.

    Args:
        target: ``[B, K]``, 0 or 1.
        modalities: M.
    """
    outputs = target.shape[1]
    k = torch.arange(outputs, device=target.device)
    m = torch.arange(modalities, device=target.device)[:, None]
    absent = (target <= 0.5).long()[:, None]
    return k + (2 * m + absent) * outputs
