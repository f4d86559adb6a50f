"""The published settings of eleven models can be said in a recipe's `training`, and a small model takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.training.train import train

CROPS = ["random-crop", "horizontal-flip", {"name": "rand-augment", "params": {"magnitude": 9, "operations": 1}}]
MIXUP = {"name": "mixup", "params": {"alpha": 0.5}, "until": 200}
EVENTS = ["neuromorphic", {"name": "mixup", "params": {"alpha": 0.5, "p": 0.5}}]


def warm(rate: float, epochs: int) -> dict[str, Any]:
    return {"name": "cosine", "warmup": 20, "warmup_from": rate, "minimum": 1e-5, "period": epochs - 20}


PUBLISHED: dict[str, dict[str, Any]] = {
    "spikformer, CIFAR": {
        "epochs": 310,
        "batch_size": 128,
        "optimizer": {"name": "adamw", "lr": 5e-4, "weight_decay": 0.06},
        "scheduler": warm(1e-5, 300),
        "augment": [*CROPS, {"name": "random-erasing", "params": {"p": 0.25}}, MIXUP],
    },
    "spikformer, CIFAR10-DVS": {
        "epochs": 106,
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.06},
        "augment": EVENTS,
    },
    "spike-driven transformer, CIFAR": {
        "optimizer": {"name": "adamw", "lr": 3e-4, "weight_decay": 0.06},
        "scheduler": warm(1e-6, 300),
        "augment": [*CROPS, {"name": "colour-jitter", "params": {"brightness": 0.5}}, MIXUP],
    },
    "spike-driven transformer, gestures": {"optimizer": {"name": "lamb", "lr": 3e-4, "weight_decay": 0.06}},
    "sew resnet, gestures": {
        "optimizer": {"name": "sgd", "lr": 1e-3, "momentum": 0.9},
        "scheduler": {"name": "step", "every": 64, "factor": 0.1},
        "augment": [{"name": "frame-subset", "params": {"frames": 2}}],
    },
    "plif net": {
        "epochs": 1024,
        "optimizer": {"name": "adam", "lr": 1e-3},
        "scheduler": {"name": "cosine", "period": 64, "then": "rise"},
    },
    "sparch": {
        "optimizer": {"name": "adam", "lr": 1e-2},
        "scheduler": {"name": "plateau", "metric": "accuracy", "factor": 0.7, "patience": 1},
        "rate_penalty": {"name": "bounds", "weight": 0.5, "low": 0.01, "high": 0.5},
    },
    "dcls delays": {
        "optimizer": {
            "name": "adam",
            "lr": 5e-3,
            "weight_decay": 1e-5,
            # Positions in place of biases, which the small model has.
            "groups": {
                "norm": {"weight_decay": 0.0},
                "bias": {"lr": 0.1, "weight_decay": 0.0, "scheduler": {"name": "cosine"}},
            },
        },
        "scheduler": {"name": "one-cycle", "momentum": [0.85, 0.95]},
    },
    "cuba rsnn, SHD": {
        "optimizer": {"name": "adamax", "lr": 2e-4, "betas": [0.9, 0.999]},
        "penalties": [
            {"name": "total", "weight": 2e-6, "samples": "sum"},
            {"name": "total-squared", "weight": 2e-6, "samples": "sum", "over": "mean"},
        ],
    },
    "lsnn": {
        "optimizer": {"name": "adam", "lr": 0.005},
        "rate_penalty": {"name": "target", "weight": 1.0, "rate": 0.01},
    },
    "spikegpt": {
        "optimizer": {"name": "adam", "lr": 6e-4, "betas": [0.9, 0.99], "eps": 4e-9},
        "scheduler": {"name": "exponential", "minimum": 1e-5, "each": "step"},
        "gradient_clip": 1.0,
    },
    "ispikformer": {"optimizer": {"name": "adam", "lr": 1e-4}, "batch_size": 32, "early_stopping": 20},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_small_model_trains_as_published(name: str, tmp_path: Path) -> None:
    frames = {"size": 8, "side": 8, "length": 3}
    content = {
        "schema": 2,
        "data": {"name": "not-installed", "instead": {"name": "frames-synthetic", "params": frames}},
        "task": {"name": "multiclass", "params": {"label_smoothing": 0.1}},
        "model": {"name": "spiking-convnet", "params": {"channels": [4]}, "parts": {"neuron": "lif"}},
        "training": PUBLISHED[name],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(content))
    recipe = load_recipe(tmp_path / "recipe.yaml", registry=default_registry())
    found = recipe.with_overrides(["training.epochs=1", "training.batch_size=4"], registry=default_registry())
    if (scheduler := found.training.scheduler).warmup:
        found = found.with_overrides(["training.scheduler.warmup=1"], registry=default_registry())
    summary = train(found, out=tmp_path / "run")
    assert summary["status"] == "finished"
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    first = scheduler.warmup_from
    assert first is None or record["learning_rate"] == pytest.approx(first)
