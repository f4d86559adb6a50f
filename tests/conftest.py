"""What several tests share: small SMILE models and batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from neurozoo.interfaces import Batch, Inputs, Layout
from neurozoo.models.smile import SMILE
from neurozoo.nn.neurons import TorchNeuron
from neurozoo.registry import default_registry

SOUND = {
    "activation": "lif",
    "threshold": "disagreement",
    "scaling": "rate-gain",
    "fusion": "interactive",
    "head": "label-decoder",
}


@pytest.fixture
def layout() -> Callable[..., Layout]:
    """Makes a layout; keyword arguments replace its defaults."""

    def make(**changes: Any) -> Layout:
        given = {
            "hidden": 10,
            "heads": 5,
            "dropout": 0.1,
            "spiking": ("audio", "vision"),
            "context": "text",
            "labels": 3,
            "neuron": TorchNeuron,
        }
        return Layout(**(given | changes))

    return make


@pytest.fixture
def smile() -> Callable[..., SMILE]:
    """Makes a SMILE model of named parts, the sound ones by default, on any backend."""

    def make(
        dims: Mapping[str, int],
        spiking: tuple[str, ...],
        context: str | None = None,
        *,
        labels: int = 3,
        parts: Mapping[str, str] | None = None,
        part_params: Mapping[str, Mapping[str, Any]] | None = None,
        backend: str = "torch",
        seed: int = 0,
        standardise: bool = False,
        **params: Any,
    ) -> SMILE:
        registry = default_registry()
        names, given = SOUND | dict(parts or {}), dict(part_params or {})

        def build(slot: str, layout: Layout) -> Any:
            return registry.resolve(SMILE.slots[slot], names[slot])(layout, **given.get(slot, {}))

        torch.manual_seed(seed)
        neuron = registry.resolve("backend", backend)
        return SMILE(Inputs(dims, spiking, context, labels), build, neuron, standardise, **params)

    return make


@pytest.fixture
def random_batch() -> Callable[..., Batch]:
    """Makes a batch of random features, with some rows of padding on the right."""

    def make(
        shapes: Mapping[str, tuple[int, int]], samples: int = 4, labels: int = 3, seed: int = 0, scale: float = 3.0
    ) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        features, masks = {}, {}
        for name, (length, dim) in shapes.items():
            valid = torch.randint(1, length + 1, (samples,), generator=generator)
            masks[name] = torch.arange(length) < valid[:, None]
            x = scale * torch.randn(samples, length, dim, generator=generator)
            features[name] = x * masks[name][..., None]
        y = (torch.rand(samples, labels, generator=generator) < 0.4).float()
        return Batch(features, masks, y, torch.arange(samples))

    return make
