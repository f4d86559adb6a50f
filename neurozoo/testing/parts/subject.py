"""A part under test: how it is built for many forms of input, and how two of its outputs are held together."""

from __future__ import annotations

import copy
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from neurozoo.core.model import trained_modules
from neurozoo.core.multimodal import Layout
from neurozoo.runs.checkpoint import load_checkpoint, write_tensors
from neurozoo.testing.findings import Candidate, ConformanceError, Findings, require
from neurozoo.testing.parts.inputs import SAMPLES, Content, Masks

TOLERANCE = 1e-9
"""Allowed difference of two outputs in float64, as a share of the largest value: far above rounding,
far below anything that a neighbour or padding contributes."""


@dataclass(frozen=True)
class Rows:
    """The part of an output that counts.

    Attributes:
        values: Outputs ``[B, K]``, or the rows ``[rows, D]`` that count, sample by sample.
        counts: How many such rows each sample has, ``[B]``; None where there is one each.
        positions: Of the rows, ``[rows]``; None where they have none.
    """

    values: Tensor
    counts: Tensor | None = None
    positions: Tensor | None = None

    def of(self, samples: Sequence[int]) -> Rows:
        """These samples, in this order."""
        rows = torch.tensor(samples)
        if self.counts is None:
            return Rows(self.values[rows])
        owner = torch.repeat_interleave(torch.arange(len(self.counts)), self.counts)
        places = torch.cat([(owner == sample).nonzero().flatten() for sample in samples])
        positions = None if self.positions is None else self.positions[places]
        return Rows(self.values[places], self.counts[rows], positions)


@dataclass(frozen=True)
class Setting:
    """A part, or a model, as it was built for one form of input.

    Attributes:
        form: The layout, or the problem.
        where: The same in words.
        part: The part, in float64 and evaluation mode.
    """

    form: Any
    where: str
    part: nn.Module


class PartSubject(Findings):
    """A part or model under test, and what a case needs to compare it with itself."""

    forms: ClassVar[Sequence[Any]]
    """The layouts, or problems, that it is built for."""

    def settings(self, *, values: bool = True) -> Iterator[Setting]:
        """The part for each form that it does not refuse.

        Args:
            values: Whether the case looks at values, and not at shapes and devices alone.

        Raises:
            ConformanceError: It refuses all.
        """
        woken = _woken_of(self.candidate)

        def build(form: Any) -> nn.Module:
            found = woken.get((id(form), values))
            return self.build(form, values=values) if found is None else found

        for form, part in self.built(self.forms, build, self.describe):
            place = id(form), values
            if place not in woken:
                woken[place] = self.wake(part, form, values=values)
            given = {id(each): each for each in (form, *vars(form).values())}  # which copies share
            try:
                own = copy.deepcopy(woken[place], given)
            except Exception:  # one that cannot be copied, of which a case tells, is built for each case
                own = woken.pop(place)
            yield Setting(form, self.describe(form), own)

    def make(self, form: Any, *, seed: int = 0, **how: Any) -> nn.Module:
        """The part in float64 and evaluation mode, its weights fixed by the seed and none of them 0."""
        return self.wake(self.build(form, seed=seed, **how), form, seed=seed)

    @abstractmethod
    def build(self, form: Any, *, seed: int = 0, values: bool = True) -> nn.Module:
        """The part as its ``__init__`` leaves it; it may refuse the form with a NeurozooError."""

    @abstractmethod
    def describe(self, form: Any) -> str:
        """A form in words."""

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
    def rows(self, output: Any, content: Content) -> Rows:
        """What counts of an output.

        Raises:
            ConformanceError: It is not of the form that the interface asks for.
        """

    def run(self, part: nn.Module, content: Content) -> Rows:
        """What counts of what a part makes of a content."""
        return self.rows(part(content), content)

    def terms(self, setting: Setting, content: Content) -> dict[str, Tensor]:
        """The terms that the part adds to the loss after a forward, by name."""
        return {}

    def hold_together(self, got: Rows, want: Rows, where: str) -> None:
        """Two outputs say the same at every row that counts.

        Raises:
            ConformanceError: They do not.
        """
        if got.counts is not None and want.counts is not None:
            counts = f"{got.counts.tolist()}, not {want.counts.tolist()}"
            require(torch.equal(got.counts, want.counts), f"the samples have {counts} valid rows: {where}")
        if got.positions is not None and want.positions is not None:
            moved = int((got.positions != want.positions).sum())
            require(not moved, f"{moved} of {len(want.positions)} valid rows have another position: {where}")
        hold(self, got.values, want.values, where)


