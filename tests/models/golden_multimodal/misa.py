"""MISA and its authors' numbers, with the table of word vectors that their model trains and the one here reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.published import AuthorsNames
from neurozoo.core.signals import Batch, Signal
from neurozoo.models.build import expected_problem
from neurozoo.models.multimodal.misa import MISA, ORDER
from neurozoo.testing.golden_models import ModelCase

DIMS = {"text": 5, "vision": 4, "audio": 3}
assert MISA.authors_names is not None


class WithTable(MISA):
    """Also with the linear that their code computes and puts into no loss."""

    authors_names = AuthorsNames(
        (
            *MISA.authors_names.renamed,
            (r"embed\.weight", "table.weight"),
            (r"sp_discriminator\.sp_discriminator_layer_1\.(.+)", r"judge.\1"),
        )
    )

    def __init__(self, words: int, **given: Any) -> None:
        super().__init__(**given)
        self.table = nn.Embedding(words, DIMS["text"])
        self.judge = nn.Linear(given["hidden"], given["hidden"])

    def forward(self, batch: Batch) -> Tensor:
        text = batch.signals["text"]
        embedded = Signal(self.table(text.values), text.valid)
        return super().forward(Batch({**batch.signals, "text": embedded}, batch.target))


class MISACase(ModelCase):
    """Computed in float64: rounding of the states in float32 comes back in the gradients a hundred times larger."""

    file = "mm-fusion-misa.safetensors"
    terms = {  # noqa: RUF012
        "cls": ("loss", 1.0),
        "diff": ("difference", 0.3),
        "similarity": ("similarity", 1.0),
        "reconstruction": ("reconstruction", 1.0),
    }

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        return {
            "data": {
                "name": "golden",
                "inputs": [*DIMS],
                "expect": {name: {"dim": dim, "length": 5} for name, dim in DIMS.items()},
            },
            "task": {"name": "multilabel", "outputs": 6},
            "model": {"name": "misa", "params": {"hidden": int(header["hidden"]), "dropout": 0.0}},
            "training": {"optimizer": {"name": "adam", "lr": float(header["lr"])}},
        }

    def network(self, header: Mapping[str, str]) -> nn.Module:
        recipe = self.checked(header)
        problem, _ = expected_problem(recipe)
        given = {"problem": problem, "parts": lambda *_: None, "neuron": TorchNeuron}
        return WithTable(int(header["vocab"]), **given, **recipe.model.params).double()

    def batch(self, tensors: Mapping[str, Tensor]) -> Batch:
        valid = torch.arange(len(tensors["text"])) < tensors["lengths"][:, None]
        signals = {name: Signal(tensors[name].transpose(0, 1), valid) for name in DIMS}
        return Batch(signals, tensors["labels"].double())

    def answer(self, outputs: Tensor) -> Tensor:
        return outputs

    def run(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        model, kept = cast(Any, network), dict[str, Any]()
        handles = [
            model.spaces.register_forward_pre_hook(lambda _, x: kept.update(vectors=x[0])),
            model.spaces.register_forward_hook(lambda _, __, x: kept.update(x)),
        ]
        found = super().run(network, batch)
        for handle in handles:
            handle.remove()
        named = {"orig": "original", "private": "private", "shared": "shared", "recon": "rebuilt"}
        for letter, (place, _) in ORDER.items():
            found[f"act/utterance_{letter}"] = kept["vectors"][place]
            found |= {f"act/{theirs}_{letter}": kept[ours][:, place] for theirs, ours in named.items()}
        judged = torch.stack([*kept["private"].unbind(1), kept["shared"].mean(1)])
        return {
            **found,
            "act/fused": kept["fused"],
            "act/mixed": kept["mixed"].transpose(0, 1),
            "act/sp": model.judge(judged).detach(),
        }


CASE = MISACase()
