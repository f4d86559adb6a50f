"""SEW ResNet and its authors' numbers: pictures, and event frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from neurozoo.testing.golden import GoldenCase


class SEWResNetCase(GoldenCase):
    """Both families; their names of layers do not overlap."""

    layers: ClassVar = (
        ("sn1", "stem"),
        (r"layer(\d)[.](\d+)[.]sn1", r"stages.\1.\2.branch.0"),
        (r"layer(\d)[.](\d+)[.]sn2", r"stages.\1.\2.branch.1"),
        (r"layer(\d)[.](\d+)[.]downsample[.]1", r"stages.\1.\2.shortcut"),
        (r"conv[.](\d+)[.]1", r"body.\1"),
        (r"conv[.](\d+)[.]conv[.](\d)[.]1", r"body.\1.branch.\2"),
    )

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"] in ("sew_resnet-static", "sew_resnet-dvs")

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        side, steps, layers = int(header["image"]), int(header["T"]), json.loads(header["layers"])
        _, _, rate, _, momentum = header["optimizer"].split()
        params: dict[str, Any] = {"connect": header["connect"].lower()}
        if header["model"] == "sew_resnet-static":
            name, expect = "sew-resnet", {"picture": {"shape": [3, side, side], "length": 1}}
            params |= {"block": header["block"], "blocks": layers, "width": 4, "time_steps": steps}
        else:
            name, expect = "sew-resnet-events", {"frames": {"shape": [2, side, side], "length": steps}}
            params |= {"channels": layers}
        return {
            "data": {"name": "golden", "expect": expect},
            "task": {"name": "multiclass", "outputs": [f"class {k}" for k in range(int(header["classes"]))]},
            "model": {"name": name, "params": params},
            "training": {"optimizer": {"name": "sgd", "lr": float(rate), "momentum": float(momentum)}},
        }

    def variations(self, header: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
        return {f"batch2/eval/logits_{how.upper()}": {"connect": how} for how in ("and", "iand")}


CASE = SEWResNetCase()
