"""Running mean over training samples, equal on every process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.processes import processes
from neurozoo.core.processes import total as over_processes

__all__ = ["RunningMean"]


class RunningMean(nn.Module):
    """Bias-corrected exponential mean over training batches, stored in the checkpoint.

    The first batch sets it; later ones move it by ``momentum``. Sums and counts are first summed
    over all processes, so that every rank holds the same value.

    Args:
        shape: Shape of the value; ``()`` for a scalar.
        momentum: Weight of the newest batch, dimensionless, in (0, 1].
        initial: Value before the first batch.
        dtype: Of the sums; use float64 if means are subtracted from each other. Loading a checkpoint adopts its dtype.
    """

    total: Tensor
    weight: Tensor

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        momentum: float = 0.05,
        initial: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.momentum, self.initial = momentum, initial
        self.register_buffer("total", torch.zeros(shape, dtype=dtype))
        self.register_buffer("weight", torch.zeros((), dtype=dtype))

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *others: Any) -> None:
        # Older checkpoints keep the precision that they were trained with, and therefore their outputs.
        if (total := state.get(f"{prefix}total")) is not None:
            self.total, self.weight = self.total.to(total.dtype), self.weight.to(total.dtype)
        super()._load_from_state_dict(state, prefix, *others)

    @property
    def value(self) -> Tensor:
        """The mean, of the given shape."""
        mean = self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)
        return torch.where(self.weight > 0, mean, torch.full_like(mean, self.initial))

    @torch.no_grad()
    def update(self, total: Tensor, count: Tensor) -> None:
        """Update with a batch's sum (of the value's shape) and its number of samples (0-d)."""
        if processes() > 1:
            packed = over_processes(torch.cat([total.reshape(-1), count.reshape(1).to(total.dtype)]))
            total, count = packed[:-1].reshape(total.shape), packed[-1]
        # A batch without samples leaves the mean unchanged, without a synchronisation with the host.
        step = self.momentum * (count > 0).to(self.weight.dtype)
        mean = (total / count.clamp(min=1)).to(self.total.dtype)
        # Out of place: torch.compile drops a change in place of a 0-d float64 tensor on a CPU, without a word.
        self.total = self.total * (1 - step) + step * mean
        self.weight = self.weight * (1 - step) + step
