"""The gradient of one current that is presented at every step.

Currents that are expanded over T, as SMILE's are, get their gradient added up over T in the end. The kernel does that
as it goes, which saves writing and reading T times as many numbers. Autograd however asks for a gradient of the
expanded shape, which it then adds up itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

__all__ = ["repeated_gradient"]


def repeated_gradient(total: Tensor, steps: int, whole: Callable[[], Tensor], needs: Sequence[Tensor]) -> Tensor:
    """A gradient ``[T, B, ...]`` whose sum over T is known, and the rest only if someone asks.

    Args:
        total: The sum, ``[B, ...]``.
        steps: T.
        whole: Computes all of it, ``[T, B, ...]``.
        needs: What that needs; if it is changed before, asking is an error.
    """
    versions = [tensor._version for tensor in needs]

    def checked() -> Tensor:
        if versions != [tensor._version for tensor in needs]:
            raise RuntimeError(
                "the gradient of currents that are expanded over T is computed when it is read, and something that it "
                "is computed from has been modified by an inplace operation since the backward; clone it before that"
            )
        with torch.no_grad():
            return whole()

    return _Repeated(total, steps, checked)


class _Repeated(Tensor):
    """Answers to a sum over T; to everything else it is the whole gradient, computed then."""

    total: Tensor
    whole: Callable[[], Tensor]

    @staticmethod
    def __new__(cls, total: Tensor, steps: int, whole: Callable[[], Tensor]) -> _Repeated:
        made: _Repeated = torch.Tensor._make_wrapper_subclass(
            cls, (steps, *total.shape), dtype=total.dtype, device=total.device
        )
        made.total, made.whole = total, whole
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return repr(self.whole())

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.sum.default and not kwargs:
            return args[0].total.sum()
        if func is torch.ops.aten.sum.dim_IntList and len(args) == 3 and not kwargs and 0 in args[1]:
            repeated, axes, keep = args
            total = repeated.total.unsqueeze(0) if keep else repeated.total
            others = [axis if keep else axis - 1 for axis in axes if axis]
            return total.sum(others, keepdim=keep) if others else total
        args, kwargs = tree_map_only(cls, lambda repeated: repeated.whole(), (args, kwargs or {}))
        return func(*args, **kwargs)
