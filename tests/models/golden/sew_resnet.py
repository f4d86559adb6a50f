"""SEW ResNet and its authors' numbers: pictures, and event frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from neurozoo.testing.golden import GoldenCase, picture_recipe


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
        frames, layers = header["model"] == "sew_resnet-dvs", json.loads(header["layers"])
        connect = {"connect": header["connect"].lower()}
        if frames:
            return picture_recipe(header, "sew-resnet-events", {"channels": layers, **connect}, frames=True)
        params = {"block": header["block"], "blocks": layers, "width": 4, "time_steps": int(header["T"]), **connect}
        return picture_recipe(header, "sew-resnet", params, frames=False)

    def variations(self, header: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
        return {f"batch2/eval/logits_{how.upper()}": {"connect": how} for how in ("and", "iand")}


CASE = SEWResNetCase()
