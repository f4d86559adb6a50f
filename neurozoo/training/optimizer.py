"""The optimiser that a recipe names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from neurozoo.core.model import Model
from neurozoo.core.roles import parameter_roles
from neurozoo.errors import UserError
from neurozoo.recipe.recipe import Recipe
from neurozoo.recipe.schema import OptimizerGroup
from neurozoo.training.bert_adam import BertAdam
from neurozoo.training.lamb import Lamb

__all__ = ["make_optimizer"]

FUSED = ("adam", "adamw")
"""Optimisers whose step torch has in one pass on the CPU: in a third of the time, and without tensors in between, the
largest of which has the size of the largest parameter. On a GPU torch chooses."""


def make_optimizer(recipe: Recipe, model: Model) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of all parameters of the model.

    With groups in the recipe, the parameters of each role are a group that has the key ``role``, after a group of all
    others, if there are any.

    Raises:
        UserError: The model has no parameters, or none of a role that the recipe names.
    """
    if not any(True for _ in model.parameters()):
        raise UserError(
            f"the model {recipe.model.name!r} has no weights, so there is nothing to train; evaluate it as it is"
        )
    chosen = recipe.training.optimizer
    kinds: Mapping[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamax": torch.optim.Adamax,
        "adamw": torch.optim.AdamW,
        "bert-adam": BertAdam,
        "lamb": Lamb,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "rmsprop": torch.optim.RMSprop,
        "sgd": torch.optim.SGD,
    }
    options: dict[str, Any] = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
    options |= {"momentum": chosen.momentum} if chosen.momentum else {}
    options |= {"nesterov": True} if chosen.nesterov else {}
    options |= {"betas": chosen.betas} if chosen.betas is not None else {}
    options |= {"eps": chosen.eps} if chosen.eps is not None else {}
    options |= {"fused": True} if chosen.name in FUSED and _on_cpu(model) else {}
    params = _grouped(model, chosen.groups) if chosen.groups else model.parameters()
    return _uncompiled(kinds[chosen.name])(params, **options)


def _on_cpu(model: Model) -> bool:
    """Whether all parameters are real numbers on the CPU."""
    return all(each.device.type == "cpu" and each.is_floating_point() for each in model.parameters())


def _grouped(model: Model, groups: Mapping[str, OptimizerGroup]) -> list[dict[str, Any]]:
    roles = parameter_roles(model)
    there = sorted(set(roles.values()))
    if unknown := [role for role in groups if role not in there]:
        raise UserError(
            f"training.optimizer.groups: no parameter of {type(model).__name__} has the role {', '.join(unknown)}; its "
            f"roles are: {', '.join(there)}"
        )
    named = dict(model.named_parameters())
    others = [parameter for name, parameter in named.items() if roles[name] not in groups]
    made: list[dict[str, Any]] = [{"params": others}] if others else []
    for role, group in groups.items():
        own = {"lr": group.lr, "weight_decay": group.weight_decay}
        params = [parameter for name, parameter in named.items() if roles[name] == role]
        made.append(
            {"params": params, "role": role} | {name: value for name, value in own.items() if value is not None}
        )
    return made


def _uncompiled(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return the optimiser's class without the wrappers of its methods (``torch/optim/optimizer.py``).

    They are marks for ``torch.compile``, whose import adds a third to the time from a command to its first step. A
    training compiles the model, and never the optimiser.
    """
    step = inspect.unwrap(kind.step)
    marked = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in marked}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(step)})
