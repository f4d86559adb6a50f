"""Base class of the models whose signals are modalities: at most one context, the others spiking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neurozoo.core.model import Model
from neurozoo.core.multimodal import Layout
from neurozoo.core.signals import Problem
from neurozoo.errors import DataError
from neurozoo.models.multimodal.modalities import Size, undividable, wrong_modalities

__all__ = ["CORRECTED_PARTS", "CORRECTED_SEQUENCE_PARTS", "MultimodalModel", "Size"]

CORRECTED_SEQUENCE_PARTS: Mapping[str, str] = {
    "activation": "lif",
    "threshold": "disagreement",
    "head": "label-decoder",
}
"""By slot, the parts with which a prediction depends on its own sample alone."""
CORRECTED_PARTS: Mapping[str, str] = {**CORRECTED_SEQUENCE_PARTS, "scaling": "rate-gain", "fusion": "interactive"}
"""The same of a model that fuses its modalities."""


class MultimodalModel(Model):
    """A model of modalities, each a signal of features ``[L, D]``, for any task per sample.

    Args:
        problem: Its signals are the modalities.
        context: The one modality without a spiking branch; None for none.
        spiking: The modalities with a spiking branch, in order; None for all others.

    Raises:
        DataError: A role names no signal, a signal has no role or another form than features, or nothing is spiking.
    """

    works_without_spikes = True
    renamed = (
        (r"^branches\.(.+)\.linear1\.", r"branches.\1.first.synapse."),
        (r"^branches\.(.+)\.linear2\.", r"branches.\1.second.synapse."),
    )

    def __init__(self, problem: Problem, context: str | None, spiking: Sequence[str] | None) -> None:
        super().__init__(problem)
        for _, wrong in _check_roles(problem, context, spiking):
            raise DataError(wrong)
        others = tuple(name for name in problem.signals if name != context)
        self.context, self.spiking = context, others if spiking is None else tuple(spiking)
        self.modalities = (*([] if context is None else [context]), *self.spiking)

    def layout(self, hidden: int, heads: int, dropout: float) -> Layout:
        """Return the layout of the model's parts."""
        context = () if self.context is None else (self.context,)
        task = self.problem.task
        return Layout(hidden, heads, dropout, self.spiking, context, len(task.outputs), labels=task.outputs)

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        yield from undividable(**params)
        yield from _check_roles(problem, params["context"], params["spiking"])

    def extra_repr(self) -> str:
        return f"spiking={self.spiking}, context={self.context}"


def _check_roles(
    problem: Problem | None, context: str | None, spiking: Sequence[str] | None
) -> Iterable[tuple[str, str]]:
    """Yield (parameter, problem and what to do) for wrong roles; checks the names alone without a problem."""
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
    for wrong in wrong_modalities(problem):
        yield "spiking", wrong
