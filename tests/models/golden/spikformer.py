"""Spikformer's golden files: pictures, and event frames."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.testing.golden import GoldenCase, GoldenFile, picture_recipe


class _Spikformer(GoldenCase):
    layers = (
        (r"patch_embed[.]proj_lif", "patches.stages.0"),
        (r"patch_embed[.]proj_lif(\d)", r"patches.stages.\1"),
        (r"patch_embed[.]rpe_lif", "position"),
        (r"block[.](\d+)[.]attn[.]attn_lif", r"blocks.\1.attention.attended"),
        (r"block[.](\d+)[.]attn[.](\w+)_lif", r"blocks.\1.attention.\2"),
        (r"block[.](\d+)[.]mlp[.](\w+)_lif", r"blocks.\1.mlp.\2"),
    )
    cancelled = (r"block[.].*_(linear|conv)[.]bias",)
    tokens_first = False

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"] in ("spikformer-cifar", "spikformer-dvs")

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        frames = header["model"].endswith("dvs")
        params = {
            "width": int(header["dim"]),
            "heads": int(header["heads"]),
            "depth": int(header["depth"]),
            "pools": [1, 2, 3, 4] if frames else [3, 4],
            "scale": 0.25 if frames else 0.125,
            "attention_current": "raw",
            "bias": "before-norm",
            "query_bias": not frames,
            "time_steps": int(header["T"]),
        }
        return picture_recipe(header, "spikformer", params, frames=frames)

    def given(self, model: Model, file: GoldenFile, which: int) -> AbstractContextManager[Any]:
        self.tokens_first = file.header["model"] == "spikformer-cifar"  # [T, B, N, C]; else [T, B, C, N]
        return super().given(model, file, which)

    def arranged(self, layer: str, spikes: Tensor, like: Tensor) -> Tensor:
        if self.tokens_first and layer.startswith("block"):
            return spikes.flatten(3).transpose(2, 3)
        return super().arranged(layer, spikes, like)


CASE = _Spikformer()
