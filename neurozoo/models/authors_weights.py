"""Weights under the names of a published model's authors, into the model here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.errors import CheckpointError

__all__ = ["Taken", "convert_weights", "load_authors_weights"]


@dataclass(frozen=True)
class Taken:
    """What became of the authors' tensors.

    Attributes:
        weights: By the name here.
        names: The authors' name, by the name here.
        left: Why one of the authors' tensors was not taken, by their name.
    """

    weights: Mapping[str, Tensor]
    names: Mapping[str, str]
    left: Mapping[str, str]


def convert_weights(model: Model, weights: Mapping[str, Tensor], where: str = "the weights") -> Taken:
    """Convert the authors' tensors to the names and shapes of a model.

    Axes of length 1 may be there or not, as in a convolution of kernel 1 that is a linear here.

    Args:
        model: Built in the published size.
        weights: By the authors' names.
        where: What to call them in errors, such as the file's name.

    Raises:
        CheckpointError: A name is not the published model's, a shape does not fit, or tensors are missing.
    """
    table = model.authors_names
    if table is None:
        raise CheckpointError(f"{type(model).__name__} is no published model; it has no table of its authors' names")
    own = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    taken: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    left: dict[str, str] = {}
    for theirs, given in weights.items():
        if theirs.endswith("num_batches_tracked"):
            left[theirs] = "a count that nothing reads"
            continue
        here = table.here(theirs, own)
        if here is None or (here not in own and table.why_unused(theirs)):
            why = table.why_unused(theirs)
            if why is None:
                raise CheckpointError(
                    f"{where}: {theirs!r} is no tensor of the published {type(model).__name__}; give a file of the "
                    "authors' own training, or choose the model that it belongs to"
                )
            left[theirs] = why
            continue
        if here not in own:
            raise CheckpointError(
                f"{where}: {theirs!r} is {here!r} here, which this size of the model does not have; choose another "
                f"variant. It has {len(own)} tensors, such as {', '.join(sorted(own)[:3])}"
            )
        if here in taken:
            raise CheckpointError(f"{where}: {names[here]!r} and {theirs!r} are both {here!r} here; keep one of them")
        value = given.T if table.is_transposed(here) else given
        if table.is_repeated(here) and given.numel():
            value = given.flatten()[0]
            if bool((given != value).any()):
                raise CheckpointError(
                    f"{where}: the elements of {theirs!r} differ, and {here!r} is one number here; give a file of the "
                    "authors' own training, where they are equal"
                )
        if [axis for axis in value.shape if axis != 1] != [axis for axis in own[here].shape if axis != 1]:
            raise CheckpointError(
                f"{where}: {theirs!r} has the shape {list(given.shape)} and {here!r} needs {list(own[here].shape)}; "
                "choose the variant, or the parameters, that the file was trained with"
            )
        if value.is_complex() or not bool(value.to(own[here].dtype).isfinite().all()):
            what = "complex numbers" if value.is_complex() else "values that are no finite numbers"
            raise CheckpointError(f"{where}: {theirs!r} holds {what}; download the file again, or give another")
        taken[here], names[here] = value.reshape(own[here].shape), theirs
    if missing := sorted(own.keys() - taken.keys() - {*table.own}):
        raise CheckpointError(
            f"{where}: nothing for {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}; the file holds "
            f"{len(taken)} of the {len(own)} tensors. Choose the variant that it was trained with"
        )
    return Taken(taken, names, left)


@torch.no_grad()
def load_authors_weights(model: Model, weights: Mapping[str, Tensor], where: str = "the weights") -> Taken:
    """Set a model's parameters and running statistics from the authors' tensors, see :func:`convert_weights`."""
    taken = convert_weights(model, weights, where)
    own = model.state_dict(keep_vars=True)
    for name, value in taken.weights.items():
        own[name].copy_(value)
    return taken
