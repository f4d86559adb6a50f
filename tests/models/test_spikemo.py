"""SpikEmo equals its authors' code, and its corrected form has the properties that the published one lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.spikemo import SpikEmo
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.testing.golden import GoldenFile
from neurozoo.testing.golden_parts import GoldenPart, PartCase
from neurozoo.training.initialisation import initialise_fluctuation_driven

FOLDER = Path(os.environ.get("NEUROZOO_GOLDEN") or Path(__file__).parents[1] / "golden" / "parts")
WIDTHS = {"text": 7, "audio": 5, "vision": 6}
PUBLISHED = {
    "state": "crossing",
    "padding": "visible",
    "attention_current": "raw",
    "dropout_at": "logits",
}
Make = Callable[..., Model]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Builds a small model; keyword arguments are its parameters."""

    def build(
        widths: Mapping[str, int] = WIDTHS, backend: str = "torch", per_step: bool = True, **params: Any
    ) -> Model:
        path = tmp_path / "recipe.yaml"
        small = {"hidden": 8, "spiking_heads": 2, "heads": 2, "time_steps": 8, "inner": 10, "dropout": 0.0}
        recipe = {
            "schema": 2,
            "data": {"name": "none", "expect": {name: {"dim": dim, "length": 5} for name, dim in widths.items()}},
            "task": {"name": "multiclass", "per_step": per_step, "outputs": 7},
            "model": {"name": "spikemo", "params": small | params},
        }
        path.write_text(json.dumps(recipe))
        read = load_recipe(path, registry=default_registry())
        return build_model(read, expected_problem(read)[0], backend=backend)

    return build


def signals(samples: int = 3, length: int = 5, widths: Mapping[str, int] = WIDTHS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(samples, length, dim, generator=generator) for name, dim in widths.items()}


class Case(PartCase):
    file = "mm-spikemo.safetensors"
    names = SpikEmo.authors_names.renamed if SpikEmo.authors_names else ()

    def __init__(self, make: Make, backend: str) -> None:
        self.make, self.backend = make, backend

    def network(self, header: Mapping[str, str]) -> nn.Module:
        sizes = {
            "hidden": "width",
            "spiking_heads": "spiking_heads",
            "depth": "depth",
            "time_steps": "T",
            "heads": "heads",
            "layers": "layers",
        }
        params = {ours: int(header[theirs]) for ours, theirs in sizes.items()}
        return self.make(backend=self.backend, **params, **PUBLISHED)

    def run(self, network: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        handles = [
            network.norm.register_forward_hook(lambda _, __, x: kept.update(rates=x)),
            network.fusion.register_forward_pre_hook(lambda _, x: kept.update({f"scaled_{m}": x[0][m].x for m in x[0]})),
            network.fusion.register_forward_hook(lambda _, __, x: kept.update({f"fused_{m}": x[m].x for m in x})),
            network.join.register_forward_hook(lambda _, __, x: kept.update(fc=x)),
        ]
        given = {name: Signal(batch[name].transpose(0, 1)) for name in ("text", "audio", "vision")}
        with recorded(network) as firings:
            out = network(Batch(given))
        for handle in handles:
            handle.remove()
        labels = batch["labels"]
        there = labels >= 0
        names = {"text": "text", "audio": "audio", "vision": "visual"}
        found = {"out": out[there], "loss": F.cross_entropy(out[there], labels[there]).reshape(1)}
        found["act/fc"] = kept["fc"][there]
        layers = {"q0": "blocks.0.attention.q", "attn0": "blocks.0.attention.attended", "last": "blocks.1.mlp.fc2"}
        for place, (ours, theirs) in enumerate(names.items()):
            found[f"act/rate_{theirs}"] = kept["rates"].chunk(3)[place].mean(0).transpose(0, 1)
            found[f"act/scaled_{theirs}"] = kept[f"scaled_{ours}"]
            found[f"act/fused_{theirs}"] = kept[f"fused_{ours}"][there]
            for short, layer in layers.items():
                found[f"act/spikes_{short}_{theirs}"] = firings[layer].spikes.chunk(3)[place]
        return found


@pytest.fixture(scope="module")
def file() -> GoldenFile:
    with safe_open(FOLDER / Case.file, framework="pt") as found:
        tensors = {key: found.get_tensor(key) for key in found.keys()}  # noqa: SIM118
        return GoldenFile(Case.file, found.metadata() or {}, tensors)


@pytest.mark.parametrize("backend", ["torch"])
class TestGolden:
    def test_batches(self, make: Make, file: GoldenFile, backend: str) -> None:
        golden = GoldenPart(Case(make, backend), file)
        golden.check_batches()
        print(golden.worst)

    def test_steps(self, make: Make, file: GoldenFile, backend: str) -> None:
        golden = GoldenPart(Case(make, backend), file)
        golden.check_steps()
        print(golden.worst)
