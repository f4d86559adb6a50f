"""QKFormer's golden files: pictures, and event frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurozoo.testing.golden import GoldenCase, picture_recipe


class _QKFormer(GoldenCase):
    layers = (
        (r"patch_embed1[.]proj_lif", "stages.0.patches.layers.0"),
        (r"patch_embed1[.]proj(\d)_lif", r"stages.0.patches.layers.\1"),
        *(
            (rf"patch_embed{stage + 1}[.]proj{suffix}_lif", f"stages.{stage}.patches.{layer}")
            for stage in range(3)
            for suffix, layer in (("3?", "layers.0"), ("4", "layers.1"), ("_res", "shortcut"))
        ),
        *(
            (rf"stage{stage + 1}[.](\d+)[.]{theirs}_lif", rf"stages.{stage}.blocks.\1.{layer}")
            for stage in range(3)
            for theirs, layer in (
                ("tssa[.]attn", "attention.gate"),
                ("ssa[.]attn", "attention.attended"),
                (r"t?ssa[.](\w+)", r"attention.\2"),
                (r"mlp[.]mlp(\d)", r"mlp.fc\2"),
            )
        ),
    )
    cancelled = (r"stage\d[.].*_conv[.]bias",)

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"] in ("qkformer-cifar", "qkformer-dvs")

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        frames = header["model"].endswith("dvs")
        params = {
            "width": int(header["dim"]),
            "heads": int(header["heads"]),
            "token_stages": 1 if frames else 2,
            "depth": 1 if frames else int(header["depth"]) - 2,  # ignored with frames, as in their code
            "ratio": int(header["mlp_ratio"]),
            "stem": "eighth" if frames else "same",
            "attention_current": "raw",
            "state": "over-samples",
            "bias": "before-norm",
            "time_steps": int(header["T"]),
        }
        return picture_recipe(header, "qkformer", params, frames=frames)


CASE = _QKFormer()
