"""Synapses with a learned delay each: dilated convolutions with learnable spacings, DCLS.

Hammouamri, Khalfaoui-Hassani & Masquelier, Learning Delays in Spiking Neural Networks using Dilated Convolutions with
Learnable Spacings, ICLR 2024, https://arxiv.org/abs/2306.17670.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.core.layer import Synapse
from neurozoo.core.model import Trained
from neurozoo.nn.synapses import Normalised

__all__ = ["DelayedLinear", "NormalisedDelays"]

NARROWEST = 0.27
"""Added to a kernel's width, in steps, so that the smallest width leaves a gradient."""
FINAL_WIDTH = 0.23
"""Width at which the schedule ends, in steps."""
_NOTHING = 1e-7
"""Added to the sum of a kernel before the division by it."""


class DelayedLinear(Synapse, Trained):
    """A linear over time without bias, each of whose synapses has a delay of its own, learned as a position.

    With M steps in a kernel and h = (M - 1)/2, a synapse of weight w at position P, in [-h, h], has the delay h - P::

        K[m] = w X[m] / (sum of X + 1e-7),   y[t] = sum over inputs and m of K[m] x[t - (M - 1) + m]

    X is a Gaussian around P of width + 0.27 in training, which becomes narrower from epoch to epoch, and a single 1 at
    the rounded position in evaluation. The output has h steps more than the input.

    Args:
        inputs: Number of inputs D.
        outputs: Number of outputs N.
        kernel: M, odd: delays are 0 to M - 1 steps.
        elements: Synapses E per pair of input and output, each with its weight and delay.
        width: Initial width of the Gaussians, in steps; h by default.
        narrowing: Epochs in which the width would fall from h to 0.23, where it stops falling.
        evaluated: Whether positions are ``rounded`` in evaluation, or kernels stay as ``smooth`` as in training.
    """

    over_time = True
    width: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        elements: int = 1,
        width: float | None = None,
        narrowing: float = 37.5,
        evaluated: Literal["rounded", "smooth"] = "rounded",
    ) -> None:
        super().__init__()
        self.kernel, self.reach, self.evaluated = kernel, (kernel - 1) // 2, evaluated
        self.narrower = (FINAL_WIDTH / self.reach) ** (1 / narrowing) if self.reach else 1.0
        self.weight = nn.Parameter(torch.empty(outputs, inputs, elements))
        self.position = nn.Parameter(torch.empty(outputs, inputs, elements))
        self.register_buffer("width", torch.tensor(float(self.reach if width is None else width)))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        with torch.no_grad():
            self.position.uniform_(-self.reach - 1, self.reach)
            self.after_step()

    def taps(self, rounded: bool) -> Tensor:
        """Return each synapse's share of the steps of its kernel, ``[N, D, E, M]``; they sum to almost 1."""
        step = torch.arange(self.kernel, dtype=self.position.dtype, device=self.position.device)
        if rounded:
            at = self.position.round().clamp(-self.reach, self.reach) + self.reach
            taps = (1 - (step - at[..., None]).abs()).clamp(min=0)
        else:
            at = self.position + self.reach
            taps = torch.exp(-0.5 * ((step - at[..., None]) / (self.width.abs() + NARROWEST)) ** 2)
        return taps / (taps.sum(-1, keepdim=True) + _NOTHING)

    def kernels(self, rounded: bool) -> Tensor:
        """Return the kernels ``[N, D, M]``; the first entry has the longest delay."""
        return (self.weight[..., None] * self.taps(rounded)).sum(2)

    def convolved(self, x: Tensor, kernels: Tensor) -> Tensor:
        """Apply kernels ``[N, D, M]`` to ``[T, B, D]``; returns ``[T + h, B, N]``."""
        return F.conv1d(F.pad(x.permute(1, 2, 0), (self.kernel - 1, self.reach)), kernels).permute(2, 0, 1)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the currents ``[T + h, B, N]`` of inputs ``[T, B, D]``; inputs outside ``valid [T, B]`` count as 0."""
        if valid is not None:
            x = x.masked_fill(~valid[..., None], 0.0)
        rounded = not self.training and self.evaluated == "rounded"
        kernels = self.kernels(rounded)
        if rounded and torch.is_grad_enabled():
            # A rounded position has the derivative 0 everywhere, so that gradients in evaluation are the Gaussian's.
            smooth = (self.weight.detach()[..., None] * self.taps(False)).sum(2)
            kernels = kernels + (smooth - smooth.detach())
        return self.convolved(x, kernels)

    def valid_after(self, valid: Tensor | None) -> Tensor | None:
        """Return the steps ``[T + h, B]`` that count: those of the input, and the h after each."""
        if valid is None or not self.reach:
            return valid
        padded = F.pad(valid.T, (self.reach, self.reach))
        return padded.unfold(1, self.reach + 1, 1).any(-1).T

    def by_window(self) -> tuple[int, Callable[[Tensor], Tensor]]:
        """As of :class:`~neurozoo.core.layer.Synapse`; the kernels are those of the weights as they are now."""
        kernels = self.kernels(self.evaluated == "rounded").detach()
        return self.kernel, lambda window: F.conv1d(window.permute(1, 2, 0), kernels)[..., 0]

    def rescale(self, gain: Tensor) -> bool:
        """Scale the weights of each output."""
        self.weight.mul_(gain[:, None, None])
        return True

    def roles(self) -> Mapping[str, str]:
        """Return the role of the positions, which learn a hundred times as fast as the weights as published."""
        return {"position": "position"}

    def report(self) -> Mapping[str, Tensor]:
        """Return the width in steps, and how far the kernels of training are from those of evaluation.

        ``rounding_gap`` is the Euclidean norm of their difference in units of that of the rounded kernels.
        """
        with torch.no_grad():
            rounded, smooth = self.kernels(True), self.kernels(False)
            gap = (smooth - rounded).norm() / rounded.norm().clamp(min=_NOTHING)
        return {"width": self.width, "rounding_gap": gap}

    def after_step(self) -> None:
        """Clamp the positions into their kernel."""
        self.position.clamp_(-self.reach, self.reach)

    def after_epoch(self) -> None:
        """Narrow the Gaussians, until their width is 0.23 or less."""
        self.width.copy_(torch.where(self.width > FINAL_WIDTH, self.width * self.narrower, self.width))

    def extra_repr(self) -> str:
        outputs, inputs, elements = self.weight.shape
        return f"{inputs}, {outputs}, kernel={self.kernel}, elements={elements}, evaluated={self.evaluated!r}"


class NormalisedDelays(Normalised):
    """Delays with batch norm over the valid steps of all samples.

    Args:
        delays: The synapses.
    """

    over_time = True

    def __init__(self, delays: DelayedLinear) -> None:
        super().__init__(delays, delays.weight.shape[0])

    @property
    def delays(self) -> DelayedLinear:
        """The synapses."""
        assert isinstance(self.weight, DelayedLinear)
        return self.weight

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the currents ``[T + h, B, N]`` of inputs ``[T, B, D]`` of which the steps ``valid [T, B]`` count."""
        delayed: Tensor = self.delays(x, valid)
        after = self.valid_after(valid)
        rows = self.normalised(delayed.flatten(0, 1), None if after is None else after.flatten())
        return rows.view_as(delayed)

    def by_window(self) -> tuple[int, Callable[[Tensor], Tensor]]:
        """As for :class:`DelayedLinear`."""
        count, currents = self.delays.by_window()
        return count, lambda window: self.normalised(currents(window), None)

    def valid_after(self, valid: Tensor | None) -> Tensor | None:
        """As for :class:`DelayedLinear`."""
        return self.delays.valid_after(valid)
