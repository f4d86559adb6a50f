"""Import weights that the authors of a published model trained, as a packed model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neurozoo.data.untrusted.process import read_untrusted
from neurozoo.errors import CheckpointError
from neurozoo.files.opening import open_regular, sha256_of
from neurozoo.hub.metadata import checked_licence
from neurozoo.hub.packing import write_packed
from neurozoo.models.authors_weights import load_authors_weights
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.by_name import Form, form_of_now, model_recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.checkpoint import read_plain_tensors, write_tensors
from neurozoo.runs.packed import SCHEMA, Packed
from neurozoo.runs.run import check_free, environment

__all__ = ["ImportedWeights", "import_weights", "read_weights"]

INSIDE = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Names under which training scripts keep the weights, in the order in which they are looked for."""
WRAPPED = ("module.", "_orig_mod.")
"""Prefixes of the names of a model that was wrapped for several devices, or compiled, when it was saved."""


@dataclass(frozen=True)
class ImportedWeights:
    """What became of a file.

    Attributes:
        folder: The packed model.
        model: Name of the published size.
        form: ``published`` or ``corrected``.
        file: Name of the authors' file.
        sha256: Of the file, hexadecimal.
        taken: The authors' name of each tensor, by its name here.
        left: Why one of the authors' tensors was not taken, by their name.
    """

    folder: Path
    model: str
    form: Form
    file: str
    sha256: str
    taken: Mapping[str, str]
    left: Mapping[str, str]


def import_weights(
    name: str,
    file: str | Path,
    out: str | Path | None = None,
    overrides: Sequence[str] | None = None,
    *,
    outputs: int | Sequence[str] | None = None,
    key: str | None = None,
    form: Form = "published",
    licence: str | None = None,
    registry: Registry | None = None,
) -> ImportedWeights:
    """Make a packed model of the authors' weights. Nothing in their file is run.

    Args:
        name: A published size, such as ``spikformer-4-384``, see :func:`neurozoo.list_models`.
        file: A torch file (``.pth``, ``.pt``, ``.pth.tar``) or a safetensors file, with their names.
        out: The new folder; by default ``packed/NAME``.
        overrides: Values of the recipe that differ from those of the published size, such as
            ``model.params.time_steps=6`` or ``data.name=cifar10``.
        outputs: Number of outputs or their names, in their order; by default those of the published size.
        key: Where in the file the weights are, ``KEY`` or ``KEY.KEY``; by default they are looked for.
        form: ``published``, or ``corrected`` with the same weights, if that needs no others.
        licence: Of the weights, an SPDX expression.
        registry: Where names are looked up; by default what is installed.

    Raises:
        UnknownNameError: There is no such model.
        UserError: The model is no published one.
        DataError: The file is missing, damaged or holds code.
        CheckpointError: Its weights are not those of this model; names the first that does not fit.
        RunError: ``out`` is not empty or cannot be written.
    """
    form = form_of_now(form)
    path, licence = Path(file), None if licence is None else checked_licence(licence)
    folder = Path("packed") / name if out is None else Path(out)
    check_free(folder)
    recipe = model_recipe(name, outputs=outputs, form=form, registry=registry)
    described = [f"description={name}, weights by its authors", *(overrides or ())]
    recipe = recipe.with_overrides(described, registry=registry or default_registry())
    problem, _ = expected_problem(recipe, registry=registry)
    model = build_model(recipe, problem, registry=registry)
    weights, left = read_weights(path, key)
    taken = load_authors_weights(model, weights, str(path))
    left |= taken.left
    digest = sha256_of(path)
    task = {"name": problem.task.name, "outputs": list(problem.task.outputs), "per_step": problem.task.per_step}
    signals = {each: shape.to_dict() for each, shape in problem.signals.items()}
    origin = {"source": "the authors' training, see the notes", "licence": "unknown", "citation": "unknown"}
    data_of = {
        "signals": signals, "task": task, "splits": {}, "origin": origin, "synthetic": False,
        "checksum": "", "name": recipe.data.name,
    }  # fmt: skip
    packed = Packed(
        schema=SCHEMA,
        name=name,
        description=recipe.description,
        licence=licence,
        task=task,
        signals=signals,
        seeds=None,
        files={},
        summary={
            "recipe": name, "model": recipe.model.name, "backend": recipe.backend, "seed": recipe.seed,
            "synthetic": False, "parameters": sum(each.numel() for each in model.parameters()),
            "epochs": 0, "best_epoch": 0, "data": data_of, "metrics": {}, "metric_definitions": {},
            "lesion": {}, "health": {}, "threshold": {}, "warnings": [], "duration_seconds": 0.0,
            "environment": environment(torch.device("cpu")),
            "imported": {"file": path.name, "sha256": digest, "form": form, "tensors": len(taken.names), "left": left},
        },
    )  # fmt: skip
    metadata = {
        "model": recipe.model.name, "recipe": name, "recipe_digest": recipe.digest, "synthetic": False,
        "data_checksum": "", "signals": {each: shape.to_dict() for each, shape in problem.signals.items()},
        "task": task | problem.task.state(), "epoch": 0,
    }  # fmt: skip
    write_packed(folder, packed, recipe, lambda path: write_tensors(path, model.state_dict(), metadata))
    return ImportedWeights(folder, name, form, path.name, digest, taken.names, left)


