"""How the net of learned delays meets its authors' numbers: positions have an optimiser group of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from neurozoo.core.signals import Batch, Signal
from neurozoo.models.dcls_delays import DelayNet
from neurozoo.testing.golden import GoldenCase, GoldenFile


class DelayCase(GoldenCase):
    # A spiking layer is the third of four modules: synapse, norm, neurons, dropout.
    layers = tuple((str(4 * n + 2), f"layers.{n}") for n in range(12))

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"] == "dcls_delays"

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        lr, decay, positions = re.fullmatch(
            r"Adam lr (\S+) \(weights: L2 (\S+); batch norm: none\) and Adam lr (\S+) \(positions\).*",
            header["optimizer"],
        ).groups()  # type: ignore[union-attr]
        groups = {"position": {"lr": float(positions), "weight_decay": 0.0}, "norm": {"weight_decay": 0.0}}
        params = {
            "hidden": [int(header["hidden"])] * int(header["hidden_layers"]),
            "kernel": int(header["max_delay"]),
            "elements": int(header["kernel_count"]),
            "tau": float(header["tau"]),
            "dropout": 0.0,
        } | {key: quirk.published for key, quirk in DelayNet.quirks.items()}
        return {
            "data": {"name": "golden", "expect": {"x": {"dim": int(header["inputs"]), "length": int(header["T"])}}},
            "task": {"name": "multiclass", "outputs": [f"class {n}" for n in range(int(header["outputs"]))]},
            "model": {"name": "dcls-delays", "params": params},
            "training": {
                "optimizer": {"name": "adam", "lr": float(lr), "weight_decay": float(decay), "groups": groups}
            },
        }

    def batch(self, file: GoldenFile, which: int) -> Batch:
        """Their axes are ``[T, B, D]``."""
        made = super().batch(file, which)
        return replace(made, signals={"x": Signal(file.tensors[f"batch{which}/x"].float().transpose(0, 1))})


CASE = DelayCase()
