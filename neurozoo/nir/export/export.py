"""Write a trained model as .nir files in a new folder, one for all of it or one for each spiking branch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from neurozoo.core.model import Model
from neurozoo.errors import DISTRIBUTION, RunError, UserError
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.writing import write_whole
from neurozoo.nir import check_installed
from neurozoo.nir.export.branches import branches_of, input_settings, left_out_of_branches, observe, threshold_of
from neurozoo.nir.export.tracing import Link, Traced, folded, sample_batch, trace
from neurozoo.nir.model import NIRGraphModel, module_name
from neurozoo.nir.settings import Reset
from neurozoo.nn.synapses import Normalised
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.json_files import write_json
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.run import check_free

__all__ = [
    "ALWAYS_LEFT_OUT",
    "FORMAT",
    "SUMMARY",
    "Branch",
    "Export",
    "check_backend",
    "check_positive",
    "conditions",
    "export_run",
    "of_neurons",
]

FORMAT = "neurozoo nir export 1"
"""The form of a graph's metadata."""

SUMMARY = "export.json"
"""The file next to the graphs: an :class:`Export` as JSON."""
ALWAYS_LEFT_OUT = (
    "surrogate gradients and detach_reset, which matter in training alone (in the metadata)",
    "the kind of reset, for which NIR has no field (in the metadata)",
)
"""What no graph holds."""


