"""Spike-driven Transformer's golden files: pictures; event frames with learned leaks and the loss of each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.signals import Batch
from neurozoo.models.spike_driven_transformer import SpikeDrivenTransformer
from neurozoo.testing.golden import GoldenCase, picture_recipe


class _SpikeDrivenTransformer(GoldenCase):
    layers = (
        (r"patch_embed[.]proj_lif", "patches.stages.0"),
        (r"patch_embed[.]proj_lif([12])", r"patches.stages.\1"),
        (r"patch_embed[.]proj_lif3", "position.neurons"),
        (r"block[.](\d+)[.]attn[.]shortcut_lif", r"blocks.\1.attention.fires"),
        (r"block[.](\d+)[.]attn[.]talking_heads_lif", r"blocks.\1.attention.gate"),
        (r"block[.](\d+)[.]attn[.]([qkv])_lif", r"blocks.\1.attention.\2"),
        (r"block[.](\d+)[.]mlp[.](fc\d)_lif", r"blocks.\1.mlp.\2.neurons"),
        (r"head_lif", "fires"),
    )
    cancelled = (r"block[.].*_conv[.]bias",)
    nearly_cancelled = (r"block[.]\d+[.]attn[.]talking_heads_lif[.]w",)

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"] == "spike_driven_transformer"

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        frames = header["dvs"] == "true"
        neurons = {"detach_reset": True, "surrogate": "sigmoid", "alpha": 4.0}
        params = {
            "width": int(header["dim"]),
            "heads": int(header["heads"]),
            "depth": int(header["depth"]),
            "ratio": int(header["mlp_ratio"]),
            "pools": [stage for stage, pools in enumerate(header["pooling"], 1) if pools == "1"],
            "attention_pools": frames,
            "pool_axes": "tokens-and-channels",
            "attention_current": "raw",
            "bias": "before-norm",
            "loss_steps": "each" if header["tet"] == "true" else "mean",
            "time_steps": int(header["T"]),
        }
        parts = {"neuron": {"name": header["neuron"], "params": neurons}}
        return picture_recipe(header, "spike-driven-transformer", params, frames=frames, parts=parts)

    def expected(self, outputs: Tensor) -> Tensor:
        return outputs.mean(0) if outputs.dim() == 3 else outputs  # with the loss of each step theirs keep T

    def loss(self, model: Model, outputs: Tensor, batch: Batch) -> Tensor:
        loss = super().loss(model, outputs, batch)
        assert isinstance(model, SpikeDrivenTransformer)
        assert batch.target is not None
        if model.step_loss is not None:
            loss = loss + model.step_loss.losses(batch.target)["each_step"]
        return loss


CASE = _SpikeDrivenTransformer()
