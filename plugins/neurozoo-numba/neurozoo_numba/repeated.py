"""The gradient of one current that is presented at every step.

Currents that are expanded over T, as SMILE's are, get their gradient added up over T in the end. The kernel does that
as it goes, which saves writing and reading T times as many numbers. Autograd however asks for a gradient of the
expanded shape, which it then adds up itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["repeated_gradient"]


def repeated_gradient(total: Tensor, steps: int, whole: Callable[[], Tensor]) -> Tensor:
    """A gradient ``[T, B, ...]`` whose sum over T is known, and the rest only if someone asks.

    Args:
        total: The sum, ``[B, ...]``.
        steps: T.
        whole: Computes all of it, ``[T, B, ...]``.
    """
    return _Repeated(total, steps, whole)


class _Repeated(Tensor):
    """Answers to a sum over T; to everything else it is the whole gradient, computed then."""

    @staticmethod
    def __new__(cls, total: Tensor, steps: int, whole: Callable[[], Tensor]) -> _Repeated:
        made: _Repeated = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, (steps, *total.shape), dtype=total.dtype, device=total.device
        )
        return made

    def __init__(self, total: Tensor, steps: int, whole: Callable[[], Tensor]) -> None:
        self.total = total
        self.whole = whole

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return repr(self.whole())

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.sum.dim_IntList and len(args) == 3 and not kwargs and 0 in args[1]:
            x, axes, keep = args
            total = x.total.unsqueeze(0)
            return total.sum(axes, keepdim=keep) if len(axes) > 1 else total if keep else x.total
        args, kwargs = torch.utils._pytree.tree_map_only(cls, lambda x: x.whole(), (args, kwargs or {}))
        return func(*args, **kwargs)
