"""A trained model's spiking branches as .nir files in a new folder, and what was left out of them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from neurozoo.core.interfaces import Activation, LIFSpec, ThresholdPolicy, ZooModel
from neurozoo.errors import RunError, UserError
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.models.smile.branch import LIFActivation, SpikingBranch
from neurozoo.models.smile.sequence_branch import SequenceBranch
from neurozoo.nir import check_installed
from neurozoo.nir.model import NIRGraphModel, module_name
from neurozoo.nir.settings import Reset
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.run import Run, write_json

if TYPE_CHECKING:
    from neurozoo.nir.branches import Stage

__all__ = ["SUMMARY", "Branch", "Export", "export_run", "neuron_at"]

SUMMARY = "export.json"
"""What lies beside the graphs: an :class:`Export` as JSON."""


@dataclass(frozen=True)
class Branch:
    """One spiking branch, written.

    Attributes:
        name: Of the branch, a modality's.
        file: Its file in the folder.
        sha256: Of the file, hexadecimal.
        nodes: Kind of each node in order, with its size, such as ``Affine 30 -> 128``.
        settings: What the graph's metadata holds.
    """

    name: str
    file: str
    sha256: str
    nodes: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Export:
    """What was exported of a trained model, and what was not.

    Attributes:
        folder: Where it is.
        source: What it was made of.
        recipe: Name of the recipe.
        synthetic: Whether the model was trained on made-up data.
        dt: Length of a time step, in seconds.
        threshold: Of all neurons, dimensionless; None for a graph that was imported, which has its own.
        threshold_from: Why this one, in words.
        folded: Whether weights and biases took it up, and the resistance.
        reset: The kind of reset.
        branches: One a file.
        left_out: What of the model is in no file, a line each.
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

    def to_dict(self) -> dict[str, Any]:
        """All but where it is and where it came from, for JSON."""
        return {key: value for key, value in asdict(self).items() if key not in ("folder", "source")}


def export_run(
    run: str | Path,
    out: Path,
    *,
    dt: float | None = None,
    threshold: float | None = None,
    fold: bool = False,
    registry: Registry | None = None,
) -> Export:
    """Write each spiking branch of a trained model as a NIR graph; see ``docs/nir.md``.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        out: A new folder.
        dt: Length of a time step, in seconds; NIR's time constants are in seconds. There is no default, but for a graph
            that was imported, which says it.
        threshold: Of all neurons, dimensionless; by default what the model's policy starts from, which is its
            threshold at ``kappa = 0``.
        fold: Whether weights and biases take up threshold and resistance.
        registry: Where names are looked up.

    Raises:
        UserError: ``dt`` is missing, or it or the threshold is not positive, the policy has no threshold of its own, an
            activation has no node in NIR, or nir is not installed.
        RunError: The run cannot be opened, or ``out`` is not empty or cannot be written.
        CheckpointError: Its weights are missing or damaged.
    """
    check_installed()
    Run.check_free(out)
    trained = load(run, backend="torch")
    _check_backend(trained, registry or default_registry())
    if isinstance(trained.module, NIRGraphModel):
        return _export_graph(trained, trained.module, str(run), out, dt=dt, changed=fold or threshold is not None)
    if dt is None:
        raise UserError(
            "NIR's time constants are in seconds and ours in steps, so say how long a step is: --dt SECONDS, such as "
            "--dt 1e-3 (or 1e-4, which several readers assume)"
        )
    level, why = _threshold(trained, threshold)
    stages = {
        name: [_stage(name, *stage, level, trained) for stage in each]
        for name, each in trained.module.branches_by_name().items()
    }
    if not stages:
        raise UserError(
            f"{run}: the model {trained.recipe.model.name!r} has no spiking branch, so there is nothing to export"
        )
    reset = _reset([stage.spec for each in stages.values() for stage in each])
    left_out = tuple(_left_out(trained))
    settings = _origin(trained) | {
        "dt": dt,
        "integration": "euler",
        "threshold": level,
        "threshold_from": why,
        "folded": _text(fold),
        "fires": "above",
        "reset": reset,
        "reset_delay": 0,
        "forward_delay": 0,
        "left_out": "; ".join(left_out),
    }

    from neurozoo.nir.branches import branch_graph

    graphs = {
        name: branch_graph(
            each, dt=dt, threshold=level, fold=fold, metadata=settings | _of_branch(name, each, trained.module)
        )
        for name, each in stages.items()
    }
    bare = Export(out, str(run), trained.recipe.name, _synthetic(trained), dt, level, why, fold, reset, (), left_out)
    return _written(bare, graphs)


