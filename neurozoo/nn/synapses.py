"""Synapses with batch normalisation over T and B merged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Synapse

__all__ = ["Normalised", "NormalisedTokens"]


class Normalised(Synapse):
    """``weight -> batch norm`` with statistics over the valid rows only, so that padding does not shift them.

    Args:
        weight: A linear layer or convolution without bias.
        features: Its output features or channels.
    """

    def __init__(self, weight: nn.Module, features: int) -> None:
        super().__init__()
        self.weight = weight
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the currents of rows ``[R, ...]``, ``[R, C]`` or ``[R, C, ...]``."""
        return self.normalised(self.weight(x), valid)

    def normalised(self, weighted: Tensor, valid: Tensor | None) -> Tensor:
        """Normalise ``[R, C, ...]``."""
        flat = weighted.flatten(2) if weighted.dim() > 2 else weighted[..., None]  # [R, C, places]
        if self.training and valid is not None:
            return self._over_valid(flat, valid).view_as(weighted)
        normal: Tensor = self.norm(flat)
        return normal.view_as(weighted)

    def _over_valid(self, flat: Tensor, valid: Tensor) -> Tensor:
        """Normalise ``[R, C, places]`` by the statistics of the valid rows, and update the running statistics.

        Weighted sums instead of selected rows, as selecting would synchronise with the device.
        """
        norm = self.norm
        weight = valid[:, None, None].to(flat.dtype)
        count = weight.sum() * flat.shape[2]
        mean = (flat * weight).sum((0, 2)) / count.clamp(min=1)
        centred = flat - mean[:, None]
        variance = (centred.square() * weight).sum((0, 2)) / count.clamp(min=1)
        with torch.no_grad():
            momentum, unbias = norm.momentum or 0.1, count / (count - 1).clamp(min=1)
            for running, batch in ((norm.running_mean, mean), (norm.running_var, variance * unbias)):
                assert running is not None
                running.lerp_(torch.where(count > 0, batch, running), momentum)
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1
        scale = norm.weight / (variance + norm.eps).sqrt()
        return (centred * scale[:, None] + norm.bias[:, None]) * weight


class NormalisedTokens(Normalised):
    """A weight applied to each token of ``[R, P, D]``, normalised over rows and tokens; features are the last axis."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[R, P, D']`` of tokens ``[R, P, D]``."""
        weighted: Tensor = self.weight(x).transpose(1, 2)
        return self.normalised(weighted, valid).transpose(1, 2)
