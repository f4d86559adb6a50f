"""Adam as the code around BERT has it: without bias correction, each tensor's gradient clipped by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["BertAdam"]

LONGEST = 1.0
"""Largest norm of a tensor's gradient, as published."""


class BertAdam(torch.optim.Optimizer):
    """``x <- x - lr (m / (sqrt(v) + eps) + weight_decay x)``, m and v Adam's moments without bias correction.

    A tensor's gradient whose norm is above 1 is scaled down to it. The first steps are shorter or longer than Adam's,
    by ``(1 - b1^n) / sqrt(1 - b2^n)``: 3.2 times as long in the first, for the default betas. The published schedules
    warm up, and their first step has the rate 0.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decays of the two moments.
        eps: Added to the denominator.
        weight_decay: Factor of the decay, dimensionless.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step; ``closure`` computes the loss again, with its gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        gradient = gradient * (LONGEST / (gradient.norm() + 1e-6)).clamp(max=1)
        first, second = group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        update = mean / square.sqrt().add_(group["eps"])
        parameter.sub_(update.add_(parameter, alpha=group["weight_decay"]), alpha=group["lr"])