def _export_graph(
    trained: TrainedModel, model: NIRGraphModel, run: str, out: Path, *, dt: float | None, changed: bool
) -> Export:
    """A graph that was imported goes back as it was, with the weights that it has now."""
    dynamics = model.dynamics
    if changed or dt not in (None, dynamics.dt):
        raise UserError(
            f"{run}: is a NIR graph that was imported, with thresholds of its own and dt {dynamics.dt:g}; it is "
            "exported as it is, so leave out --threshold, --fold and any other --dt"
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
        out, run, name, _synthetic(trained), dynamics.dt, None, "its own", False, dynamics.reset, (), left_out
    )
    return _written(bare, {name: graph})


def _weights(model: NIRGraphModel) -> dict[str, dict[str, NDArray[np.float32]]]:
    """What learns, by node and parameter of NIR."""
    names = {module_name(node.name): node.name for node in model.graph.nodes}
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for key, tensor in model.nodes.named_parameters():
        module, _, inside = key.partition(".")
        found.setdefault(names[module], {})[inside.removeprefix("of.")] = tensor.detach().numpy()
    return found


def _origin(trained: TrainedModel) -> dict[str, str | float]:
    """What the metadata says of where a graph comes from."""
    return {
        "format": "neurozoo nir export 1",
        "neurozoo": importlib.metadata.version("neurozoo"),
        "recipe": trained.recipe.name,
        "model": trained.recipe.model.name,
        "synthetic": _text(_synthetic(trained)),
        "weights_sha256": hashlib.sha256(trained.source.checkpoint.read_bytes()).hexdigest(),
    }


def _synthetic(trained: TrainedModel) -> bool:
    return bool(trained.source.summary.get("synthetic"))


def _written(bare: Export, graphs: Mapping[str, Any]) -> Export:
    """Write the graphs and what is said of them, whole or not at all; the export with its branches."""
    from neurozoo.nir.branches import described, write_graph

    out = bare.folder
    try:
        new = PartialFolder(out)
        try:
            branches = []
            for name, graph in graphs.items():
                file = new.path / f"{name}.nir"
                write_graph(file, graph)
                sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
                branches.append(Branch(name, file.name, sha256, described(graph), graph.metadata))
            export = replace(bare, branches=tuple(branches))
            write_json(new.path / SUMMARY, export.to_dict())
            new.finish()
        finally:
            new.close()
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror or error}; give another --out") from error
    return export


def neuron_at(activation: LIFActivation, threshold: float) -> LIFSpec:
    """An activation's neuron, with voltages in the unit of a threshold that it is compared with.

    With ``apply: gain`` the membrane is in units of the threshold, and so is its reset.
    """
    spec = activation.lif.spec
    return replace(spec, v_reset=spec.v_reset * threshold) if activation.gain and spec.v_reset else spec


def _check_backend(trained: TrainedModel, registry: Registry) -> None:
    """Refuse weights that were trained on a library's own neuron, which is another model."""
    name = str(trained.source.summary.get("backend", "torch"))
    known = registry.components("backend")
    if name in known and known[name].native:
        raise UserError(
            f"{trained.source.folder}: was trained on {name}, whose neuron is its library's own and another "
            "than would be exported; train it on another backend, such as torch"
        )


