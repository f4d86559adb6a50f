"""How far the gradients of one model are from another's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

__all__ = ["GRADIENT_FLOOR", "GRADIENT_TOLERANCE", "GradientDifference", "gradient_difference"]

GRADIENT_TOLERANCE = {True: 1e-5, False: 1e-4}
"""Allowed difference of a gradient, as a share of its tensor's largest, by exact or not."""
GRADIENT_FLOOR = 1e-4
"""Tensors whose largest gradient is below this share of the model's largest are judged by that:
some gradients are 0 but for rounding, such as an attention key's bias."""


@dataclass(frozen=True)
class GradientDifference:
    """The tensor whose gradient differs most.

    Attributes:
        worst: Its name; empty where none differs.
        relative: Its largest difference, as a share of its own largest.
        judged: The same, as a share of the floor where that is larger; what is held to the tolerance.
    """

    worst: str = ""
    relative: float = 0.0
    judged: float = 0.0

    def or_worse(self, other: GradientDifference) -> GradientDifference:
        """The worse of two; one that is not a number is the worst."""
        return self if math.isnan(self.judged) or other.judged <= self.judged else other


def gradient_difference(
    gradients: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None]
) -> GradientDifference:
    """The worst tensor by the judged measure; a gradient that only one side has is infinitely off."""
    largest = {name: float(g.abs().max()) for name, g in expected.items() if g is not None and g.numel()}
    floor = GRADIENT_FLOOR * max(largest.values(), default=0.0)
    found = GradientDifference()
    for name, want in expected.items():
        got = gradients[name]
        if got is None or want is None:
            if got is not want:
                return GradientDifference(name, float("inf"), float("inf"))
            continue
        error = float((got - want).abs().max()) if got.numel() else 0.0
        scale = max(largest.get(name, 0.0), floor)
        own = largest.get(name, 0.0)
        measured = GradientDifference(name, error / own if own > 0 else error, error / scale if scale > 0 else error)
        found = found.or_worse(measured)
    return found
