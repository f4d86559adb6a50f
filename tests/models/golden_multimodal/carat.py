"""CARAT and its authors' numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from torch import Tensor, nn

from neurozoo.core.model import Model
from neurozoo.testing.golden_models import ModelCase

LENGTH = 4
THEIRS = {"text": "text", "vision": "visual", "audio": "audio"}


class CARATCase(ModelCase):
    file = "mm-carat.safetensors"
    seams = {  # noqa: RUF012
        **{theirs: f"encoders.{ours}" for ours, theirs in THEIRS.items()},
        "probability": "answer",
        "agg_shuffled": "aggregate",  # the last time that it runs
    }
    terms = {"contrast": ("contrast", 1.0)}  # noqa: RUF012

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        layers, steps = json.loads(header["layers"]), int(header["t_total"])
        dims = {"text": 7, "vision": 5, "audio": 6}
        return {
            "data": {
                "name": "golden",
                "inputs": [*dims],
                "expect": {name: {"dim": dim, "length": LENGTH} for name, dim in dims.items()},
            },
            "task": {"name": "multilabel", "outputs": int(header["labels"])},
            "model": {
                "name": "carat",
                "params": {
                    **{name: int(header[name]) for name in ("hidden", "heads", "inner", "queue")},
                    "layers": {ours: layers[theirs] for ours, theirs in THEIRS.items()},
                    "latent": int(header["projection"]),
                    "dropout": 0.0,
                    "padding": "masked",  # the file has masks, which the published recipe sets to ones
                    "anchors": "all",
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
                "scheduler": {"name": "linear", "each": "step", "warmup": round(0.1 * steps), "warmup_from": 0.0},
                "gradient_clip": float(header["clip"]),
            },
        }

    def given(self, model: Model, tensors: Mapping[str, Tensor]) -> AbstractContextManager[Any]:
        drawn = tensors["shuffle_sample"], tensors["shuffle_modality"]
        return mock.patch.object(model, "permutations", return_value=drawn)

    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = super().run(network, batch)
        for ours, theirs in THEIRS.items():
            # Masked rows, which nothing sees, hold the features of padding there, and zeros here.
            hidden = batch[f"{ours}_mask"][..., None] == 0
            found[f"act/{theirs}"] = found[f"act/{theirs}"].where(~hidden, batch[f"act/{theirs}"])
        return found | {"out": found.pop("act/probability")}

    def kept(self, model: Any) -> Mapping[str, Tensor]:
        kept, by_modality = model.kept, {"label": "specific", "aug": "augmented", "beta": "beta"}
        return {
            **{f"{theirs}_{name}": kept[ours][:, m] for m, theirs in enumerate(THEIRS.values())
               for name, ours in by_modality.items()},
            "latent_text": kept["latent"][:, 0],
            "recon_text": kept["back"][:, 0],
            "padding_text": model.back["text"](model.prototypes["text"](kept["latent"][:, 0])),
            "agg": kept["aggregated"],
        }  # fmt: skip

    def converted(self, name: str, tensor: Tensor) -> Tensor:
        return tensor[:LENGTH] if "position_embeddings" in name else tensor


CASE = CARATCase()
