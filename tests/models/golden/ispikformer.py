"""iSpikformer and its authors' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from neurozoo.core.signals import Batch, Signal
from neurozoo.testing.golden import GoldenCase, GoldenFile, optimizer_of


class ISpikformerCase(GoldenCase):
    layers = (
        (r"network\.encoder\.lif", "encoder"),
        (r"network\.emb\.lif", "embedding"),
        (r"network\.blocks\.(\d+)\.attn\.([qkv])_lif", r"blocks.\1.attention.\2"),
        (r"network\.blocks\.(\d+)\.attn\.attn_lif", r"blocks.\1.attention.attended"),
        (r"network\.blocks\.(\d+)\.attn\.last_lif", r"blocks.\1.attention.proj"),
        (r"network\.blocks\.(\d+)\.mlp\.lif(\d)", r"blocks.\1.mlp.fc\2"),
    )
    cancelled = (r".*\.(value_embedding|[qkv]_m|last_m|fc\d)\.bias", r"network\.encoder\.encoder\.0\.bias")

    def claims(self, header: Mapping[str, str]) -> bool:
        return header.get("model") == "ispikformer"

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        n = {name: int(header[name]) for name in ("dim", "heads", "depth", "T", "d_ff", "window", "series", "horizon")}
        return {
            "data": {"name": "golden", "expect": {"series": {"shape": [n["series"]], "length": n["window"]}}},
            "task": {
                "name": "regression",
                "outputs": [f"{step} of {each}" for step in range(n["horizon"]) for each in range(n["series"])],
                "params": {"standardise": False},
            },
            "model": {
                "name": "ispikformer",
                "params": {
                    "width": n["dim"], "heads": n["heads"], "depth": n["depth"], "ratio": n["d_ff"] // n["dim"],
                    "encoder": header["encoder"], "time_steps": n["T"], "readout": "last", "statistics": "shared",
                    "attention_current": "raw", "bias": "before-norm",
                },
            },
            "training": {"optimizer": optimizer_of(header)},
        }  # fmt: skip

    def batch(self, file: GoldenFile, which: int) -> Batch:
        given = file.under(f"batch{which}/")
        return Batch({"series": Signal(given["x"])}, given["target"].flatten(1))

    def arranged(self, layer: str, spikes: Tensor, like: Tensor) -> Tensor:
        if "encoder" in layer:
            return spikes
        return spikes.flatten(3).transpose(2, 3).reshape(like.shape)  # theirs are [T, B, C, D]


CASE = ISpikformerCase()
