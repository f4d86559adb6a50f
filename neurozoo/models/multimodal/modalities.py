"""Base class of models whose signals are modalities, without any other role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Model
from neurozoo.core.multimodal import Layout, Tokens
from neurozoo.core.signals import Batch, Problem, Signal
from neurozoo.errors import DataError
from neurozoo.nn.sequence import tokens

__all__ = ["ModalityModel", "Size", "Weight", "check_multilabel", "undividable", "wrong_modalities", "wrong_signals"]

Size = Annotated[int, Field(ge=1, le=65_536)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class ModalityModel(Model):
    """A model of modalities, each a signal of features ``[L, D]``, for any task per sample.

    The modalities are the signals of the recipe, in the order of ``data.inputs``.

    Args:
        problem: Its signals are the modalities.

    Attributes:
        modalities: Their names, in order.

    Raises:
        DataError: A signal has another form than features, or a name that a module cannot have; the task is per step.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        for wrong in wrong_modalities(problem):
            raise DataError(wrong)
        self.modalities = tuple(problem.signals)

    def layout(self, hidden: int, heads: int, dropout: float, neuron: MakeNeuron | None = None) -> Layout:
        """Return the layout of the model's parts; every modality is a primary one."""
        labels = self.problem.task.outputs
        return Layout(hidden, heads, dropout, self.modalities, (), len(labels), neuron=neuron, labels=labels)

    def sequence(self, name: str, batch: Batch, masked: bool = True) -> Tokens:
        """Return a modality's features ``[B, L, D]``, padding 0; unmasked padding is rows like others."""
        signal = self.signal(batch, name)
        return tokens(signal.values, signal.valid if masked else None).of(name)

    def as_stored(self, name: str, batch: Batch, masked: bool) -> Tokens:
        """Return all rows of a modality, padding too, with their places as positions; as published code has it."""
        given = batch.signals[name]
        values = self.signal(Batch({name: Signal(given.values)}), name).values
        return replace(tokens(values, None), mask=given.valid if masked else None).of(name)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from undividable(**params)

    def extra_repr(self) -> str:
        return f"modalities={self.modalities}"


def undividable(*, hidden: int, heads: int, **_: Any) -> Iterator[tuple[str, str]]:
    """Yield a parameter and what is wrong if the heads do not divide the width."""
    if hidden % heads:
        yield "heads", f"{heads} heads do not divide hidden = {hidden}; choose a divisor of {hidden}"


def wrong_signals(problem: Problem) -> Iterator[str]:
    """Yield why the signals of a problem cannot be modalities, and what to do, whatever the task is."""
    for name, shape in problem.signals.items():
        if len(shape.shape) != 1:
            yield f"a modality is features [L, D], and {name} is {shape}; choose another model, or other data"
        if "." in name or hasattr(nn.ModuleDict, name):
            yield (
                f"a modality cannot be called {name!r}, as parts of the model are; give it another name with "
                f"data.join={{NAME: [{name}]}}"
            )


def wrong_modalities(problem: Problem) -> Iterator[str]:
    """Yield why the signals of a problem cannot be modalities of a task per sample, and what to do."""
    yield from wrong_signals(problem)
    if problem.task.per_step:
        yield "the label head gives one answer a sample, and the task is per step; choose another model"


def check_multilabel(problem: Problem) -> None:
    """Refuse a task whose targets are not 0 or 1 for each label.

    Raises:
        DataError: The task is another one than multilabel.
    """
    if problem.task.name != "multilabel":
        raise DataError(
            f"the model learns which labels are there, and the task is {problem.task.name}; choose another model, or "
            "data with the task multilabel"
        )
