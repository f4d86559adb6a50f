"""Whether anybody listens to a module, and has to see its parts called."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules import module as modules

__all__ = ["are_heard", "listened_to"]

_EVERYWHERE = (
    modules._global_forward_hooks,
    modules._global_forward_pre_hooks,
    modules._global_backward_hooks,
    modules._global_backward_pre_hooks,
)


def listened_to(module: nn.Module) -> bool:
    """Whether it or a part of it has a hook or a ``forward`` of its own, or every module has a hook."""
    parts, waiting = [], [module]
    while waiting:  # not by module.modules(), which takes longer than a small block
        part = waiting.pop()
        parts.append(part)
        if part._modules:
            waiting += [each for each in part._modules.values() if each is not None]
    return are_heard(parts)


def are_heard(parts: Iterable[nn.Module]) -> bool:
    """As :func:`listened_to`, of these modules without their parts."""
    if any(_EVERYWHERE):
        return True
    for part in parts:
        own = part.__dict__
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            return True
        if "forward" in own:
            return True
    return False
