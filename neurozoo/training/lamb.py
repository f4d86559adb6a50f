"""LAMB: Adam with a step that is a share of each tensor's norm, for large batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurozoo.training.moments import MomentsOptimizer

__all__ = ["Lamb"]


class Lamb(MomentsOptimizer):
    """``x <- x - lr |x| / |u| u``, where ``u = m / (sqrt(v) + eps) + weight_decay x`` for each parameter tensor x.

    m and v are Adam's moments with bias correction, and ``lr`` is the share of a tensor's norm that a step is long.
    Source: You et al., Large Batch Optimization for Deep Learning (2020), algorithm 2 with the identity as phi. A
    tensor of zeros, or whose u is zero, takes the step ``lr u``. Arguments are those of the base class.
    """

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # on the CPU, as torch's own, so that reading it does not synchronise
        state["step"] += 1
        count, (first, second) = float(state["step"]), group["betas"]
        mean, square = self._moments(parameter, gradient, group)
        root = (square / (1 - second**count)).sqrt_().add_(group["eps"])
        update = (mean / (1 - first**count)).div_(root).add_(parameter, alpha=group["weight_decay"])
        length, size = update.norm(), parameter.norm()
        ratio = torch.where((length > 0) & (size > 0), size / length, 1.0)
        parameter.sub_(update.mul_(ratio), alpha=group["lr"])
