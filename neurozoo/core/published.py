"""What a published model declares: its authors' names of tensors, its quirks, and its sizes."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from neurozoo.core.earlier_names import takes_earlier_arguments

__all__ = ["AuthorsNames", "Quirk", "Variant"]


@dataclass(frozen=True)
class AuthorsNames:
    """How the tensors of the authors' checkpoints are named there and here.

    Attributes:
        renamed: Pairs of a regular expression for the authors' whole name, and the name here, a template for
            :meth:`re.Match.expand`. If several match, the first one counts whose name here the model has, so that one
            table serves several forms of a model.
        unused: Regular expressions for the authors' names that have no counterpart here, and why.
        transposed: Regular expressions for names here of matrices that the authors store transposed.
        own: Names here of tensors that the authors do not store, and that keep their initial values.
        repeated: Regular expressions for names here of numbers that the authors store as a tensor of equal elements.

    Example:
        >>> names = AuthorsNames((("fc[.](.*)", r"head.\\1"),), {"norm[.].*": "never used"})
        >>> names.here("fc.weight")
        'head.weight'
    """

    renamed: tuple[tuple[str, str], ...]
    unused: Mapping[str, str] = field(default_factory=dict)
    transposed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()

    def here(self, theirs: str, own: Container[str] = ()) -> str | None:
        """Return the name here of one of the authors' tensors; None if no pair matches.

        Args:
            theirs: The authors' name.
            own: Names of the model's tensors, which decide if several pairs match.
        """
        matching = [
            match.expand(name) for pattern, name in self.renamed if (match := re.fullmatch(pattern, theirs)) is not None
        ]
        return next((name for name in matching if name in own), matching[0] if matching else None)

    def why_unused(self, theirs: str) -> str | None:
        """Return why one of the authors' tensors has no counterpart here; None if it is not known as unused."""
        return next((why for pattern, why in self.unused.items() if re.fullmatch(pattern, theirs)), None)

    def is_transposed(self, here: str) -> bool:
        """Return whether the authors store a matrix transposed."""
        return any(re.fullmatch(pattern, here) for pattern in self.transposed)

    def is_repeated(self, here: str) -> bool:
        """Return whether the authors store a number as a tensor of equal elements."""
        return any(re.fullmatch(pattern, here) for pattern in self.repeated)


@takes_earlier_arguments
@dataclass(frozen=True)
class Quirk:
    """A parameter of a model for one thing that the published code does and the corrected model does not.

    Attributes:
        published: Its value in the published model.
        corrected: Its value in the corrected model, which is the parameter's default.
        effect: What the published value causes, as a clause: ``the prediction depends on the padding of the batch``.
    """

    published: Any
    corrected: Any
    effect: str


@dataclass(frozen=True)
class Variant:
    """A published size of a model.

    Attributes:
        params: The model's parameters; with those of :attr:`~neurozoo.core.model.Model.quirks` at their published
            values it is the published model.
        shape: Axes of a position of its signal: ``(C, H, W)``, ``(N,)``, or ``()`` for tokens.
        length: Positions L of its signal; 1 for a picture.
        outputs: Number of outputs K.
        parameters: Learnable parameters of the published model as built here.
        unused: Learnable parameters of the authors' code that have no effect, and are not built here.
        source: Paper, and where its size is stated.
        neuron: The part that fills the slot ``neuron``, as in a recipe; None for the model's default.
        task: The task that it was published for.
        per_step: Whether the task has an answer for each position.
    """

    params: Mapping[str, Any]
    shape: tuple[int, ...]
    length: int
    outputs: int
    parameters: int
    source: str
    unused: int = 0
    neuron: Mapping[str, Any] | None = None
    task: str = "multiclass"
    per_step: bool = False
