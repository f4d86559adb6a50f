"""Inputs that take gradients, and an objective that every value of an output counts in."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.core.interfaces import Tokens
from neurozoo.testing.findings import ConformanceError
from neurozoo.testing.parts.inputs import Content, changed, each_sequence

__all__ = ["backward", "leaves"]


def leaves(content: Content) -> tuple[Content, dict[str, Tensor]]:
    """The same content as leaves of a graph, and these by the names of :func:`each_sequence`."""

    def leaf(sequence: Tokens) -> Tokens:
        return sequence.with_x(sequence.x.detach().clone().requires_grad_())

    own = changed(content, leaf)
    return own, {name: sequence.x for name, sequence in each_sequence(own).items()}


def backward(values: Tensor) -> None:
    """The backward pass of a sum in which each value has a weight of its own.

    Raises:
        ConformanceError: The values have no gradient at all.
    """
    if not values.requires_grad:
        raise ConformanceError("the output has no gradient: it was detached, or made without one")
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (values * weights.to(values.dtype)).sum().backward()  # type: ignore[no-untyped-call]
