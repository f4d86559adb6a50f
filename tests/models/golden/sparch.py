"""How SparCH meets its authors' numbers: the random initial states are those of the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from neurozoo.core.layer import SpikingLayer
from neurozoo.core.model import Model
from neurozoo.models.sparch import LIF, SparCH
from neurozoo.testing.golden import GoldenCase, GoldenFile, optimizer_of

STATES = {"membrane": "u", "recovery": "w", "spike": "s"}


class SparCHCase(GoldenCase):
    layers = ((r"snn[.](\d+)", r"layers.\1"),)

    def claims(self, header: Mapping[str, str]) -> bool:
        return header["model"].startswith("sparch-")

    def recipe(self, header: Mapping[str, str]) -> dict[str, Any]:
        *hidden, outputs = json.loads(header["sizes"])
        name = header["neuron"].lower()
        params = {
            "hidden": hidden,
            "recurrent": name.startswith("r"),
            "bidirectional": header["bidirectional"] == "true",
        }
        params |= {"dropout": 0.0} | {key: quirk.published for key, quirk in SparCH.quirks.items()}
        return {
            "data": {"name": "golden", "expect": {"x": {"dim": int(header["inputs"]), "length": int(header["T"])}}},
            "task": {"name": "multiclass", "outputs": [f"class {n}" for n in range(outputs)]},
            "model": {"name": "sparch", "params": params, "parts": {} if "ad" in name else {"neuron": LIF}},
            "training": {"optimizer": optimizer_of(header)},
        }

    def given(self, model: Model, file: GoldenFile, which: int) -> AbstractContextManager[Any]:
        layers = list(model.get_submodule("layers").children())

        def draw(layer: SpikingLayer, state: str, like: Tensor) -> Tensor:
            return file.tensors[f"batch{which}/init/{layers.index(layer)}/{STATES[state]}"].to(like)

        return patch.object(model, "draw", draw)

    def joined(self, file: GoldenFile, layer: str, spikes: Tensor) -> Tensor:
        """Both directions in one, the second turned back, ``[T, B, 2 N]``; the readout has one."""
        readout = f"layers.{len(json.loads(file.header['sizes'])) - 1}"
        if file.header["bidirectional"] == "false" or layer == readout:
            return spikes
        ahead, back = spikes.chunk(2, 1)
        return torch.cat((ahead, back.flip(0)), -1)


CASE = SparCHCase()
