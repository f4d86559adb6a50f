"""What a forward keeps for the loss terms that are computed after it."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Kept"]


class Kept(dict[str, Any]):
    """Values of the last forward that had gradients, by name; neither a deep copy of the module nor a pickle has them.

    ``copy.deepcopy`` refuses tensors that are part of a graph.

    Example:
        >>> kept = Kept()
        >>> kept.keep(rates=torch.zeros(3))
        >>> kept.pop("rates", None)
        tensor([0., 0., 0.])
    """

    def keep(self, **values: Any) -> None:
        """Replace what is kept; keep nothing in a forward without gradients, as in evaluation."""
        self.clear()
        if torch.is_grad_enabled():
            self.update(values)

    def __copy__(self) -> Kept:
        # Where samples are mixed, a shallow copy of the module computes the terms for the other targets.
        copied = Kept()
        copied.update(self)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Kept:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()
