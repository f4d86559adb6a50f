"""Make a run of a NIR graph: every setting stated and recorded, its weights measured on data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurozoo.data.locations import installed
from neurozoo.data.store import Store
from neurozoo.data.synthetic.poisson import LENGTH, RATE, SIZE
from neurozoo.errors import UserError, nearest
from neurozoo.nir import check_installed
from neurozoo.nir.graph import Graph
from neurozoo.nir.model import Readout, module_name
from neurozoo.nir.settings import CHOICES, PLATFORMS, Dynamics, needed
from neurozoo.recipe.recipe import SCHEMA, Recipe, check_names
from neurozoo.registry.registry import default_registry
from neurozoo.training.listener import Listener
from neurozoo.training.train import adopt

if TYPE_CHECKING:
    from neurozoo.nir.reading import NIRFile

__all__ = ["Imported", "import_nir", "nir_recipe", "settled", "weights_of"]

NEUTRAL: Mapping[str, str | int] = {
    "reset": "value", "integration": "euler", "fires": "above",
    "forward_delay": 0, "recurrent_delay": 1, "synapse_delay": 0,
}  # fmt: skip
"""Values in the recipe of settings that do not matter to a graph."""


@dataclass(frozen=True)
class Imported:
    """A run made of a graph.

    Attributes:
        file: Name of the .nir file.
        sha256: Of the file, hexadecimal.
        dynamics: Every setting.
        given: The settings that matter to this graph.
        platform: The platform whose settings were used for those not given; None without one.
        readout: What of the outputs is a logit.
        nodes: Number of nodes by kind.
        summary: Content of the run's ``summary.json``.
    """

    file: str
    sha256: str
    dynamics: Dynamics
    given: tuple[str, ...]
    platform: str | None
    readout: Readout
    nodes: Mapping[str, int]
    summary: Mapping[str, Any]


def import_nir(
    path: Path,
    out: Path,
    *,
    settings: Mapping[str, Any],
    platform: str | None = None,
    readout: Readout | None = None,
    data: str | None = None,
    backend: str = "torch",
    seed: int = 1,
    listener: Listener | None = None,
) -> Imported:
    """Make a run of a NIR graph.

    Args:
        path: A .nir file.
        out: The run folder; new or empty.
        settings: See :class:`~neurozoo.nir.settings.Dynamics`; those that matter to the graph and are not in
            ``platform`` must be there.
        platform: One of :data:`~neurozoo.nir.settings.PLATFORMS`, for the settings that are not given.
        readout: See :class:`~neurozoo.nir.model.NIRGraphModel`; by default ``rate`` where the Output gets
            spikes, else ``last``.
        data: A store's folder, or the name of an installed data set; by default synthetic spike trains.
        backend: Of the run's neurons.
        seed: Of synthetic data, and of training.
        listener: Gets warnings.

    Raises:
        UserError: The library ``nir`` is missing, a setting is missing or does not go with the graph, or the file, the
            data or the run folder cannot be used.
    """
    check_installed()
    from neurozoo.nir.reading import read_nir

    file = read_nir(path)
    dynamics = settled(file.graph, settings, platform)
    chosen = readout or ("rate" if file.graph.gives_spikes else "last")
    recipe = nir_recipe(file, dynamics, chosen, data=data, backend=backend, seed=seed)
    recipe = check_names(recipe, default_registry())
    given = needed(file.graph)
    origin = {
        "format": "nir",
        "file": path.name,
        "sha256": file.sha256,
        "metadata": dict(file.metadata),
        "settings": {name: getattr(dynamics, name) for name in given},
        "platform": platform,
    }
    summary = adopt(recipe, weights_of(file), out, origin=origin, listener=listener)
    kinds = [node.kind for node in file.graph.nodes]
    counts: dict[str, int] = {kind: kinds.count(kind) for kind in kinds}
    return Imported(path.name, file.sha256, dynamics, given, platform, chosen, counts, summary)


def settled(graph: Graph, settings: Mapping[str, Any], platform: str | None = None) -> Dynamics:
    """Return every setting of a graph; there are no defaults.

    Raises:
        UserError: One that matters is missing or wrong, or the platform is not known.
    """
    if platform is not None and platform not in PLATFORMS:
        guess = nearest(platform, PLATFORMS)
        raise UserError(
            f"no settings are known of a platform {platform!r}; there are: {', '.join(PLATFORMS)}"
            + (f"; did you mean {guess!r}?" if guess else "")
        )
    known = {**(PLATFORMS[platform] if platform else {}), **{k: v for k, v in settings.items() if v is not None}}
    missing = [name for name in needed(graph) if name not in known]
    if missing:
        options = [
            f"--{name.replace('_', '-')} {'SECONDS' if name == 'dt' else '|'.join(CHOICES[name])}" for name in missing
        ]
        raise UserError(
            f"NIR leaves to its reader what this graph needs to run; give {', '.join(options)}; --as PLATFORM gives "
            f"some of it as on {', '.join(PLATFORMS)}"
        )
    for name, choices in CHOICES.items():
        if name in known and "..." not in choices and str(known[name]) not in choices:
            raise UserError(f"{name} is {known[name]!r}; give {' or '.join(choices)}")
    dynamics = Dynamics(**{"dt": 1.0, **NEUTRAL, **known})
    if not 0 < dynamics.dt < math.inf or dynamics.recurrent_delay < 1:
        raise UserError(
            f"dt is {dynamics.dt} and recurrent_delay {dynamics.recurrent_delay}; both are finite and larger than 0"
        )
    problems = [problem for _, problem in dynamics.problems(graph)]
    if problems:
        raise UserError("; ".join(problems))
    return dynamics


def nir_recipe(
    file: NIRFile, dynamics: Dynamics, readout: Readout, *, data: str | None, backend: str, seed: int
) -> Recipe:
    """Return the recipe of a graph's run; its names are not yet checked.

    Raises:
        UserError: The data has more than one signal, or cannot be opened.
    """
    takes, makes = file.graph.input.size, file.graph.output.size
    task: dict[str, Any] = {"name": "multilabel"}
    if data is None:
        made_up = {"features": takes, "labels": makes, "size": SIZE, "length": LENGTH, "rate": RATE, "seed": seed}
        section: dict[str, Any] = {
            "name": f"{file.name}-data", "inputs": ["spikes"],
            "instead": {"name": "poisson-synthetic", "params": made_up},
        }  # fmt: skip
    else:
        store = Store(installed().get(data, Path(data)))
        (signal, *others) = store.description.signals
        if others:
            raise UserError(f"{data}: has the signals {', '.join([signal, *others])}, and a graph takes one; join them")
        found = store.description.task
        task = {"name": found.name, "per_step": found.per_step}
        where = {"name": data} if data in installed() else {"root": str(Path(data).resolve())}
        section = {**where, "inputs": [signal]}
        if not store.description.splits.get("valid"):
            section["valid"] = {"fraction": 0.2, "seed": 0}
    if task["name"] == "multilabel":
        task["params"] = {"decision": "valid-per-label", "threshold": 0.5}
    content = {
        "schema": SCHEMA,
        "description": f"NIR graph {file.name}, imported",
        "seed": seed,
        "backend": backend,
        "data": section,
        "task": task,
        "model": {
            "name": "nir-graph",
            "params": {
                "nodes": [node.to_recipe() for node in file.graph.nodes],
                "edges": [list(edge) for edge in file.graph.edges],
                **{name: getattr(dynamics, name) for name in Dynamics.__dataclass_fields__},
                "readout": readout,
            },
        },
        "training": {"epochs": 10, "batch_size": 64},
        "evaluation": {"batch_size": 256},
    }
    return Recipe.model_validate_json(json.dumps(content)).named(file.name)


def weights_of(file: NIRFile) -> dict[str, Tensor]:
    """Return a graph's weights by their names in the model."""
    found = {}
    for node, arrays in file.weights.items():
        for parameter, array in arrays.items():
            inside = "scale" if parameter == "scale" else f"of.{parameter}"
            found[f"nodes.{module_name(node)}.{inside}"] = torch.tensor(array)
    return found
