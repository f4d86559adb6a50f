"""Check for hooks on a module, which a fast path that skips the module's parts would not call."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as modules

__all__ = ["has_hooks"]

_GLOBAL_HOOKS = (
    modules._global_forward_hooks,
    modules._global_forward_pre_hooks,
    modules._global_backward_hooks,
    modules._global_backward_pre_hooks,
)


def has_hooks(module: nn.Module) -> bool:
    """Return whether the module or a part of it has a hook or a replaced ``forward``, or a global hook is set."""
    if any(_GLOBAL_HOOKS):
        return True
    pending = [module]
    while pending:  # module.modules() would take longer than a small block's forward
        part = pending.pop()
        own = part.__dict__
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            return True
        if "forward" in own:
            return True
        pending += [child for child in part._modules.values() if child is not None]
    return False
