"""Weights & Biases as a logger of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The logger ``wandb``."""
    yield Component(
        "logger",
        "wandb",
        "neurozoo_wandb.logger:WandbLogger",
        "a run of Weights & Biases, offline by default: metrics of each epoch, the recipe, files on request",
        requires=("wandb",),
        install="pip install neurozoo-wandb",
        tested=("wandb >=0.31,<0.32",),
    )
