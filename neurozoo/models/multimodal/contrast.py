"""Supervised contrast with a queue of earlier rows, as CARAT and LDDU have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["NO_CLASS", "QueueContrast", "pair_classes"]

NO_CLASS = -1.0
"""Class of a row that does not count."""


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
        anchors, own = (candidates, their_classes) if self.queue_asks else (rows, classes)
        products = anchors @ candidates.T / self.temperature
        place = torch.arange(len(candidates), device=rows.device)
        counts = place[: len(anchors), None] != place
        asks = torch.ones_like(own, dtype=torch.bool)
        if not self.queue_asks:
            known = their_classes != NO_CLASS
            products = products.masked_fill(~known, torch.finfo(products.dtype).min)
            counts, asks = counts & known, known[: len(rows)]
        products = products - products.amax(1, keepdim=True).detach()
        log_share = products - torch.log((products.exp() * counts).sum(1, keepdim=True) + 1e-12)
        same = (own[:, None] == their_classes) & counts
        found = (log_share * same).sum(1) / (same.sum(1) + 1e-12)
        return -(found * asks).sum() / asks.sum().clamp(min=1)

    @torch.no_grad()
    def _enqueue(self, rows: Tensor, classes: Tensor) -> None:
        several, size = len(rows), len(self.queue)
        kept = min(several, size)
        places = (self.pointer + torch.arange(several - kept, several, device=rows.device)) % size
        self.queue[places] = rows[several - kept :].to(self.queue.dtype)
        self.classes[places] = classes[several - kept :].to(self.classes.dtype)
        self.pointer.add_(several).remainder_(size)


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
