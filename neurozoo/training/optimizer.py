"""The optimiser that a recipe names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from neurozoo.core.model import Model
from neurozoo.errors import UserError
from neurozoo.recipe.recipe import Recipe

__all__ = ["make_optimizer"]


def make_optimizer(recipe: Recipe, model: Model) -> torch.optim.Optimizer:
    """The recipe's optimiser, over all of the model's parameters.

    Raises:
        UserError: It has none.
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
