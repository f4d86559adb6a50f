"""What any network computes on given inputs: ``nz.count_operations(net, x)``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from neurozoo.core.layer import Firing
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, recorded
from neurozoo.errors import UserError
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.result import Counts

__all__ = ["count_operations"]


def count_operations(net: nn.Module, x: Any, *, samples: int | None = None) -> Counts:
    """Count the operations of a network on inputs, in evaluation mode; those with a zero are skipped.

    ``print(counts)`` shows them a sample, ``counts.layers`` has each layer, :func:`neurozoo.energy` estimates what they
    cost. The network is the same afterwards.

    Args:
        net: Any module. Linears, convolutions, attention of this package and layers of neurons are counted; what else
            multiplies matrices is in ``counts.uncounted``.
        x: Its input: a tensor, a batch, a dictionary, or a tuple of arguments.
        samples: Number of samples in ``x``; by default B of the first layer of neurons, or of a model's batch.

    Raises:
        UserError: The number of samples is not known, or it is below 1.

    Example:
        >>> counts = nz.count_operations(net, x)
        >>> counts.a_sample(counts.acs)
        1920.0
    """
    if samples is not None and samples < 1:
        raise UserError(f"samples is {samples}; give the number of samples in x, from 1 on")
    found: list[int] = [] if samples is None else [samples]
    if isinstance(net, Model):
        found.append(_batch_size(x))

    def note(_name: str, firing: Firing) -> None:
        found.append(firing.currents.shape[1])

    counter, training = OperationCounter(net), [module for module in net.modules() if module.training]
    try:
        net.eval()
        with ExitStack() as undo:
            undo.enter_context(torch.no_grad())
            undo.enter_context(frozen_statistics(net))
            undo.enter_context(recorded(net, note))
            undo.enter_context(counter)
            net(*(x if isinstance(x, tuple) else (x,)))
    finally:
        for module in training:
            module.training = True
    if not found:
        raise UserError(
            f"{type(net).__name__} has no layer of neurons of neurozoo, which would tell how many samples x has; give "
            "samples=B"
        )
    return counter.counts(found[0])


def _batch_size(x: Any) -> int:
    """The number of samples that a model of the zoo gets."""
    return len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)
