"""Modules without state at each step of ``[T, B, ...]``, and what is certainly no such tensor.

Whether the first axis is time cannot always be told from a shape:

- A module whose rows have a known number of axes, such as a convolution, tells ``[B, C, H, W]`` from
  ``[T, B, C, H, W]``: refused.
- ``[B, D]`` has no place for steps: refused.
- Currents that are a convolution's own output have rows on their first axis, so that the second is no batch: refused
  while gradients are recorded, as the tensor then has its origin with it.
- Without gradients, ``[B, C, H, W]`` looks like ``[T, B, L, D]``: a warning, unless the layer states its shape.
- ``[B, T, D]`` looks like ``[T, B, D]``: nothing tells them apart.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from neurozoo.errors import SpikingError
from neurozoo.nn.steps import merged

__all__ = ["EachStep", "check_currents", "check_rows", "row_axes"]

_LETTERS = {1: "D", 2: "C, L", 3: "C, H, W", 4: "C, D, H, W"}
_BY_AXES: tuple[tuple[int, tuple[type[nn.Module], ...]], ...] = (
    (2, (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d)),
    (
        3,
        (
            nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d,
            nn.BatchNorm2d,
        ),
    ),
    (
        4,
        (
            nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool3d,
            nn.BatchNorm3d,
        ),
    ),
)  # fmt: skip
_OF_ROWS = ("Conv", "BatchNorm", "Pool")
"""Parts of the names of torch's operations whose first axis is that of rows."""


class EachStep(nn.Sequential):
    """Applies modules without state, such as a convolution and its pooling, to every step: T and B are merged.

    Batch statistics are over steps and samples together. It is made like :class:`torch.nn.Sequential`.

    Example:
        >>> net = nn.Sequential(nz.EachStep(nn.Conv2d(1, 8, 3), nn.MaxPool2d(2)), nz.LIF())
        >>> net(torch.rand(4, 16, 1, 28, 28)).shape  # [T, B, C, H, W]
        torch.Size([4, 16, 8, 13, 13])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[T, B, ...]`` of ``[T, B, ...]``.

        Raises:
            SpikingError: The input has no axis of steps.
        """
        check_rows(self, x.shape)
        return merged(super().forward, x)


def row_axes(module: nn.Module) -> int | None:
    """Return the number of axes of one row of a module's input, without the batch; None if it takes several."""
    if isinstance(module, nn.Sequential):
        return row_axes(module[0]) if len(module) else None
    if isinstance(inner := getattr(module, "weight", None), nn.Module):  # a synapse with a normalisation
        return row_axes(inner)
    return next((axes for axes, kinds in _BY_AXES if isinstance(module, kinds)), None)


def check_rows(module: nn.Module, shape: torch.Size, *, held: bool = False) -> None:
    """Check that a module's input has steps, samples and a row.

    Args:
        module: Gets T and B merged.
        shape: Of the input ``[T, B, ...]``, or of ``[B, ...]`` if it is ``held`` for several steps.
        held: See ``shape``.

    Raises:
        SpikingError: It has another number of axes.
    """
    leading, axes = 1 if held else 2, row_axes(module)
    if axes is None:
        if len(shape) >= leading + 1:
            return
        axes = 1
    elif len(shape) == leading + axes:
        return
    begin = "B" if held else "T, B"
    remedy = "" if held else "; a batch without steps becomes one that is held for T steps by x.expand(T, *x.shape)"
    raise SpikingError(
        f"{type(module).__name__} takes [{begin}, {_LETTERS[axes]}], and the input is {list(shape)}{remedy}"
    )


def check_currents(x: Tensor, shape: tuple[int, ...], *, held: bool = False) -> bool:
    """Check that a layer's inputs are currents ``[T, B, ...]``.

    Args:
        x: The input; ``[B, ...]`` if ``held``.
        shape: Of one step's neurons as the layer states it; empty if it does not.
        held: See ``x``.

    Returns:
        Whether a warning was given, as the currents may be pictures without steps.

    Raises:
        SpikingError: They are not, or do not fit the neurons.
    """
    begin, leading = ("B", 1) if held else ("T, B", 2)
    found = list(x.shape)
    if x.dim() <= leading:
        raise SpikingError(
            f"a layer of neurons takes currents [{begin}, ...], and they are {found}; currents [B, N] of one step "
            "become those of T steps by x.expand(T, *x.shape), and a single neuron a sample is [T, B, 1]"
        )
    one = found[leading:]
    if shape:
        fits = all(size in (1, full) for size, full in zip(reversed(shape), reversed(one), strict=False))
        if len(shape) > len(one) or not fits:
            raise SpikingError(
                f"the layer is made for neurons of shape {list(shape)}, and its currents {found} are "
                f"[{begin}] of neurons {one}; give [{begin}, ...] of that shape, or state another one"
            )
        return False
    if held or x.dim() not in (3, 4):
        return False
    compiling = torch.compiler.is_compiling()  # no origins and no warnings in a traced graph
    origin = "" if compiling or x.grad_fn is None else x.grad_fn.name()
    advice = (
        "put the module in neurozoo.EachStep, or give it to the layer as its synapse, and give [T, B, C, H, W]; "
        "pictures get T steps by x.expand(T, *x.shape)"
    )
    if any(part in origin for part in _OF_ROWS):
        raise SpikingError(
            f"the currents {found} are the output of an operation on rows ({origin.partition('Backward')[0]}), whose "
            f"first axis is the batch and not time; {advice}"
        )
    # A linear's output ends with a view.
    if x.dim() == 3 or any(part in origin for part in ("View", "Linear", "mm")) or compiling:
        return False
    warnings.warn(
        f"currents {found} are read as T = {found[0]} steps of B = {found[1]} samples with neurons {one}; if they are "
        f"pictures [B, C, H, W], {advice}. State the layer's shape to have it checked in place of this warning",
        stacklevel=4,
    )
    return True
