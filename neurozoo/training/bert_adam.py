"""Adam as the code around BERT has it: without bias correction, and with a bound on each tensor's gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from neurozoo.training.moments import MomentsOptimizer

__all__ = ["BertAdam"]

LONGEST = 1.0
"""Largest norm of a tensor's gradient, as published."""


class BertAdam(MomentsOptimizer):
    """``x <- x - lr (m / (sqrt(v) + eps) + weight_decay x)``, m and v Adam's moments without bias correction.

    A tensor's gradient whose norm is above 1 is scaled down to it. The first steps are shorter or longer than Adam's,
    by ``(1 - b1^n) / sqrt(1 - b2^n)``: 3.2 times as long in the first, for the default betas. The published schedules
    warm up, and their first step has the rate 0. Arguments are those of the base class.
    """

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        gradient = gradient * (LONGEST / (gradient.norm() + 1e-6)).clamp(max=1)
        mean, square = self._moments(parameter, gradient, group)
        update = mean / square.sqrt().add_(group["eps"])
        parameter.sub_(update.add_(parameter, alpha=group["weight_decay"]), alpha=group["lr"])