_woken: list[tuple[Candidate, dict[tuple[int, bool], nn.Module]]] = []


def _woken_of(candidate: Candidate) -> dict[tuple[int, bool], nn.Module]:
    """The parts of a candidate as they were woken for earlier cases, by the form's identity and ``values``.

    Building and waking takes longer than most cases. Only those of the last candidate are kept.
    """
    if not _woken or _woken[0][0] != candidate:
        _woken[:] = [(candidate, {})]
    return _woken[0][1]


S = TypeVar("S", bound=PartSubject)


def each_setting(case: Callable[[S, Setting], None]) -> Callable[[S], None]:
    """A decorator that runs a case on the part for each form; what is wrong or allowed there names the form."""

    @wraps(case)
    def run(subject: S) -> None:
        for setting in subject.settings():
            subject.at = setting.where
            try:
                case(subject, setting)
            except ConformanceError as error:
                raise ConformanceError(f"{error}: {setting.where}") from error

    return run


class LayoutSubject(PartSubject):
    """A part of a multimodal model, which is built as ``Part(layout, **params)``."""

    def build(self, form: Layout, *, seed: int = 0, values: bool = True) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            part: nn.Module = self.candidate.target(form, **self.candidate.params)
        return part

    def terms(self, setting: Setting, content: Content) -> dict[str, Tensor]:
        self.run(setting.part, content)
        target = targets(setting.form)
        return {name: term for _, each in trained_modules(setting.part) for name, term in each.losses(target).items()}

    def describe(self, form: Layout) -> str:
        context = f"context {', '.join(form.context)}" if form.context else "no context"
        primary = f"primary {', '.join(form.primary)}"
        return f"{context}, {primary}, hidden {form.hidden}, heads {form.heads}, outputs {form.outputs}"


def targets(form: Layout) -> Tensor:
    """Targets ``[B, K]`` of a layout's outputs, 0 or 1; of several labels the first is never there."""
    found = torch.randint(0, 2, (SAMPLES, form.outputs), generator=torch.Generator().manual_seed(3)).double()
    if form.outputs > 1:
        found[:, 0] = 0
    return found


def layout_of(
    primary: Sequence[str], context: Sequence[str] = (), *, hidden: int = 12, heads: int = 3, outputs: int = 3
) -> Layout:
    """A layout with a dropout that would be seen if it took part."""
    return Layout(hidden, heads, 0.5, tuple(primary), tuple(context), outputs)


def backward(values: Tensor) -> None:
    """The backward pass of a sum in which each value has a weight of its own.

    Raises:
        ConformanceError: The values have no gradient at all.
    """
    require(values.requires_grad, "the output has no gradient: it was detached, or made without one")
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (values * weights.to(values.dtype)).sum().backward()  # type: ignore[no-untyped-call]


def hold(findings: Findings, got: Tensor, want: Tensor, where: str, tolerance: float = TOLERANCE) -> None:
    """Two tensors are equal within ``tolerance`` of the largest value, and finite.

    Raises:
        ConformanceError: They are not.
    """
    require(got.shape == want.shape, f"shape {list(got.shape)}, not {list(want.shape)}: {where}")
    findings.compared += want.numel()
    if want.numel():
        largest = want.detach().abs().max().clamp(min=torch.finfo(want.dtype).tiny)
        findings.allow(float((got.detach() - want.detach()).abs().max() / largest), tolerance, where)


def same_state(got: Mapping[str, Tensor], want: Mapping[str, Tensor], what: str) -> None:
    """Two ``state_dict`` are the same to the last bit.

    Raises:
        ConformanceError: They are not; names the entries.
    """
    differ = got.keys() ^ want.keys()
    differ |= {name for name in got.keys() & want.keys() if not torch.equal(got[name], want[name])}
    require(not differ, f"{what}: {', '.join(sorted(differ))}")


def without_dropout(part: nn.Module) -> nn.Module:
    """A copy in training mode whose dropout layers let everything pass."""
    steady = copy.deepcopy(part).train()
    for module in steady.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return steady


def through_a_file(part: nn.Module, other: nn.Module) -> nn.Module:
    """``other`` with the weights of ``part``, which went through a safetensors file.

    Raises:
        ConformanceError: They do not fit.
    """
    state = part.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    require(not odd, f"{', '.join(odd)} of its state_dict is no tensor, and cannot be in a checkpoint")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.safetensors"
        write_tensors(path, state, {})
        load_checkpoint(path, other)
    same_state(other.state_dict(), state, "not as it was saved")
    return other
