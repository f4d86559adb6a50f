"""LDDU and its authors' numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from neurozoo.testing.golden_models import ModelCase

LENGTH = 4
THEIRS = {"vision": "visual", "audio": "audio", "text": "text"}


class LDDUCase(ModelCase):
    file = "mm-lddu.safetensors"
    modalities = ("vision", "audio", "text")
    seams = {  # noqa: RUF012
        "bert": "encoders.text",
        "visual": "encoders.vision",
        "audio": "encoders.audio",
        "common": "common",
        **{f"label_{theirs}": f"by_label.{ours}" for ours, theirs in THEIRS.items()},
        **{f"mu_{theirs}": f"gaussians.{ours}.mean" for ours, theirs in THEIRS.items()},
        **{f"logvar_{theirs}": f"gaussians.{ours}.log_variance" for ours, theirs in THEIRS.items()},
    }
    terms = {  # noqa: RUF012
        "final": ("loss", 1.0),
        "common": ("common", 0.3),
        "contrast": ("contrast", 1.0),
        "calibration": ("calibration", 0.3),
    }

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        layers, steps = json.loads(header["layers"]), int(header["t_total"])
        dims = {"vision": 5, "audio": 6, "text": 7}
        return {
            "data": {
                "name": "golden",
                "inputs": [*dims],
                "expect": {name: {"dim": dim, "length": LENGTH} for name, dim in dims.items()},
            },
            "task": {"name": "multilabel", "outputs": int(header["labels"])},
            "model": {
                "name": "lddu",
                "params": {
                    **{
                        name: int(header[name])
                        for name in ("hidden", "heads", "inner", "projection", "latent", "queue")
                    },
                    "layers": {ours: layers[theirs] for ours, theirs in THEIRS.items()},
                    "dropout": 0.0,
                    "classifier_dropout": 0.0,
                    "padding": "visible",
                    "anchors": "all",
                    "calibration": "batch",
                },
            },
            "training": {
                "epochs": steps,
                "optimizer": {
                    "name": "bert-adam",
                    "lr": float(header["lr"]),
                    "weight_decay": float(header["weight_decay"]),
                    "groups": {"norm": {"weight_decay": 0.0}, "bias": {"weight_decay": 0.0}},
                },
                "scheduler": {
                    "name": "cosine",
                    "each": "step",
                    "warmup": round(0.1 * steps),
                    "warmup_from": 0.0,
                    "from_start": True,
                },
                "gradient_clip": float(header["clip"]),
            },
        }

    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = super().run(network, batch)
        return found | {"act/common": found["act/common"].sigmoid()}

    def converted(self, name: str, tensor: Tensor) -> Tensor:
        return tensor[:LENGTH] if "position_embeddings" in name else tensor


CASE = LDDUCase()