@dataclass(frozen=True)
class Branch:
    """A graph that was written.

    Attributes:
        name: The branch's modality; of a whole model the recipe's name.
        file: Its file in the folder.
        sha256: Of the file, hexadecimal.
        nodes: Each node's kind and size, in order, such as ``Affine 30 -> 128``.
        settings: The graph's metadata.
    """

    name: str
    file: str
    sha256: str
    nodes: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Export:
    """What was exported of a trained model, and what was left out.

    Attributes:
        folder: The new folder.
        source: The run.
        recipe: Name of the recipe.
        synthetic: Whether the model was trained on synthetic data.
        dt: Length of a time step, in seconds.
        threshold: Of all neurons, dimensionless; None if layers have their own.
        threshold_from: Its origin, in words.
        folded: Whether weights and biases took up threshold and resistance.
        reset: The kind of reset.
        branches: One a file.
        left_out: What of the model is in no file, a line each.
        kind: ``branches``; a whole ``model``; or a ``graph`` that was imported.
    """

    folder: Path
    source: str
    recipe: str
    synthetic: bool
    dt: float
    threshold: float | None
    threshold_from: str
    folded: bool
    reset: Reset
    branches: tuple[Branch, ...]
    left_out: tuple[str, ...]
    kind: Literal["branches", "model", "graph"] = "branches"

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON but the locations."""
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "source", "kind")}


def export_run(
    run: str | Path,
    out: Path,
    *,
    dt: float | None = None,
    threshold: float | None = None,
    fold: bool = False,
    registry: Registry | None = None,
) -> Export:
    """Write a trained model as a NIR graph, or each of its spiking branches as one; see ``docs/nir.md``.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        out: A new folder.
        dt: Length of a time step, in seconds; only a graph that was imported has a default, its own.
        threshold: Of all neurons of spiking branches, dimensionless; by default the policy's initial one, at
            ``kappa = 0``. Other models' neurons have their own thresholds.
        fold: Whether weights and biases of spiking branches take up threshold and resistance.
        registry: Where names are looked up.

    Raises:
        UserError: ``dt`` is missing, it or the threshold is not positive, the policy has no threshold of its own, NIR
            has no node for something in the model, which is named, or nir is not installed.
        RunError: The run cannot be opened, or ``out`` is not empty or cannot be written.
        CheckpointError: Its weights are missing or damaged.
    """
    check_installed()
    check_free(out)
    trained = load(run, backend="torch").check_finite()
    check_backend(trained, registry or default_registry())
    if isinstance(trained.module, NIRGraphModel):
        return _export_graph(trained, trained.module, str(run), out, dt=dt, changed=fold or threshold is not None)
    if dt is None:
        raise UserError(
            "NIR's time constants are in seconds and ours in steps, so say how long a step is: --dt SECONDS, such as "
            "--dt 1e-3 (or 1e-4, which several readers assume)"
        )
    check_positive("dt", dt, "seconds, such as 1e-3")
    if branches_of(trained.module):
        return _export_branches(trained, str(run), out, dt=dt, stated=threshold, fold=fold)
    if fold or threshold is not None:
        raise UserError(
            f"{run}: the model {trained.recipe.model.name!r} has no spiking branches, and its neurons have thresholds "
            "of their own; leave out --threshold and --fold"
        )
    return _export_model(trained, str(run), out, dt=dt)


def check_positive(name: str, value: float, unit: str) -> None:
    """Check a length of a step or a threshold.

    Raises:
        UserError: It is not a positive number.
    """
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} is {value}; give a positive number, in {unit}")


def _export_branches(
    trained: TrainedModel, run: str, out: Path, *, dt: float, stated: float | None, fold: bool
) -> Export:
    """Each spiking branch as a graph, at one threshold."""
    threshold, why = threshold_of(trained, stated)
    check_positive("threshold", threshold, "the membrane's unit")
    branches = observe(trained.module, sample_batch(trained.module.problem), threshold)
    left_out = (*left_out_of_branches(trained), *ALWAYS_LEFT_OUT)
    settings = _settings(trained, [link for each in branches.values() for link in each.neurons], dt, why, left_out)
    settings |= {"threshold": threshold, "folded": _text(fold)}

    from neurozoo.nir.export.model_graph import model_graph

    graphs = {}
    for name, traced in branches.items():
        own = {"branch": name, **input_settings(traced), **of_neurons(traced.neurons)}
        graphs[name] = model_graph(traced, dt=dt, metadata=settings | own, fold=fold)
    reset = settings["reset"]
    bare = Export(out, run, trained.recipe.name, _synthetic(trained), dt, threshold, why, fold, reset, (), left_out)
    return _written(bare, graphs)


def _export_model(trained: TrainedModel, run: str, out: Path, *, dt: float) -> Export:
    """A whole model as one graph, its normalisation folded into the weights."""
    from neurozoo.nir.export.model_graph import level_of, model_graph

    model = folded(trained.module)
    traced = trace(model, sample_batch(model.problem))
    levels = [level_of(link.name, link.fired) for link in traced.neurons]
    numbers = {level for each in levels for level in torch.as_tensor(each).flatten().tolist()}
    whole = numbers.pop() if len(numbers) == 1 else None
    left_out = (*_left_out(trained, traced), *ALWAYS_LEFT_OUT)
    held = {} if traced.held is None else {"time_steps": traced.held}
    position = "one position a step" if traced.held is None else "one position, held for all steps, from rest"
    position += f", then {traced.run_on} steps of zeros" if traced.run_on else ""
    scaled = ", as the training split's statistics scale it" if traced.signal in model.problem.standardise else ""
    why = "each layer's own"
    settings = _settings(trained, traced.neurons, dt, why, left_out) | {
        "recurrent_delay": 1,
        "synapse_delay": 0,
        "input": f"{traced.signal}{scaled}, {position}",
        "readout": _readout(trained.module),
        **held,
        **of_neurons(traced.neurons),
    }
    graph = model_graph(traced, dt=dt, metadata=settings)
    name, reset = trained.recipe.name, settings["reset"]
    bare = Export(out, run, name, _synthetic(trained), dt, whole, why, False, reset, (), left_out, "model")
    return _written(bare, {name: graph})


def _settings(
    trained: TrainedModel, neurons: Iterable[Link], dt: float, threshold_from: str, left_out: Iterable[str]
) -> dict[str, Any]:
    """The metadata of every graph that was not imported; UserError where layers have different kinds of reset."""
    return _origin(trained) | conditions(neurons, dt, threshold_from, left_out)


def conditions(neurons: Iterable[Link], dt: float, threshold_from: str, left_out: Iterable[str]) -> dict[str, Any]:
    """Return the metadata of what NIR leaves to its reader.

    Raises:
        UserError: Layers have different kinds of reset.
    """
    kinds = {"subtract" if getattr(link.layer.spec, "v_reset", 0.0) is None else "value" for link in neurons}
    if len(kinds) > 1:
        raise UserError("some layers reset to a value and some by subtraction, and a program that reads NIR has one")
    return {
        "dt": dt,
        "integration": "euler",
        "threshold_from": threshold_from,
        "fires": "above",
        "reset": "subtract" if kinds == {"subtract"} else "value",
        "reset_delay": 0,
        "forward_delay": 0,
        "left_out": "; ".join(left_out),
    }


def of_neurons(links: Iterable[Link]) -> dict[str, str]:
    """Return the neurons' settings for the metadata, each value of all layers once."""
    found: dict[str, list[str]] = {}
    for link in links:
        spec, apply = link.layer.spec, "gain" if link.layer.gain else "threshold"
        by_neuron = {name: "by neuron" for name, each in link.layer.params().items() if each.dim()}
        for key, value in {"kind": spec.kind, **asdict(spec), **by_neuron, "apply": apply}.items():
            found.setdefault(f"neuron_{key}", []).append(_text(value))
    return {key: ", ".join(dict.fromkeys(values)) for key, values in found.items()}


