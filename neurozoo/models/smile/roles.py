"""Which modality has which role: one context at most, the others spiking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from neurozoo.core.signals import Problem
from neurozoo.errors import DataError

__all__ = ["check_roles", "roles"]


def roles(problem: Problem, context: str | None, spiking: Sequence[str] | None) -> tuple[str | None, tuple[str, ...]]:
    """The context and the spiking modalities of a problem.

    Args:
        problem: Its signals are the modalities.
        context: The one modality without a spiking branch, or None.
        spiking: The others, in order; None for all of them as they come.

    Raises:
        DataError: A role names no signal, a signal has no role or another form than features, or nothing is spiking.
    """
    for _, wrong in check_roles(problem, context, spiking):
        raise DataError(wrong)
    return context, tuple(name for name in problem.signals if name != context) if spiking is None else tuple(spiking)


def check_roles(
    problem: Problem | None, context: str | None, spiking: Sequence[str] | None
) -> Iterable[tuple[str, str]]:
    """What is wrong with the roles, as (parameter, problem and what to do); of the names alone without a problem."""
    named = [*([] if context is None else [context]), *(spiking or ())]
    if spiking is not None and context in spiking:
        yield "context", f"{context!r} is among the spiking modalities too; name it in one of the two"
    for twice in sorted({name for name in spiking or () if list(spiking or ()).count(name) > 1}):
        yield "spiking", f"{twice!r} is named twice; name it once"
    if spiking is not None and not spiking:
        yield "spiking", "no modality is spiking; name at least one, or leave it out for all"
    if problem is None:
        return
    there = ", ".join(f"{name} {shape}" for name, shape in problem.signals.items())
    for name in named:
        if name not in problem.signals:
            yield "context" if name == context else "spiking", f"the data has no modality {name!r}; there are: {there}"
    if spiking is not None and (idle := [name for name in problem.signals if name not in named]):
        yield (
            "spiking",
            f"{', '.join(idle)} has no role; name it as context or as spiking, or leave it out of data.inputs",
        )
    if spiking is None and not set(problem.signals) - {context}:
        yield "context", f"{context} is all there is, and at least one modality has to be spiking; set context to null"
    for name, shape in problem.signals.items():
        if len(shape.shape) != 1:
            yield (
                "spiking",
                f"a modality is features [L, D], and {name} is {shape}; choose another model, or other data",
            )
        if "." in name or hasattr(nn.ModuleDict, name):
            yield (
                "spiking",
                f"a modality cannot be called {name!r}, as parts of the model are; give it another name with "
                f"data.join={{NAME: [{name}]}}",
            )
    if problem.task.per_step:
        yield "spiking", "the label head gives one answer a sample, and the task is per step; choose another model"
