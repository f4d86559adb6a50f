"""A part under test: how it is built for many layouts, and how two of its outputs are held together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Layout, LIFSpec, Neuron
from neurozoo.core.layer import TorchNeuron
from neurozoo.testing.findings import ConformanceError, Findings
from neurozoo.testing.parts.inputs import Content, Masks
from neurozoo.testing.parts.layouts import describe

__all__ = ["TOLERANCE", "LayoutSubject", "LogitsSubject", "PartSubject", "Rows", "Setting", "hold", "same_state"]

TOLERANCE = 1e-9
"""Allowed difference of two outputs in float64, as a share of the largest value: far above rounding,
far below anything that a neighbour or padding contributes."""


@dataclass(frozen=True)
class Rows:
    """The part of an output that counts.

    Attributes:
        values: Logits ``[B, K]``, or the valid rows of a sequence ``[rows, D]``, sample by sample.
        counts: How many valid rows each sample has, ``[B]``; None for logits.
        positions: Of the valid rows, ``[rows]``; None for logits.
    """

    values: Tensor
    counts: Tensor | None = None
    positions: Tensor | None = None


@dataclass(frozen=True)
class Setting:
    """A part, or a model, as it was built for one layout, or inputs.

    Attributes:
        form: The layout, or inputs.
        where: The same in words.
        part: The part, in float64 and evaluation mode.
    """

    form: Any
    where: str
    part: nn.Module


class PartSubject(Findings):
    """A part or model under test, and what a case needs to hold it against itself."""

    forms: ClassVar[Sequence[Any]]
    """The layouts, or inputs, that it is built for."""

    def settings(self, *, values: bool = True) -> Iterator[Setting]:
        """The part for each form that it does not refuse.

        Args:
            values: Whether the case looks at values, and not at shapes and devices alone.

        Raises:
            ConformanceError: It refuses all.
        """
        for form, part in self.built(self.forms, lambda form: self.build(form, values=values), describe):
            yield Setting(form, describe(form), self.wake(part, form, values=values))

    def make(self, form: Any, *, seed: int = 0, neuron: Callable[[LIFSpec], Neuron] = TorchNeuron) -> nn.Module:
        """The part in float64 and evaluation mode, its weights fixed by the seed and none of them 0."""
        return self.wake(self.build(form, seed=seed, neuron=neuron), form, seed=seed)

    @abstractmethod
    def build(
        self, form: Any, *, seed: int = 0, neuron: Callable[[LIFSpec], Neuron] = TorchNeuron, values: bool = True
    ) -> nn.Module:
        """The part as its ``__init__`` leaves it; it may refuse the form with a NeurozooError."""

    def wake(self, part: nn.Module, form: Any, *, seed: int = 0, values: bool = True) -> nn.Module:
        """Move every parameter a little, so that what starts at 0 cannot hide what it would do."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in (each for each in part.double().parameters() if each.is_floating_point()):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        return part.eval()

    @abstractmethod
    def made_up(self, form: Any, masks: Masks = "mixed", seed: int = 0) -> Content:
        """What the part is given, float64."""

    @abstractmethod
    def rows(self, output: Any) -> Rows:
        """What counts of an output.

        Raises:
            ConformanceError: It is not of the form that the interface asks for.
        """

    @abstractmethod
    def samples_of(self, output: Any, samples: Sequence[int]) -> Any:
        """These samples of an output, in this order."""

    def hold_together(self, got: Any, want: Any, where: str) -> None:
        """Two outputs say the same at every row that counts.

        Raises:
            ConformanceError: They do not.
        """
        ours, theirs = self.rows(got), self.rows(want)
        if ours.counts is not None and theirs.counts is not None and not torch.equal(ours.counts, theirs.counts):
            counts = f"{ours.counts.tolist()}, not {theirs.counts.tolist()}"
            raise ConformanceError(f"the samples have {counts} valid rows: {where}")
        if ours.positions is not None and theirs.positions is not None:
            moved = int((ours.positions != theirs.positions).sum())
            if moved:
                raise ConformanceError(f"{moved} of {len(theirs.positions)} valid rows have another position: {where}")
        hold(self, ours.values, theirs.values, where)


class LayoutSubject(PartSubject):
    """A part that is built as ``Part(layout, **params)``."""

    def build(
        self, form: Layout, *, seed: int = 0, neuron: Callable[[LIFSpec], Neuron] = TorchNeuron, values: bool = True
    ) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            part: nn.Module = self.candidate.target(replace(form, neuron=neuron), **self.candidate.params)
        return part


class LogitsSubject(PartSubject):
    """A part or model that gives logits."""

    def rows(self, output: Any) -> Rows:
        if not isinstance(output, Tensor):
            raise ConformanceError(f"it gives {type(output).__name__}, not a tensor of logits [B, K]")
        return Rows(output)

    def samples_of(self, output: Any, samples: Sequence[int]) -> Tensor:
        return cast(Tensor, output)[torch.tensor(samples)]


def hold(findings: Findings, got: Tensor, want: Tensor, where: str, tolerance: float = TOLERANCE) -> None:
    """Two tensors are equal within ``tolerance`` of the largest value, and finite.

    Raises:
        ConformanceError: They are not.
    """
    if got.shape != want.shape:
        raise ConformanceError(f"shape {list(got.shape)}, not {list(want.shape)}: {where}")
    findings.compared += want.numel()
    if want.numel():
        largest = want.detach().abs().max().clamp(min=torch.finfo(want.dtype).tiny)
        findings.allow(float((got.detach() - want.detach()).abs().max() / largest), tolerance, where)


def same_state(got: Mapping[str, Tensor], want: Mapping[str, Tensor], what: str) -> None:
    """Two ``state_dict`` are the same to the last bit.

    Raises:
        ConformanceError: They are not; names the entries.
    """
    differ = [
        name
        for name in sorted(got.keys() | want.keys())
        if name not in got or name not in want or not torch.equal(got[name], want[name])
    ]
    if differ:
        raise ConformanceError(f"{what}: {', '.join(differ)}")
