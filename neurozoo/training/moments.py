"""What optimisers of our own share: Adam's moments, and one step for each parameter tensor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["MomentsOptimizer"]


class MomentsOptimizer(torch.optim.Optimizer):
    """An optimiser with a moving mean m of each tensor's gradient, and v of its square.

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

    def _moments(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return m and v with a gradient added to them; do not change them in place."""
        state = self.state[parameter]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        first, second = group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        return mean, state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)

    @abstractmethod
    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Change a parameter in place."""
