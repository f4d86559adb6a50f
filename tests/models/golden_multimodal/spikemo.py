"""SpikEmo and its authors' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.models.build import build_model, expected_problem
from neurozoo.testing.golden_models import ModelCase

DIMS = {"text": 7, "audio": 5, "vision": 6}
THEIRS = {"text": "text", "audio": "audio", "vision": "visual"}
LAYERS = {"q0": "blocks.0.attention.q", "attn0": "blocks.0.attention.attended", "last": "blocks.1.mlp.fc2"}


class SpikEmoCase(ModelCase):
    """Spikes are compared too: at the tolerance of activations they are equal.

    Args:
        backend: That the neurons run on.
    """

    file = "mm-spikemo.safetensors"

    def __init__(self, backend: str = "torch") -> None:
        self.backend = backend

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        sizes = {
            "hidden": "width",
            "spiking_heads": "spiking_heads",
            "depth": "depth",
            "time_steps": "T",
            "heads": "heads",
            "layers": "layers",
        }
        published = {"state": "crossing", "padding": "visible", "attention_current": "raw", "dropout_at": "logits"}
        return {
            "data": {
                "name": "golden",
                "inputs": [*DIMS],
                "expect": {name: {"dim": dim, "length": 5} for name, dim in DIMS.items()},
            },
            "task": {"name": "multiclass", "per_step": True, "outputs": int(header["classes"])},
            "model": {
                "name": "spikemo",
                "params": {
                    **{ours: int(header[theirs]) for ours, theirs in sizes.items()},
                    **published,
                    "inner": 10,
                    "dropout": 0.0,
                },
            },
            "training": {"optimizer": {"name": "adam", "lr": float(header["lr"])}},
        }

    def network(self, header: Mapping[str, str]) -> nn.Module:
        recipe = self.checked(header)
        return build_model(recipe, expected_problem(recipe)[0], backend=self.backend)

    def batch(self, tensors: Mapping[str, Tensor]) -> Batch:
        signals = {name: Signal(tensors[name].transpose(0, 1)) for name in DIMS}
        labels = tensors["labels"]
        return Batch(signals, labels.clamp(min=0), labels >= 0)

    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        model, given, kept = cast(Any, network), self.batch(batch), dict[str, Any]()
        handles = [
            model.norm.register_forward_hook(lambda _, __, x: kept.update(rates=x)),
            model.fusion.register_forward_pre_hook(lambda _, x: kept.update(scaled=x[0])),
            model.fusion.register_forward_hook(lambda _, __, x: kept.update(fused=x)),
            model.join.register_forward_hook(lambda _, __, x: kept.update(fc=x)),
        ]
        with recorded(cast(Model, model)) as firings:
            out = model(given)
        for handle in handles:
            handle.remove()
        there = given.target_valid
        loss = model.problem.task.loss(out, given.target, there)
        found = {"out": out[there], "loss": loss.reshape(1), "act/fc": kept["fc"][there]}
        for place, (ours, theirs) in enumerate(THEIRS.items()):
            found[f"act/rate_{theirs}"] = kept["rates"].chunk(3)[place].mean(0).transpose(0, 1)
            found[f"act/scaled_{theirs}"] = kept["scaled"][ours].x
            found[f"act/fused_{theirs}"] = kept["fused"][ours].x[there]
            for short, layer in LAYERS.items():
                found[f"act/spikes_{short}_{theirs}"] = firings[layer].spikes.chunk(3)[place]
        return found


CASE = SpikEmoCase()
