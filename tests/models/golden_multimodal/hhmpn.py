"""HHMPN and its authors' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from neurozoo.testing.golden_models import ModelCase

DIMS = {"text": 7, "audio": 5, "vision": 9}


class HHMPNCase(ModelCase):
    file = "mm-hhmpn.safetensors"
    modalities = ("text", "audio", "vision")
    seams = {  # noqa: RUF012
        **{f"enc_{name}": f"streams.{name}" for name in DIMS},
        "dec_text": "decoders.text.1",
        "dec_audio": "decoders.audio.1",
        "dec_visual": "decoders.vision.1",
        "fused": "fused",
    }

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        sizes = {
            "hidden": "hidden",
            "heads": "heads",
            "inner": "inner",
            "decoder_layers": "decoder_layers",
            "encoder_hidden": "mult_width",
            "encoder_heads": "mult_heads",
            "encoder_layers": "mult_layers",
        }
        params = {ours: int(header[theirs]) for ours, theirs in sizes.items()}
        published = {"streams": "exchanged", "padding": "visible", "weighing": "labels"}
        return {
            "data": {
                "name": "golden",
                "inputs": [*DIMS],
                "expect": {name: {"dim": dim, "length": 6} for name, dim in DIMS.items()},
            },
            "task": {"name": "multilabel", "outputs": int(header["labels"])},
            "model": {
                "name": "hhmpn",
                "params": params | published | {"dropout": 0.0, "encoder_dropout": 0.0},
            },
            "training": {"optimizer": {"name": "adam", "lr": float(header["lr"]), "betas": [0.9, 0.98]}},
        }

    def answer(self, outputs: Tensor) -> Tensor:
        return outputs


CASE = HHMPNCase()
