"""Whether anybody listens to a module, and has to see its parts called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules import module as modules

__all__ = ["has_hooks", "listened_to", "of_all_modules"]

_EVERYWHERE = (
    modules._global_forward_hooks,
    modules._global_forward_pre_hooks,
    modules._global_backward_hooks,
    modules._global_backward_pre_hooks,
)


def listened_to(module: nn.Module) -> bool:
    """Whether a part of it has a hook, or every module has, which must see that part called."""
    if of_all_modules():
        return True
    # Not by module.modules(), which takes longer than a small block.
    waiting: list[nn.Module | None] = [module]
    while waiting:
        each = waiting.pop()
        if each is not None:
            if has_hooks(each.__dict__):
                return True
            waiting += each._modules.values()
    return False


def has_hooks(own: Mapping[str, Any]) -> Any:
    """Whether a module has hooks of its own, by its ``__dict__``: something true, or something empty."""
    return own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]


def of_all_modules() -> bool:
    """Whether there are hooks of every module."""
    return any(_EVERYWHERE)
