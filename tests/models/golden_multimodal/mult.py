"""MulT and its authors' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from neurozoo.models.multimodal.mult import LETTERS
from neurozoo.testing.golden_models import ModelCase

LENGTHS = {"text": (7, 5), "audio": (5, 7), "vision": (9, 6)}
"""Features and positions of the modalities."""
NETS = {
    f"trans_{letter}_{kind}": f"fusion.{here}"
    for letter, name in LETTERS.items()
    for kind, here in (
        *((f"with_{o}", f"nets.{name}.{of}") for o, of in LETTERS.items() if of != name),
        ("mem", f"memory.{name}"),
    )
}


class MulTCase(ModelCase):
    file = "mm-mult.safetensors"
    modalities = ("text", "audio", "vision")
    seams = {**NETS, **{f"projected_{name}": f"project.{name}" for name in LENGTHS}}  # noqa: RUF012

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        shapes = {name: {"dim": dim, "length": length} for name, (dim, length) in LENGTHS.items()}
        params = {
            "context": "text",
            "hidden": int(header["d"]),
            "heads": int(header["heads"]),
            "layers": int(header["layers"]),
            "causal": header["causal"] == "true",
            "dropout": 0.0,
            "input_dropout": 0.0,
            "padding": "visible",
        }
        return {
            "data": {"name": "golden", "inputs": [*shapes], "expect": shapes},
            "task": {"name": "multilabel", "outputs": 6},
            "model": {"name": "mult", "params": params},
            "training": {"optimizer": {"name": "adam", "lr": float(header["lr"])}},
        }

    def answer(self, outputs: Tensor) -> Tensor:
        return outputs

    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept: list[Tensor] = []
        first = network.get_submodule("fusion.first")
        handle = first.register_forward_pre_hook(lambda _, x: kept.append(x[0]))
        found = super().run(network, batch)
        handle.remove()
        # Positions first, as in their code.
        turned = {key: x.transpose(0, 1) for key, x in found.items() if key.startswith(("act/trans", "act/projected"))}
        return {**found, **turned, "act/last": kept[0]}


CASE = MulTCase()
