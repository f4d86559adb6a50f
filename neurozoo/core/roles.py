"""Roles of a model's parameters, by which a recipe groups them for the optimiser."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from neurozoo.core.layer import SpikingLayer
from neurozoo.core.model import trained_modules
from neurozoo.errors import NeurozooError

__all__ = ["parameter_roles"]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def parameter_roles(model: nn.Module) -> dict[str, str]:
    """Return the role of each parameter, by its name in ``model.named_parameters()``.

    - ``neuron``: a learned parameter of a :class:`~neurozoo.core.layer.SpikingLayer`'s neurons, such as a leak;
    - ``norm``: scale and shift of a normalisation;
    - ``embedding``: a table of embeddings;
    - ``bias``: a parameter called so;
    - ``scale``: another parameter of at most one axis;
    - ``weight``: all others.

    :meth:`~neurozoo.core.model.Trained.roles` of a module replaces them and may add words of its own, such as
    ``position`` for delays.

    Raises:
        NeurozooError: A module names a role for a parameter that it does not have.
    """
    roles: dict[str, str] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            roles[name] = _default(module, name.rpartition(".")[2], parameter.dim())
    for prefix, module in model.named_modules():
        if isinstance(module, SpikingLayer):
            roles |= {name: "neuron" for name, _ in module.stored.named_parameters(f"{prefix}.stored".lstrip("."))}
    # Outer modules last: a model decides what the parameters of its parts are to it.
    for prefix, module in reversed(list(trained_modules(model))):
        own = dict(module.named_parameters(remove_duplicate=False))
        for name, role in module.roles().items():
            if name not in own:
                there = ", ".join(own) or "none"
                raise NeurozooError(f"{type(module).__name__}.roles() names {name!r}, and its parameters are: {there}")
            roles[f"{prefix}.{name}".lstrip(".")] = role
    return {name: roles[name] for name, _ in model.named_parameters()}


def _default(module: nn.Module, name: str, axes: int) -> str:
    if isinstance(module, _NORMS):
        return "norm"
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if "bias" in name.split("_"):
        return "bias"
    return "weight" if axes > 1 else "scale"
