"""Small runs to export, and a reader of NIR that knows nothing but the format's own equations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry
from neurozoo.training.train import train

SEQUENCE = (
    "model={name: spiking-sequence, params: {hidden: 10, spiking_inner: 16},"
    " parts: {activation: lif, threshold: constant, head: pooled}}"
)

EULER = """
import torch
from neurozoo.registry.hookspecs import Component, hookimpl
from neurozoo.core.layer import TorchNeuron
from neurozoo.nir.readers import NIRReader, ReadGraph

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components():
    for name in ("Euler", "Raises", "Silent"):
        yield Component("neuron", name.lower(), f"neurozoo_euler:{name}Neuron", "for tests", requires=("nir",))


class Euler(NIRReader):
    def read(self, graph, *, dt, reset):
        after, (name,) = dict(graph.edges), graph.inputs
        nodes = []
        while (name := after[name]) not in graph.outputs:
            nodes.append(graph.nodes[name])

        def run(currents):
            states, outputs = [None] * len(nodes), []
            for x in currents:
                for place, node in enumerate(nodes):
                    of = {key: torch.tensor(each, dtype=torch.float32) for key, each in vars(node).items()
                          if key in ("weight", "bias", "tau", "r", "v_leak", "v_threshold", "v_reset")}
                    if "weight" in of:
                        x = torch.nn.functional.linear(x, of["weight"], of["bias"])
                        continue
                    v = of["v_leak"].expand_as(x) if states[place] is None else states[place]
                    h = v + (dt / of["tau"]) * (of["v_leak"] - v + of["r"] * x)
                    x = (h > of["v_threshold"]).float()
                    lowered = h - of["v_threshold"] if reset == "subtract" else of["v_reset"]
                    states[place] = torch.where(x > 0, lowered, h)
                outputs.append(x)
            return torch.stack(outputs)

        return ReadGraph(run)


class Raises(NIRReader):
    def read(self, graph, *, dt, reset):
        raise ValueError("this graph is not to my taste")


class Silent(NIRReader):
    def read(self, graph, *, dt, reset):
        (size,) = next(iter(graph.outputs.values())).output_type["output"]
        return ReadGraph(lambda currents: torch.zeros(*currents.shape[:2], int(size)), ("it never fires",))


class EulerNeuron(TorchNeuron):
    nir_reader = Euler


class RaisesNeuron(TorchNeuron):
    nir_reader = Raises


class SilentNeuron(TorchNeuron):
    nir_reader = Silent
"""


@pytest.fixture
def run(tmp_path: Path, recipe: Callable[..., Recipe]) -> Callable[..., Path]:
    """Trains the small recipe with overrides, for one epoch."""

    def make(*overrides: str) -> Path:
        folder = tmp_path / "run"
        train(recipe("training.epochs=1", *overrides), out=folder)
        return folder

    return make


@pytest.fixture
def sequence_run(run: Callable[..., Path]) -> Path:
    """A run of the model whose steps are the sequence."""
    return run(SEQUENCE)


@pytest.fixture
def readers(install: Callable[..., Path]) -> Registry:
    """All that is installed, with the readers ``euler``, ``raises`` and ``silent``."""
    install("neurozoo-euler", EULER)
    return Registry()