def read_weights(path: Path, key: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors of a file of somebody else's training, under their names.

    Args:
        path: A torch or safetensors file.
        key: Where in it the weights are, ``KEY`` or ``KEY.KEY``; by default they are looked for.

    Returns:
        Tensors by name, and why an entry next to them was left out, by its name.

    Raises:
        DataError: The file cannot be read, or holds code.
        CheckpointError: It holds no weights, or nothing where ``key`` points.
    """
    if _is_safetensors(path):
        return _unwrapped(read_plain_tensors(path)), {}
    content = read_untrusted(path)
    for step in () if key is None else key.split("."):
        if not isinstance(content, Mapping) or step not in content:
            there = ", ".join(map(str, content)) if isinstance(content, Mapping) else "no names"
            raise CheckpointError(f"{path}: there is no {step!r} in it; there is: {there[:300]}")
        content = content[step]
    if key is None:
        content = _found(path, content)
    if not isinstance(content, Mapping) or not any(isinstance(each, np.ndarray) for each in content.values()):
        raise CheckpointError(f"{path}: no weights by name; give the place in it with --key")
    arrays = {str(name): each for name, each in content.items() if isinstance(each, np.ndarray)}
    left = {str(name): "no tensor" for name, each in content.items() if not isinstance(each, np.ndarray)}
    return _unwrapped({name: torch.from_numpy(each.copy()) for name, each in arrays.items()}), left


def _found(path: Path, content: Any) -> Any:
    """Return the mapping of weights in what a training script saved."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds {type(content).__name__}, and not weights by name")
    if any(isinstance(each, np.ndarray) and each.ndim for each in content.values()):
        return content
    for name in INSIDE:
        if isinstance(content.get(name), Mapping):
            return content[name]
    mappings = [str(name) for name, each in content.items() if isinstance(each, Mapping)]
    raise CheckpointError(
        f"{path}: no weights under {', '.join(INSIDE)}; give their place with --key, "
        f"which may be one of: {', '.join(mappings) or 'none'}"
    )


def _unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without the prefixes that all names have."""
    found = dict(weights)
    for _ in range(len(WRAPPED)):
        for prefix in WRAPPED:
            if found and all(name.startswith(prefix) for name in found):
                found = {name.removeprefix(prefix): each for name, each in found.items()}
    return found


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do: the length of a header, and the header's brace."""
    with open_regular(path, error=CheckpointError) as file:
        return re.fullmatch(rb"[\x00-\xff]{8}\{", file.read(9)) is not None
