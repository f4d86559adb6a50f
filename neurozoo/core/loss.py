"""Losses as components: what a training minimises in place of its task's own loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar

from torch import Tensor

__all__ = ["Loss"]


class Loss(ABC):
    """A loss that a recipe names in ``training.losses``; several are added up with their weights.

    The keyword-only parameters of ``__init__`` are the recipe's. A loss is a plain object without learnable parameters
    or state. It changes the training alone: valid and test report the task's plain loss.
    """

    tasks: ClassVar[Collection[str]]
    """Names of the tasks whose outputs and targets it takes."""

    @abstractmethod
    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the losses ``[n, K]``, or ``[n, 1]`` if there is one per answer; the training takes their mean.

        Each answer's losses depend on its own outputs and target alone.

        Args:
            outputs: Of n answers, ``[n, K]``.
            target: ``[n, *target_shape]``, see :class:`~neurozoo.core.task.Task`.
        """
