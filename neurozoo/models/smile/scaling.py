"""Scalings of the attended sequence by a spiking branch's firing rates."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.models.smile.parts import Layout, Scaling, Tokens
from neurozoo.nn.running import RunningMean

__all__ = ["BatchSoftmax", "NoScaling", "RateGain"]


class BatchSoftmax(Scaling):
    """``u = h + h softmax(r)``, the softmax over the batch axis: SMILE's scaling as published.

    Predictions then depend on the batch, and the weights decrease as 1/B.

    Args:
        layout: Not used.
    """

    whole_batch = True

    def __init__(self, layout: Layout) -> None:
        super().__init__()

    def forward(self, encoded: Tokens, rates: Tensor) -> Tensor:
        return encoded.x + encoded.x * torch.softmax(rates, dim=0)


class RateGain(Scaling):
    """``u = h * 2 sigmoid(beta_d (r - rho_d))``: each feature's rate against its running mean.

    ``rho`` is the mean over valid positions of training batches and part of the checkpoint; ``beta`` is learned per
    feature.

    Args:
        layout: Gives the number of features D.
        beta: Initial ``beta``, dimensionless.
        momentum: Weight of the newest batch in the running mean.
    """

    def __init__(
        self, layout: Layout, *, beta: float = 4.0, momentum: Annotated[float, Field(gt=0, le=1)] = 0.05
    ) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((layout.hidden,), float(beta)))
        self.mean_rate = RunningMean((layout.hidden,), momentum)

    def forward(self, encoded: Tokens, rates: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                valid = encoded.valid[..., None]
                self.mean_rate.update((rates * valid).sum((0, 1)), valid.sum())
        return encoded.x * 2 * torch.sigmoid(self.beta * (rates - self.mean_rate.value))


class NoScaling(Scaling):
    """``u = h``: the rates are not used.

    Args:
        layout: Not used.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()

    def forward(self, encoded: Tokens, rates: Tensor) -> Tensor:
        return encoded.x
