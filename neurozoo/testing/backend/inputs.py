"""What the cases run a neuron on, made up the same way each time, and how they describe it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import torch
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec
from neurozoo.testing.findings import ConformanceError

__all__ = [
    "B",
    "N",
    "T",
    "cut_threshold",
    "describe",
    "made_up_currents",
    "same",
    "spec_text",
    "threshold_forms",
    "threshold_text",
]

T, B, N = 6, 4, 8
"""Steps, samples and neurons where a case needs no others."""


def made_up_currents(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """The same random currents each time, mean 0.5 and deviation 1.5."""
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.5).to(dtype)


def threshold_forms(dtype: torch.dtype = torch.float32, neurons: int = N) -> Iterator[Tensor | float]:
    """A threshold of every allowed form, for currents ``[T, B, neurons]``."""
    yield 0.7
    yield torch.tensor(0.7, dtype=dtype)
    for shape in ((1, B, 1), (T, 1, 1), (1, 1, neurons), (T, B, neurons)):
        size = torch.Size(shape).numel()
        yield torch.linspace(0.4, 1.2, size).reshape(shape).to(dtype)


def cut_threshold(threshold: Tensor | float, step: int) -> tuple[Tensor | float, Tensor | float]:
    """The threshold before a step and from it on."""
    if isinstance(threshold, Tensor) and threshold.dim() and threshold.shape[0] > 1:
        return threshold[:step], threshold[step:]
    return threshold, threshold


def spec_text(spec: LIFSpec) -> str:
    """A spec by what sets it apart from the default."""
    told = [f"{field.name}={getattr(spec, field.name)!r}" for field in fields(spec)]
    usual = [f"{field.name}={field.default!r}" for field in fields(spec)]
    return f"LIFSpec({', '.join(own for own, default in zip(told, usual, strict=True) if own != default)})"


def threshold_text(threshold: Tensor | float) -> str:
    """A threshold by its shape, or its value."""
    if not isinstance(threshold, Tensor):
        return f"threshold {threshold}"
    return f"threshold of shape {list(threshold.shape)}" if threshold.dim() else "0-d threshold"


def describe(spec: LIFSpec, currents: Tensor, threshold: Tensor | float) -> str:
    """One call of a neuron, in words."""
    dtype = "" if currents.dtype == torch.float32 else f" {str(currents.dtype).removeprefix('torch.')}"
    return f"{spec_text(spec)}, currents {list(currents.shape)}{dtype}, {threshold_text(threshold)}"


def same(got: object, want: object, what: str) -> None:
    """Raise unless two things are equal; tensors to the last bit.

    Raises:
        ConformanceError: They are not.
    """
    if isinstance(got, Tensor) and isinstance(want, Tensor):
        if got.shape != want.shape:
            raise ConformanceError(f"{what}: shape {list(got.shape)}, not {list(want.shape)}")
        if not torch.equal(got, want):
            raise ConformanceError(f"{what}: {int((got != want).sum())} of {want.numel()} values differ")
    elif got != want:
        raise ConformanceError(f"{what}: {got}, not {want}")
