"""A small store and a recipe that trains on it in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neurozoo.data.writer import StoreWriter
from neurozoo.recipe import Recipe, load_recipe

RECIPE = """\
schema: 1
description: a small model on made-up data
seed: 3
backend: torch
data:
  root: {root}
  context: text
  spiking: [audio, vision]
  standardise: true
model:
  name: smile
  params: {{hidden: 10, heads: 5, spiking_inner: 16}}
  parts:
    activation: lif
    threshold: disagreement
    scaling: rate-gain
    fusion: interactive
    head: label-decoder
training:
  epochs: 2
  batch_size: 8
  label_smoothing: 0.1
  threads: 1
  initialisation: {{name: fluctuation-driven, firing_rate: 0.2, batches: 2}}
  rate_penalty: {{weight: 1.0}}
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """24 training, 10 valid and 11 test samples of three modalities with padding."""
    rng = np.random.default_rng(0)
    shapes = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
    folder = tmp_path / "store"
    with StoreWriter(folder, labels=("calm", "angry", "sad"), origin={"source": "made up by the tests"}) as writer:
        for split, samples in (("train", 24), ("valid", 10), ("test", 11)):
            y = rng.integers(0, 2, (samples, 3))
            y[0] = 1
            features = {}
            for name, (length, dim) in shapes.items():
                x = rng.normal(size=(samples, length, dim)).astype(np.float32) + y[:, None, :1]
                for i, n in enumerate(rng.integers(1, length + 1, samples)):
                    x[i, n:] = 0
                features[name] = x
            writer.add(split, features, y)
    return folder


@pytest.fixture
def recipe(store: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Loads the small recipe with overrides."""

    def load(*overrides: str, backend: str | None = None) -> Recipe:
        path = tmp_path / "small.yaml"
        path.write_text(RECIPE.format(root=store))
        return load_recipe(path, overrides, backend=backend)

    return load
