"""SpikeGPT and its authors' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from neurozoo.core.signals import Batch, Signal
from neurozoo.testing.golden import GoldenCase, GoldenFile, optimizer_of


class SpikeGPTCase(GoldenCase):
    layers = ((r"blocks\.(\d+)\.lif1", r"blocks.\1.tokens"), (r"blocks\.(\d+)\.lif2", r"blocks.\1.channels"))

    def claims(self, header: Mapping[str, str]) -> bool:
        return header.get("model") == "spikegpt"

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        shape = {"shape": [], "length": int(header["T"]), "dtype": "int64"}
        tokens = [str(token) for token in range(int(header["vocabulary"]))]
        params = {"width": int(header["dim"]), "depth": int(header["layers"]), "dropout": 0.0}
        return {
            "data": {"name": "golden", "expect": {"tokens": shape}},
            "task": {"name": "multiclass", "per_step": True, "outputs": tokens},
            "model": {"name": "spikegpt", "params": {**params, "start": "silent", "pull": "hidden"}},
            "training": {"optimizer": optimizer_of(header)},
        }

    def batch(self, file: GoldenFile, which: int) -> Batch:
        signal = Signal(file.tensors[f"batch{which}/x"])
        return Batch({"tokens": signal}, file.tensors[f"batch{which}/labels"])

    def outputs(self, outputs: Tensor, like: Tensor) -> Tensor:
        return outputs


CASE = SpikeGPTCase()