def _text(value: object) -> str:
    """A setting as a recipe writes it; HDF5 has no null, and programs read its booleans as numbers."""
    return value if isinstance(value, str) else json.dumps(value)


def _left_out(trained: TrainedModel, traced: Traced) -> Iterator[str]:
    """What of a whole model is in no graph, a line each."""
    model = trained.module
    inside = {link.name.partition(".")[0] for link in traced.links}
    for name, child in model.named_children():
        if name not in inside and child.state_dict():
            yield f"{name}: {type(child).__name__}"
    if model.problem.standardise:
        yield "standardise: the graph's input is the signal as the training split's statistics scale it"
    if any(isinstance(module, Normalised) for module in model.modules()):
        yield "batch normalisation, which is folded into the weights; equal up to rounding"
    if (readout := _readout(model)) != "none":
        yield f"what is read of the outputs over the steps, {readout} (in the metadata)"
    made, outputs = math.prod(traced.links[traced.end].made), model.problem.outputs
    if made != outputs:
        yield f"how the {made} numbers of the graph's output become {outputs} outputs"


def _readout(model: Model) -> str:
    """How a model reads its outputs over the steps; some models name more ways than others."""
    return str(getattr(model, "how", getattr(model, "readout", "none")))


def _export_graph(
    trained: TrainedModel, model: NIRGraphModel, run: str, out: Path, *, dt: float | None, changed: bool
) -> Export:
    """An imported graph unchanged but for its weights."""
    dynamics = model.dynamics
    if changed or dt not in (None, dynamics.dt):
        raise UserError(
            f"{run}: is a NIR graph that was imported, with thresholds of its own and dt {dynamics.dt:g}; it is "
            "exported unchanged, so leave out --threshold, --fold and any other --dt"
        )
    left_out = (
        *(["standardise: Standardise"] if len(model.standardise) else []),
        f"the readout of logits, {model.readout} (in the metadata)",
        "surrogate gradients, which matter in training alone (in the metadata)",
    )
    params = trained.recipe.model.params
    settings = _origin(trained) | asdict(dynamics)
    settings |= {name: params[name] for name in ("readout", "surrogate", "alpha") if name in params}
    settings |= {"left_out": "; ".join(left_out)}

    from neurozoo.nir.writing import nir_graph

    graph = nir_graph(model.graph, _weights(model), settings)
    name = trained.recipe.name
    bare = Export(
        out, run, name, _synthetic(trained), dynamics.dt, None, "its own", False, dynamics.reset, (), left_out, "graph"
    )
    return _written(bare, {name: graph})


def _weights(model: NIRGraphModel) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Learned arrays by node and parameter of NIR."""
    names = {module_name(node.name): node.name for node in model.graph.nodes}
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for key, tensor in model.nodes.named_parameters():
        module, _, inside = key.partition(".")
        found.setdefault(names[module], {})[inside.removeprefix("of.")] = tensor.detach().numpy()
    return found


def _origin(trained: TrainedModel) -> dict[str, str | float]:
    """The origin of a graph, for its metadata."""
    return {
        "format": FORMAT,
        "neurozoo": importlib.metadata.version(DISTRIBUTION),
        "recipe": trained.recipe.name,
        "model": trained.recipe.model.name,
        "synthetic": _text(_synthetic(trained)),
        "weights_sha256": hashlib.sha256(trained.source.checkpoint.read_bytes()).hexdigest(),
    }


def _synthetic(trained: TrainedModel) -> bool:
    return bool(trained.source.summary.get("synthetic"))


def _written(bare: Export, graphs: Mapping[str, Any]) -> Export:
    """Write the graphs and the summary, whole or not at all; return the export with its branches."""
    from neurozoo.nir.writing import described, file_content

    out = bare.folder
    try:
        with PartialFolder(out) as new:
            branches = []
            for name, graph in graphs.items():
                content = file_content(graph)
                write_whole(new.path / f"{name}.nir", content, inside=new.path)
                sha256 = hashlib.sha256(content).hexdigest()
                branches.append(Branch(name, f"{name}.nir", sha256, described(graph), graph.metadata))
            export = replace(bare, branches=tuple(branches))
            write_json(new.path / SUMMARY, export.to_dict())
            new.finish()
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror or error}; give another --out") from error
    return export


def check_backend(trained: TrainedModel, registry: Registry) -> None:
    """Refuse weights trained on a library's own neuron, which is another model."""
    name = str(trained.source.summary.get("backend", "torch"))
    known = registry.components("neuron")
    if name in known and known[name].native:
        raise UserError(
            f"{trained.source.folder}: was trained on {name}, whose neuron is its library's own and another "
            "than would be exported; train it on another backend, such as torch"
        )