def _threshold(trained: TrainedModel, stated: float | None) -> tuple[float, str]:
    if stated is not None:
        return stated, "stated"
    policies = [module for module in trained.module.modules() if isinstance(module, ThresholdPolicy)]
    bases = {policy.base() for policy in policies}
    (base,) = bases if len(bases) == 1 else (None,)
    named = trained.recipe.model.parts.get("threshold")
    name = named.name if named is not None else type(policies[0]).__name__ if policies else "none"
    if base is None:
        raise UserError(
            f"the threshold policy {name!r} has no threshold of its own, its batches make it; NIR has fixed ones, so "
            "give one with --threshold, such as 1.0"
        )
    learned = any("kappa" in policy.report() for policy in policies)
    return base, f"that of {name!r}" + (" at kappa = 0" if learned else "")


def _stage(name: str, linear: nn.Linear, activation: Activation, threshold: float, trained: TrainedModel) -> Stage:
    from neurozoo.nir.branches import Stage

    if not isinstance(activation, LIFActivation):
        part = trained.recipe.model.parts.get("activation")
        called = part.name if part is not None else type(activation).__name__
        raise UserError(
            f"the branch {name!r} has the activation {called!r} ({type(activation).__name__}), which is no LIF and for "
            "which NIR has no node; export a run whose activation is 'lif'"
        )
    return Stage(linear.weight, linear.bias, neuron_at(activation, threshold))


def _reset(specs: Sequence[LIFSpec]) -> Reset:
    kinds = {"subtract" if spec.v_reset is None else "value" for spec in specs}
    if len(kinds) > 1:
        raise UserError("some layers reset to a value and some by subtraction; a program that reads NIR is told of one")
    return "subtract" if kinds == {"subtract"} else "value"


def _of_branch(name: str, stages: Sequence[Stage], model: ZooModel) -> dict[str, str | float]:
    """What the metadata says of one branch: its neurons' settings, and how it is presented with its input."""
    (first, activation), *_ = model.branches_by_name()[name]
    how: dict[str, str | float] = {}
    for module in model.modules():
        if isinstance(module, SpikingBranch) and module.linear1 is first:
            how = {
                "time_steps": module.time_steps,
                "input": "the projection of one position, held for all steps, from rest",
                "output": "spikes, whose mean over the steps is the firing rate that the model goes on with",
            }
        elif isinstance(module, SequenceBranch) and module.linear1 is first:
            how = {
                "input": "the projection of one position a step, valid positions first, from rest at the first",
                "output": "the spikes of each position",
            }
    layers = [asdict(stage.spec) for stage in stages]
    neurons = {f"neuron_{key}": ", ".join(dict.fromkeys(_text(each[key]) for each in layers)) for key in layers[0]}
    applied = "gain" if isinstance(activation, LIFActivation) and activation.gain else "threshold"
    return {"branch": name, **how, **neurons, "neuron_apply": applied}


def _text(value: object) -> str:
    """A setting as a recipe writes it; HDF5 has no null, and programs read its booleans as numbers."""
    return value if isinstance(value, str) else json.dumps(value)


def _left_out(trained: TrainedModel) -> Iterator[str]:
    """What of the model is in no graph, in words."""
    model = trained.module
    exported = {linear for stages in model.branches_by_name().values() for linear, _ in stages}
    for name, child in model.named_children():
        part = trained.recipe.model.parts.get(name)
        if exported & set(child.modules()) or not (part or child.state_dict()):
            continue
        inside = list(child.children()) if isinstance(child, nn.ModuleDict) else [child]
        classes = dict.fromkeys(type(each).__name__ for each in inside)
        said = f"{name}: {part.name if part is not None else ', '.join(classes)}"
        if isinstance(child, ThresholdPolicy) and "kappa" in (report := child.report()):
            said += f", which moves the threshold by sample (kappa = {float(report['kappa']):.4g} in these weights)"
        yield said
    yield "surrogate gradients and detach_reset, which matter in training alone (in the metadata)"
    yield "the kind of reset, for which NIR has no field (in the metadata)"
