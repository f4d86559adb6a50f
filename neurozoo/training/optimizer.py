"""The optimiser and the learning-rate schedule that a recipe names."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from neurozoo.core.model import Model
from neurozoo.errors import UserError
from neurozoo.recipe.recipe import Recipe

__all__ = ["Schedule", "make_optimizer"]


def make_optimizer(recipe: Recipe, model: Model) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of all parameters of the model.

    Raises:
        UserError: The model has none.
    """
    if not any(True for _ in model.parameters()):
        raise UserError(
            f"the model {recipe.model.name!r} has no weights, so there is nothing to train; evaluate it as it is"
        )
    chosen = recipe.training.optimizer
    kinds: Mapping[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "rmsprop": torch.optim.RMSprop,
        "sgd": torch.optim.SGD,
    }
    options: dict[str, Any] = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
    options |= {"momentum": chosen.momentum} if chosen.momentum else {}
    return _uncompiled(kinds[chosen.name])(model.parameters(), **options)


def _uncompiled(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return the optimiser's class without the wrappers of its methods (``torch/optim/optimizer.py``).

    They are marks for ``torch.compile``, whose import adds a third to the time from a command to its first step. A
    training compiles the model, and never the optimiser.
    """
    step = inspect.unwrap(kind.step)
    marked = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in marked}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(step)})


class Schedule:
    """The learning rate of each epoch, as a recipe says."""

    def __init__(self, recipe: Recipe, optimizer: torch.optim.Optimizer) -> None:
        self._chosen, self._epochs = recipe.training.scheduler, recipe.training.epochs
        self._plateau = self._chosen.name == "plateau"
        self._scheduler: Any = (
            torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=self._chosen.factor, patience=self._chosen.patience
            )
            if self._plateau
            else torch.optim.lr_scheduler.LambdaLR(optimizer, self._height)
        )

    def _height(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0, as a fraction of the recipe's."""
        warmup = self._chosen.warmup
        if epoch < warmup:
            return (epoch + 1) / (warmup + 1)
        if self._chosen.name == "step":
            return self._chosen.factor ** ((epoch - warmup) // self._chosen.every)
        if self._chosen.name == "cosine":
            return (1 + math.cos(math.pi * (epoch - warmup) / max(self._epochs - warmup, 1))) / 2
        return 1.0

    def step(self, valid_loss: float) -> None:
        """Set the learning rate of the next epoch."""
        self._scheduler.step(*([valid_loss] if self._plateau else []))

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes."""
        return dict(self._scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._scheduler.load_state_dict(state)
