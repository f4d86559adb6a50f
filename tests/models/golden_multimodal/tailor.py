"""TAILOR and its authors' numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from neurozoo.testing.golden_models import ModelCase

LENGTH = 4


def bert_adam(header: Mapping[str, str], schedule: str = "linear") -> dict[str, Any]:
    """Return the training of a file: BERT's Adam, and a warm-up over the first steps, as a recipe's mapping."""
    steps = int(header["t_total"])
    return {
        "epochs": steps,
        "optimizer": {
            "name": "bert-adam",
            "lr": float(header["lr"]),
            "weight_decay": float(header["weight_decay"]),
            "groups": {"norm": {"weight_decay": 0.0}, "bias": {"weight_decay": 0.0}},
        },
        "scheduler": {"name": schedule, "each": "step", "warmup": round(steps * 0.1), "warmup_from": 0.0},
        "gradient_clip": float(header["clip"]),
    }


class TAILORCase(ModelCase):
    file = "mm-tailor.safetensors"
    seams = {  # noqa: RUF012
        "bert": "encoders.text",
        "visual": "encoders.vision",
        "audio": "encoders.audio",
        "text_norm": "encoders.text.input_norm",
        "visual_norm": "encoders.vision.input_norm",
        "audio_norm": "encoders.audio.input_norm",
        "va_cross": "ladder.0",
        "vat_cross": "ladder.1",
        "pc_cross": "ladder.2",
        "decoder": "head.output_norm",
        "common_classfier": "common_classifier",
    }
    terms = {  # noqa: RUF012
        "ml": ("loss", 1.0),
        "common_ml": ("common_answer", 0.5),
        "adversarial_private": ("private_modality", 0.01),
        "adversarial_common": ("common_modality", 0.01),
        "private_difference": ("private_difference", 5e-6),
        "common_difference": ("common_difference", 5e-6),
    }

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        layers = json.loads(header["layers"])
        dims = {"text": 7, "vision": 5, "audio": 6}
        return {
            "data": {
                "name": "golden",
                "inputs": [*dims],
                "expect": {name: {"dim": dim, "length": LENGTH} for name, dim in dims.items()},
            },
            "task": {"name": "multilabel", "outputs": int(header["labels"])},
            "model": {
                "name": "tailor",
                "params": {
                    "hidden": int(header["hidden"]),
                    "heads": int(header["heads"]),
                    "inner": int(header["inner"]),
                    "layers": {"text": layers["text"], "vision": layers["visual"], "audio": layers["audio"]},
                    "cross_layers": layers["cross"],
                    "dropout": 0.0,
                    "classifier_dropout": 0.0,
                    "padding": "masked",  # the file has masks, which the published recipe sets to ones
                    "rows": "all",
                    "common_row": "first",
                },
                "parts": {
                    "head": {
                        "name": "label-decoder",
                        "params": {
                            "dropout": 0.0,
                            "inner": int(header["inner"]),
                            "classifier_dropout": 0.0,
                            "dropout_at": "logits",
                        },
                    }
                },
            },
            "training": bert_adam(header),
        }

    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = super().run(network, batch)
        if "act/common_classfier" in found:
            found["act/common_classfier"] = found["act/common_classfier"].sigmoid()
        return found

    def kept(self, model: Any) -> Mapping[str, Tensor]:
        kept = model.kept
        private = {
            f"private_{name}": each.x for name, each in zip(("text", "visual", "audio"), kept["private"], strict=True)
        }
        return {**private, "common": kept["whole"].x}

    def converted(self, name: str, tensor: Tensor) -> Tensor:
        # The file's tables have more rows than the longest sequence.
        if "position_embeddings" not in name:
            return tensor
        return tensor[: 4 * LENGTH if "cross" in name else LENGTH]


CASE = TAILORCase()
