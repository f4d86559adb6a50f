"""Every model of the zoo in every format; ``make exports`` writes the tables of docs/export.md.

Packed models are compared on their data where NEUROZOO_DATA has it, and on random samples elsewhere.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import neurozoo
from neurozoo.core.model import Model
from neurozoo.core.recording import neuron_layers
from neurozoo.core.signals import Batch
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import DifferentError, NeurozooError
from neurozoo.exporting.export import export, export_model, write_program
from neurozoo.exporting.onnx_file import OPSET
from neurozoo.nir.export.model_graph import model_graph
from neurozoo.nir.export.tracing import folded, trace
from neurozoo.runs.shipped_models import shipped_models

PICTURE: Mapping[str, Any] = {"inputs": (3, 16, 16), "length": 1, "outputs": 4}
FRAMES: Mapping[str, Any] = {"inputs": (2, 16, 16), "length": 3, "outputs": 4}
TRAINS: Mapping[str, Any] = {"inputs": (12,), "length": 16, "outputs": 4}
WORDS: Mapping[str, Any] = {"length": 6, "outputs": 4, "task": "multilabel"}
GRAPH: Mapping[str, Any] = {
    "nodes": [
        {"name": "input", "kind": "Input", "shape": [12]},
        {"name": "w", "kind": "Linear", "shape": [5, 12]},
        {
            "name": "n", "kind": "LIF", "shape": [5],
            "values": {"tau": 1.0, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0},
        },
        {"name": "back", "kind": "Linear", "shape": [5, 5]},
        {"name": "read", "kind": "Linear", "shape": [4, 5]},
        {"name": "output", "kind": "Output", "shape": [4]},
    ],
    "edges": [["input", "w"], ["w", "n"], ["n", "back"], ["back", "n"], ["n", "read"], ["read", "output"]],
    "dt": 0.25, "reset": "value", "integration": "euler", "fires": "at", "forward_delay": 0, "recurrent_delay": 1,
    "synapse_delay": 0, "readout": "sum",
}  # fmt: skip
SEVERAL = {**WORDS, "inputs": {"text": (8,), "vision": (4,), "audio": (5,)}}
BERT = {**SEVERAL, "hidden": 8, "heads": 2, "inner": 8, "layers": 1}
SMALL: Mapping[str, Mapping[str, Any]] = {
    "carat": {**BERT, "latent": 4, "queue": 16},
    "cuba-mlp": TRAINS,
    "cuba-rsnn": {**TRAINS, "hidden": 8},
    "dcls-delays": {**TRAINS, "hidden": (8, 8), "kernel": 5},
    "gru": TRAINS,
    "hhmpn": {
        **SEVERAL, "hidden": 8, "heads": 2, "inner": 8, "decoder_layers": 1, "encoder_hidden": 8, "encoder_heads": 2,
        "encoder_layers": 1, "memory_layers": 1,
    },
    "ispikformer": {
        "inputs": (5,), "length": 6, "outputs": 10, "task": "regression", "width": 8, "heads": 2, "depth": 1,
    },
    "lddu": {**BERT, "latent": 4, "queue": 16, "projection": 5},
    "lsnn": {**TRAINS, "regular": 4, "adaptive": 4},
    "misa": {**SEVERAL, "hidden": 8, "inner": 8},
    "mult": {**SEVERAL, "hidden": 8, "heads": 2, "layers": 1, "memory_layers": 1},
    "multimodal": {**SEVERAL, "hidden": 8, "heads": 2},
    "nir-graph": {**TRAINS, **GRAPH},
    "plif-net": {**FRAMES, "channels": (4, 6)},
    "qkformer": {**PICTURE, "width": 16, "heads": 2, "token_stages": 1, "depth": 1},
    "recurrent": TRAINS,
    "sew-resnet": {**PICTURE, "width": 4, "blocks": (1, 1)},
    "sew-resnet-events": {**FRAMES, "channels": (4, 6)},
    "smile": {**WORDS, "inputs": {"text": (8,), "audio": (5,), "vision": (4,)}},
    "sparch": {**TRAINS, "hidden": (8, 8)},
    "spike-driven-transformer": {**PICTURE, "width": 16, "heads": 2, "depth": 1},
    "spikegpt": {"inputs": (), "length": 7, "outputs": 11, "width": 8, "depth": 1, "per_step": True},
    "spikemo": {
        **SEVERAL, "hidden": 8, "spiking_heads": 2, "depth": 1, "time_steps": 4, "heads": 2, "layers": 1, "inner": 8,
    },
    "spikformer": {**PICTURE, "width": 16, "heads": 2, "depth": 1},
    "spiking-convnet": FRAMES,
    "spiking-sequence": {**WORDS, "inputs": {"text": (8,)}},
    "spiking-transformer": {**FRAMES, "heads": 2},
    "tailor": {**BERT, "cross_layers": 1},
}  # fmt: skip
"""A small form of each model; sequences have enough steps for a loop, frames and pictures have them written out."""
OF_A_RUN = {
    "nir-graph": "the graph that was imported, with its weights",
    **dict.fromkeys(("smile", "spiking-sequence"), "a graph for each spiking branch"),
}
"""What ``nir`` writes of runs alone; the packed models have some, and tests/nir/export the others."""
SAMPLES = 64
FORMATS = ("torch-export", "onnx", "nir")


def five_steps() -> tuple[Model, list[Batch]]:
    """Return a recurrent net whose steps are written out, and seven samples; torch names operations as its signal."""
    torch.manual_seed(1)
    model = neurozoo.create_model("recurrent", inputs={"linear": (6,)}, length=5, outputs=3, hidden=(9,)).eval()
    with torch.no_grad():
        model.get_parameter("layers.0.synapse.weight").mul_(4)
    return model, [made_up(model.problem.signals, model.problem.task, 7, 0)]


def small(name: str) -> tuple[Model, list[Batch]]:
    """Return a small form with random weights, large enough that its neurons fire, and samples in two batches."""
    torch.manual_seed(0)
    model = neurozoo.create_model(name, **SMALL[name]).eval()
    firing = [layer.synapse for layer in neuron_layers(model).values() if layer.spec.spiking and layer.synapse]
    for module in (each for synapse in firing for each in synapse.modules()):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 1.0, 3.0)
            nn.init.uniform_(module.bias, -0.5, 2.5)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            inputs = module.weight[0].numel()
            nn.init.normal_(module.weight, 2 / inputs, 3 * inputs**-0.5)
    batch = made_up(model.problem.signals, model.problem.task, SAMPLES, 1)
    return model, [batch.rows(0, SAMPLES - 5), batch.rows(SAMPLES - 5, SAMPLES)]


def small_written(name: str, format: str, folder: Path) -> tuple[float, int]:
    """Write a small form, and return the largest difference of its outputs and the size of the program."""
    model, batches = small(name)
    if format == "nir":
        graph = model_graph(trace(folded(model), batches[1]), dt=1e-3, metadata={})
        return 0.0, len(graph.nodes)
    found, operations = write_program(model, batches, folder / "m", name, opset=OPSET if format == "onnx" else None)
    return found.largest, operations


def table(which: str) -> Iterator[str]:
    """Yield the lines of the table of small forms, or of packed models."""
    names, cell = (SMALL, _small_cell) if which == "small" else (shipped_models(), _packed_cell)
    yield f"| {'model, a small form' if which == 'small' else 'packed model'} | torch-export | onnx | nir |"
    yield "|---|---|---|---|"
    for name in names:
        yield f"| {name} | {' | '.join(cell(name, format) for format in FORMATS)} |"


def _small_cell(name: str, format: str) -> str:
    if format == "nir" and name in OF_A_RUN:
        return OF_A_RUN[name]
    with tempfile.TemporaryDirectory() as folder:
        try:
            difference, _ = small_written(name, format, Path(folder))
        except NeurozooError as error:
            return _refused(error)
    return "a graph" if format == "nir" else _apart(difference)


def _packed_cell(name: str, format: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            if format == "nir":
                exported = export(name, Path(folder) / "out", format="nir", dt=1e-3)
                return f"{len(exported.branches)} graph{'s' if len(exported.branches) > 1 else ''}"
            made = export_model(name, Path(folder) / "out", format="onnx" if format == "onnx" else "torch-export")
        except NeurozooError as error:
            return _refused(error)
        seconds, size = time.perf_counter() - start, (made.folder / made.file).stat().st_size
    on = f"{made.samples}{' random' if made.made_up else ''} samples"
    return f"{_apart(made.difference)} on {on}; {math.ceil(size / 1000):,} kB, {seconds:.0f} s"


def _apart(difference: float) -> str:
    return "equal" if difference == 0 else f"differs by {difference:.0e}"


def _refused(error: NeurozooError) -> str:
    text = str(error).split(": ", 1)[-1]
    if isinstance(error, DifferentError) and (found := re.search(r"of (\d+) of (\d+) samples.*by up to (\S+),", text)):
        return f"refused: {found[1]} of {found[2]} samples differ by up to {found[3]}, spikes flip"
    return f"refused: {re.split('; |, and ', text)[0]}".replace("|", "/")


def main(page: Path, *which: str) -> None:
    """Replace the page's tables, each between its two marks, and print them."""
    torch.set_num_threads(1)
    for each in which or ("small", "packed"):
        lines = []
        for line in table(each):
            print(line, flush=True)
            lines.append(line)
        begin, end = f"<!-- {each}: begin -->\n", f"<!-- {each}: end -->\n"
        head, rest = page.read_text(encoding="utf-8").split(begin)
        made = "\n".join(lines)
        page.write_text(f"{head}{begin}{made}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
