"""Backends side by side on one model, and runs side by side: what is the same, and what is not."""

from __future__ import annotations

from neurozoo.compare.backends import Backend, compare, declared
from neurozoo.compare.entry_points import Plan, compare_recipe, compare_run
from neurozoo.compare.result import BackendResult, Comparison, LayerResult, Mismatch, Setting, Training, Trajectory

__all__ = [
    "Backend",
    "BackendResult",
    "Comparison",
    "LayerResult",
    "Mismatch",
    "Plan",
    "Setting",
    "Training",
    "Trajectory",
    "compare",
    "compare_recipe",
    "compare_run",
    "declared",
]
