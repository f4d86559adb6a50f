"""Feature scaling that travels with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Standardise"]


class Standardise(nn.Module):
    """``(x - mean) / std`` by the training split's statistics, which the checkpoint keeps.

    Args:
        dim: Features D.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @torch.no_grad()
    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Take over a mean and a deviation, both ``[D]``, in the features' own units."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, x: Tensor) -> Tensor:
        """Dimensionless features, shape of ``x`` ``[B, L, D]``."""
        return (x - self.mean) / self.std
