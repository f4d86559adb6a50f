"""A backend whose loop over time is one operator."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from neurozoo.backends.fused.operators import Numbers, Operators, plain, untraced
from neurozoo.core.equations import lif_step
from neurozoo.core.interfaces import Neuron, check_threshold

__all__ = ["FusedNeuron"]


class FusedNeuron(Neuron):
    """LIF with forward and backward over all steps in one pass each, by a backend's operator.

    For float32 and float64, on devices that :meth:`takes` says. Other dtypes and devices, states that
    broadcast and single calls of :meth:`step` run the core's equations one operator after the other.
    """

    operators: ClassVar[Operators]
    """See :func:`neurozoo.backends.fused.operators.register`."""

    @abstractmethod
    def takes(self, device: torch.device) -> bool:
        """Whether the kernels run on a device.

        Raises:
            DeviceError: The backend runs nothing there, not even the core's equations.
        """

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        return lif_step(current, state, threshold, self.spec)

    def scan(
        self, currents: Tensor, state: Tensor | None = None, threshold: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        check_threshold(threshold, currents)
        level = threshold if isinstance(threshold, Tensor) else currents.new_full((), threshold)
        if not self.takes(currents.device) or not _fits(currents, state, level):
            return super().scan(currents, state, threshold)
        # To call an operator takes longer than a few neurons do.
        given = (currents, level) if state is None else (currents, level, state)
        unseen = not torch.is_grad_enabled() and untraced() and plain(*given)
        run = self.operators.unseen_lif if unseen else self.operators.lif
        spikes, v = run(currents, state, level.to(currents.dtype), *Numbers.of(self.spec))
        return spikes, v


def _fits(currents: Tensor, state: Tensor | None, threshold: Tensor) -> bool:
    """Whether the kernels take it."""
    if currents.dtype not in (torch.float32, torch.float64) or threshold.device != currents.device:
        return False
    if currents.numel() == 0:
        return False
    return state is None or (
        state.dtype == currents.dtype and state.device == currents.device and state.shape == currents.shape[1:]
    )
