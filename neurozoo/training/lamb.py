"""LAMB: Adam with a step that is a share of each tensor's norm, for large batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Lamb"]


class Lamb(torch.optim.Optimizer):
    """``x <- x - lr |x| / |u| u``, where ``u = m / (sqrt(v) + eps) + weight_decay x`` for each parameter tensor x.

    m and v are Adam's moments with bias correction. Source: You et al., Large Batch Optimization for Deep Learning
    (2020), algorithm 2 with the identity as phi. A tensor of zeros, or whose u is zero, takes the step ``lr u``.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate: the share of a tensor's norm that a step is long.
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
            state["step"] = torch.zeros(())  # on the CPU, as torch's own, so that reading it does not synchronise
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["step"] += 1
        count, (first, second) = float(state["step"]), group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (square / (1 - second**count)).sqrt_().add_(group["eps"])
        update = (mean / (1 - first**count)).div_(root).add_(parameter, alpha=group["weight_decay"])
        length, size = update.norm(), parameter.norm()
        ratio = torch.where((length > 0) & (size > 0), size / length, 1.0)
        parameter.sub_(update.mul_(ratio), alpha=group["lr"])
