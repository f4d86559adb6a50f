"""Checkpoints: safetensors, written whole or not at all, refused where they do not fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from neurozoo.errors import CheckpointError, RunError
from neurozoo.files.writing import write_whole

__all__ = ["SCHEMA", "load_checkpoint", "load_tensors", "read_tensors", "write_tensors"]

SCHEMA = 2
_HASH = "sha256"
"""Of the tensors, in the metadata; files of earlier versions have none."""
_KEY = "neurozoo"
"""Of all metadata, as one JSON text: safetensors writes several keys in another order each time."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to ``path``; a reader sees the old file or the new one.

    The same content is the same file, byte by byte.

    Raises:
        RunError: The folder cannot be written to, or the disk is full; the old file stands.
    """
    # A copy each, so that parameters which share storage can be saved.
    copies = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    header = {_KEY: json.dumps({"schema": SCHEMA, **metadata, _HASH: _digest(copies)})}
    try:
        # Not save_file: it makes files that nobody else on the machine may read.
        write_whole(path, save(copies, header))
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: could not be written: {error}; what stood there is untouched") from error


def read_tensors(path: Path, *, remedy: str = "take another checkpoint") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and metadata of a file that :func:`write_tensors` wrote.

    Args:
        path: The file.
        remedy: What to do where it is damaged.

    Raises:
        CheckpointError: There is no file, it is damaged, or its schema is not known.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint; train first, or name another run")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); {remedy}") from error
    try:
        metadata = json.loads(header.get(_KEY, "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: its metadata is not JSON ({error}); {remedy}") from error
    found = metadata.get("schema", header.get("schema")) if isinstance(metadata, dict) else None
    if found != SCHEMA:
        raise CheckpointError(
            f"{path}: its schema is {found!r} and this version reads {SCHEMA}; use the neurozoo version that wrote it"
        )
    if metadata.pop(_HASH, None) not in (None, _digest(tensors)):
        raise CheckpointError(f"{path}: damaged, its tensors are not those that were written; {remedy}")
    return tensors, metadata


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_checkpoint(path: Path, module: nn.Module) -> dict[str, Any]:
    """Load weights and running statistics into ``module``; returns the metadata.

    Raises:
        CheckpointError: As :func:`read_tensors`, or the checkpoint is of another model; nothing
            is loaded then.
    """
    tensors, metadata = read_tensors(path)
    load_tensors(path, tensors, module)
    return metadata


def load_tensors(path: Path, tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    """Load weights and running statistics that were read from ``path``.

    Raises:
        CheckpointError: They are of another model; nothing is loaded then.
    """
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [
        f"{name} is {list(tensors[name].shape)} there and {list(own[name].shape)} here"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape
    ]
    if missing or unknown or shapes:
        found = [f"{len(missing)} missing, such as {missing[0]}"] if missing else []
        found += [f"{len(unknown)} unknown, such as {unknown[0]}"] if unknown else []
        found += [f"{len(shapes)} of another shape, such as {shapes[0]}"] if shapes else []
        raise CheckpointError(
            f"{path}: a checkpoint of another model ({'; '.join(found)}); use the recipe that it was trained with"
        )
    module.load_state_dict(tensors)
