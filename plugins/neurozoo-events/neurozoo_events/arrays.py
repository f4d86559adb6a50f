"""Tensors as the kernels take them: flat memory, weights by input, thresholds by step and sample."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neurozoo.core.layer_run import Numbers
from neurozoo.core.neuron import State, check_threshold
from neurozoo.errors import SpikingError

__all__ = [
    "NOTHING",
    "Synapses",
    "by_channel",
    "by_delay",
    "by_input",
    "by_place",
    "check_dtype",
    "check_state",
    "flat",
    "levels",
    "strided",
    "version_of",
    "with_four_axes",
]

NOTHING: Numbers = np.empty(0, np.float32)


class Synapses(NamedTuple):
    """Synapses with delays by input.

    Attributes:
        starts: ``[D + 1]``: those of input d are from ``starts[d]`` to ``starts[d + 1]``.
        goals: ``[2 * synapses]``: the delay in steps, and the neuron of each.
        weights: ``[synapses]``.
    """

    starts: NDArray[np.int64]
    goals: NDArray[np.int64]
    weights: Numbers


def check_dtype(x: Tensor) -> None:
    """Check that numbers are those that the kernels take.

    Raises:
        SpikingError: They are not.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise SpikingError(f"the input is {x.dtype} on {x.device}; float32 on the CPU runs by events")


def check_state(state: State | None, names: Sequence[str], shape: Sequence[int]) -> None:
    """Check a state that a caller gives.

    Raises:
        SpikingError: It has not a tensor of this shape for each name.
    """
    if state is not None and (len(state) != len(names) or any(each.shape != tuple(shape) for each in state)):
        found = ", ".join(str(list(each.shape)) for each in state)
        raise SpikingError(f"the state is {found}; give {', '.join(names)}, each {list(shape)}")


def with_four_axes(x: Tensor) -> Tensor:
    """Return a parameter that broadcasts against ``[C, H, W]`` as ``[1, C, H, W]``."""
    return x.reshape(*[1] * (4 - x.dim()), *x.shape)


def by_place(x: Tensor) -> Tensor:
    """Return ``[., B, C, H, W]`` as contiguous ``[., B, H, W, C]``."""
    return x.permute(0, 1, 3, 4, 2).contiguous()


def by_channel(x: Tensor) -> Tensor:
    """The inverse of :func:`by_place`, without a copy."""
    return x.permute(0, 1, 4, 2, 3)


def by_delay(kernels: Tensor) -> Synapses:
    """Return the synapses of kernels ``[N, D, M]`` by input."""
    inputs, taps = kernels.shape[1], kernels.shape[2]
    # The longest delay is first: of an input, its synapses of one neuron are in the order of the steps that they reach.
    place, tap, neuron = (kernels.permute(1, 2, 0) != 0).nonzero(as_tuple=True)
    starts = torch.searchsorted(place, torch.arange(inputs + 1))
    goals = torch.stack((taps - 1 - tap, neuron), 1).reshape(-1)
    return Synapses(starts.numpy(), goals.numpy(), flat(kernels[neuron, place, tap].contiguous()))


def by_input(weight: Tensor) -> Numbers:
    """Return ``[N, D]`` as flat memory, the weights of an input next to each other."""
    return flat(weight.detach().T.clone(memory_format=torch.contiguous_format))


def flat(x: Tensor) -> Numbers:
    """Return the memory of a contiguous tensor."""
    made: Numbers = x.reshape(-1).numpy()
    return made


def strided(x: Tensor) -> tuple[Numbers, int, int]:
    """Return the memory of ``[T, B, D]`` and the distances of steps and samples, copied if D is not contiguous."""
    if x.numel() and x.stride(2) != 1 and x.shape[2] > 1:
        x = x.contiguous()
    if not x.numel():
        return NOTHING, 0, 0
    by_step, by_row, _ = x.stride()
    span = (x.shape[0] - 1) * by_step + (x.shape[1] - 1) * by_row + x.shape[2]
    return x.detach().as_strided((span,), (1,)).numpy(), by_step, by_row


def levels(threshold: Tensor | float, outputs: Tensor, batch: int, neurons: int) -> tuple[Numbers, int, int]:
    """Return thresholds of a step's neurons, ``[N]`` each, and the distances of those of steps and samples."""
    check_threshold(threshold, outputs)
    if not isinstance(threshold, Tensor) or threshold.dim() == 0:
        return _equal(float(threshold), neurons), 0, 0
    steps = len(threshold)
    whole = threshold.detach().float().expand(steps, *outputs.shape[1:]).contiguous()
    return flat(whole), batch * neurons if steps > 1 else 0, neurons


def version_of(held: Tensor | nn.Module | None) -> object:
    """Return what differs when an entry of a module's tables was replaced or changed in place."""
    if not isinstance(held, Tensor):
        return id(held)
    return held.data_ptr(), 0 if held.is_inference() else held._version


@functools.lru_cache(maxsize=64)
def _equal(level: float, neurons: int) -> Numbers:
    made = np.full(neurons, level, np.float32)
    made.flags.writeable = False  # every call gets the same
    return made
