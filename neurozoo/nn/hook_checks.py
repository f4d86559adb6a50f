"""Whether hooks have to see a module's parts called."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as modules

__all__ = ["listened_to"]

_EVERYWHERE = (
    modules._global_forward_hooks,
    modules._global_forward_pre_hooks,
    modules._global_backward_hooks,
    modules._global_backward_pre_hooks,
)


def listened_to(module: nn.Module) -> bool:
    """Whether the module or a part of it has a hook or a ``forward`` of its own, or every module has a hook."""
    if any(_EVERYWHERE):
        return True
    waiting = [module]
    while waiting:  # not module.modules(), which takes longer than a small block
        part = waiting.pop()
        own = part.__dict__
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            return True
        if "forward" in own:
            return True
        waiting += [each for each in part._modules.values() if each is not None]
    return False
